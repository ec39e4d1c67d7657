"""What the service tells about itself: metrics, and log lines at the edges.

Metric names are fixed: dashboards and alert rules use them. No device, MMSI or topic is ever a label: their number is
not ours to bound.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ingest.ledger import FATES, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.metrics_core import Metric

    from ingest.spool import Spool

log = structlog.get_logger()

#: A crowd that nothing was left out for as long is over, microseconds.
_CROWD_OVER_US: Final = 600_000_000


def configure_logging(log_format: str = "console", level: str = "info") -> None:
    """Log to standard error: human-readable lines, or one JSON object a line."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # paho and uvicorn log through the standard library: only what matters to an operator.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    # A lost connection is told of at its edge, once, by us: not at every attempt of the driver and its pool.
    logging.getLogger("psycopg").setLevel(logging.ERROR)


class _LedgerCollector:
    """Reads the ledger when scraped: the counters on the page always balance with each other."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterable[Metric]:
        received = CounterMetricFamily("haidang_received", "Messages received.", labels=["source"])
        messages = CounterMetricFamily("haidang_messages", "Messages by their fate.", labels=["source", "fate"])
        flight = GaugeMetricFamily("haidang_in_flight", "Messages received that have no fate yet.", labels=["source"])
        for source, account in self._telemetry.ledger.accounts.items():
            received.add_metric([source], account.received)
            flight.add_metric([source], account.in_flight)
            for fate in FATES:
                messages.add_metric([source, fate], getattr(account, fate))
        oldest = self._telemetry.oldest()
        age = GaugeMetricFamily(
            "haidang_oldest_unacked_seconds",
            "Age of the oldest message that is received and not yet committed.",
            value=max(0.0, time.time() - oldest / 1e6) if oldest is not None else 0.0,
        )
        spool = self._telemetry.spool
        spooled = GaugeMetricFamily(
            "haidang_spool_messages", "Messages that wait in the spool.", value=spool.messages if spool else 0
        )
        size = GaugeMetricFamily("haidang_spool_bytes", "Bytes used of the spool.", value=spool.bytes if spool else 0)
        tasks = GaugeMetricFamily("haidang_tasks", "Tasks of the event loop.", value=_tasks())
        return (received, messages, flight, age, spooled, size, tasks)


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # scraped where no loop runs
        return 0


class Telemetry:
    """The metrics of one service, in a registry of their own; also the ``SourceWatcher`` of its sources."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.ledger = ledger or Ledger()
        self.registry = CollectorRegistry()
        self.oldest: Callable[[], int | None] = lambda: None
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.spool: Spool | None = None
        self.registry.register(_LedgerCollector(self))
        r = self.registry
        self._dropped = Counter("haidang_dropped", "Messages shed, by reason.", ["source", "reason"], registry=r)
        self._connected = Gauge("haidang_source_connected", "1 while the source is connected.", ["source"], registry=r)
        self._sessions = Counter(
            "haidang_mqtt_sessions",
            "MQTT connections, by what became of our session.",
            ["source", "session"],
            registry=r,
        )
        self._stale = Counter(
            "haidang_stale_acks", "Acks not sent because their connection was over.", ["source"], registry=r
        )
        self.commit_seconds = Histogram(
            "haidang_commit_seconds",
            "Time of one transaction.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=r,
        )
        self.batch_rows = Histogram(
            "haidang_batch_rows",
            "Rows of one transaction.",
            buckets=(1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000),
            registry=r,
        )
        self.event_to_commit = Histogram(
            "haidang_event_to_commit_seconds",
            "From the oldest receipt in a batch to its commit.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
            registry=r,
        )
        self._rows = Counter("haidang_rows", "Rows written.", ["table"], registry=r)
        self._late = Counter(
            "haidang_late_rows", "Rows older than their subject's newest: stored, not judged.", ["table"], registry=r
        )
        self._crowded = Counter(
            "haidang_crowded_places",
            "Places of vessels around which a rule looked for no other vessel, for there were too many.",
            ["rule"],
            registry=r,
        )
        self._crowds: dict[str, int] = {}  # by rule, when there was one last
        self._alerts = Counter("haidang_alerts", "Alerts that changed state.", ["rule", "state"], registry=r)
        self._notifications = Counter(
            "haidang_notifications", "Notifications by outcome.", ["channel", "outcome"], registry=r
        )
        self._incidents = Gauge("haidang_incidents_open", "Incidents of which an alert lasts.", ["policy"], registry=r)
        self._quarantined = Counter("haidang_rejects", "Messages or parts of them refused.", ["reason"], registry=r)
        self._database_up = Gauge("haidang_database_up", "1 while the database takes our commits.", registry=r)
        self._database_up.set(1)
        self._grouping: set[str] = set()  # policies of which there was an incident
        self._up: dict[str, bool] = {}
        self.database_up = True

    def expect(self, source: str) -> None:
        """A source that is set up has its series, at 0, before anything comes: else nobody would see that none does."""
        self.ledger.account(source)
        self._connected.labels(source).set(0)

    # --- SourceWatcher

    def received(self, source: str, messages: int) -> None:
        self.ledger.received(source, messages)

    def dropped(self, source: str, reason: str, messages: int) -> None:
        self.ledger.dropped(source, messages)
        self._dropped.labels(source, reason).inc(messages)

    def connected(self, source: str, up: bool, detail: str = "") -> None:
        self._connected.labels(source).set(up)
        if self._up.get(source) is not up:  # the edge, not every attempt
            self._up[source] = up
            if up:
                log.info("source_connected", source=source, **({"detail": detail} if detail else {}))
            else:
                log.warning("source_disconnected", source=source, reason=detail)

    def session(self, source: str, resumed: bool) -> None:
        self._sessions.labels(source, "resumed" if resumed else "new").inc()
        log.info("mqtt_session", source=source, resumed=resumed)

    def stale_ack(self, source: str) -> None:
        self._stale.labels(source).inc()

    # --- the pipeline

    @property
    def sources(self) -> dict[str, bool]:
        """Source name to whether it is connected."""
        return dict(self._up)

    def committed(self, *, seconds: float | None, wait: float | None, rows: dict[str, int], batch_rows: int) -> None:
        if seconds is not None:
            self.commit_seconds.observe(seconds)
        self.batch_rows.observe(batch_rows)
        if wait is not None:
            self.event_to_commit.observe(max(0.0, wait))
        for table, count in rows.items():
            if count:
                self._rows.labels(table).inc(count)

    def late(self, table: str, rows: int) -> None:
        if rows:
            self._late.labels(table).inc(rows)

    def crowded(self, places: Mapping[str, int], at: int) -> None:
        """Called after every batch, with its tick in microseconds; logs the edge."""
        for rule, count in places.items():
            self._crowded.labels(rule).inc(count)
            if rule not in self._crowds:
                log.warning("crowd_began", rule=rule)
            self._crowds[rule] = at
        for rule in [rule for rule, last in self._crowds.items() if at - last > _CROWD_OVER_US]:
            del self._crowds[rule]
            log.info("crowd_ended", rule=rule)

    def rejected(self, reason: str) -> None:
        self._quarantined.labels(reason).inc()

    def alert(self, rule: str, state: str) -> None:
        self._alerts.labels(rule, state).inc()

    def notification(self, channel: str, outcome: str) -> None:
        self._notifications.labels(channel, outcome).inc()

    def incidents(self, lasting: Mapping[str, int]) -> None:
        """How many incidents of each policy last; of those that are not named, none does any more."""
        self._grouping |= lasting.keys()
        for policy in self._grouping:
            self._incidents.labels(policy).set(lasting.get(policy, 0))

    def database(self, up: bool, reason: str = "") -> None:
        """Called at every attempt; logs the edge."""
        if up is self.database_up:
            return
        self.database_up = up
        self._database_up.set(up)
        if up:
            log.info("database_back")
        else:
            log.warning("database_away", reason=reason)
