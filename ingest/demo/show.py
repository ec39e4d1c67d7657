"""The demonstration itself: real servers, simulators on the real wire, the service, a webhook, and a verdict.

The verdict is what makes it more than a show: it fails unless rows reached hypertables from MQTT and AIS, a real
recorded log was among them, a zone and a threshold alert were delivered, and the ledger balances.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import time
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr
from rich.console import Console
from rich.live import Live

from alerting import pack
from alerting.channels.settings import AlertmanagerSettings, ChannelSettings, LogSettings, WebhookSettings
from alerting.channels.settings import MqttSettings as MqttChannelSettings
from ingest.clock import wall_clock
from ingest.demo.target import WebhookTarget
from ingest.demo.view import View
from ingest.service import Service
from ingest.settings import Database, Http, MqttSettings, NmeaTcpSettings, NmeaUdpSettings, Settings
from ingest.watch import install
from services.ports import find_free, is_free
from simulators.areas import load_areas
from simulators.drive import DEMO_LOG, replay_log, run_scenario
from simulators.mqtt import MqttTarget
from simulators.scenario import demonstration
from simulators.wire import TcpListen, UdpSend
from storage import readers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.endpoints import Endpoints

#: A real AIS log, replayed once over TCP while the rest is simulated.
_REAL_LOG_RATE = 40.0  # lines per second
_PACK = "pack:hue"
_FRAMES_PER_SECOND = 4
_METRICS_PORT = 9464  # where the Prometheus of `make services` looks for us
_DELIVERY_SECONDS = 10.0
_LOOK_SECONDS = 0.1
#: It goes on for so long where less was asked for and not all was shown yet: a busy machine takes its time.
_PATIENCE_SECONDS = 60.0


@dataclass(slots=True, frozen=True)
class Verdict:
    """What the demonstration showed; ``faults`` is empty if it showed all it should."""

    facts: Mapping[str, Any]
    faults: tuple[str, ...]


def _protocol(parts: Endpoints) -> Literal["5", "3.1.1"]:
    return "5" if parts.mqtt_version == "5" else "3.1.1"


def _settings(parts: Endpoints, hook: WebhookTarget, secret: str, ports: Mapping[str, int], http_port: int) -> Settings:
    assert parts.dsn is not None
    assert parts.mqtt is not None
    broker = urlsplit(parts.mqtt)
    assert broker.hostname is not None
    protocol = _protocol(parts)
    channels: dict[str, ChannelSettings] = {
        "duty-room": WebhookSettings(
            name="duty-room",
            url=hook.url,
            secret=SecretStr(secret),
            allow_networks=(IPv4Network("127.0.0.0/8"),),
            max_delay_seconds=2.0,
        ),
        "broker": MqttChannelSettings(
            name="broker", url=parts.mqtt, protocol=protocol, client_id="haidang-demo-alerts"
        ),
        "log": LogSettings(name="log"),
    }
    if parts.alertmanager:
        channels["alertmanager"] = AlertmanagerSettings(name="alertmanager", url=parts.alertmanager)
    return Settings(
        database=Database(dsn=SecretStr(parts.dsn)),
        sources={
            "gateways": MqttSettings(
                type="mqtt",
                host=broker.hostname,
                port=broker.port or 1883,
                client_id="haidang-demo",
                protocol=protocol,
            ),
            "thuan-an": NmeaTcpSettings(type="nmea_tcp", host="127.0.0.1", port=ports["thuan-an"]),
            "tu-hien": NmeaUdpSettings(type="nmea_udp", port=ports["tu-hien"]),
            "recorded-log": NmeaTcpSettings(type="nmea_tcp", host="127.0.0.1", port=ports["recorded-log"]),
        },
        channels=channels,
        http=Http(port=http_port),
    )


async def show(parts: Endpoints, *, seconds: float | None, note: str = "", console: Console | None = None) -> Verdict:
    """Run the demonstration against parts that answer, on tables that are up to date.

    Args:
        parts: a database and a broker at least.
        seconds: how long; longer, up to a minute, until all was shown. None: until SIGINT or SIGTERM.
        note: shown below the tables.
        console: where to draw; None for standard output.
    """
    console = console or Console()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    assert parts.dsn is not None
    assert parts.mqtt is not None
    book = await install([_PACK], parts.dsn)
    before = await readers.row_counts(parts.dsn)
    secret = secrets.token_hex(16)
    async with contextlib.AsyncExitStack() as stack:
        hook = await stack.enter_async_context(WebhookTarget(secret.encode()))
        first = await stack.enter_async_context(TcpListen("127.0.0.1", 0, only="hue-ais-1"))
        log = await stack.enter_async_context(TcpListen("127.0.0.1", 0))
        udp = find_free()
        second = await stack.enter_async_context(UdpSend("127.0.0.1", udp, only="hue-ais-2"))
        gateways = await stack.enter_async_context(MqttTarget(parts.mqtt, protocol=_protocol(parts)))
        ports = {"thuan-an": first.port, "tu-hien": udp, "recorded-log": log.port}
        http_port = _METRICS_PORT if is_free(_METRICS_PORT) else 0
        service = Service(_settings(parts, hook, secret, ports, http_port), book)
        await service.check()
        urls = {
            "metrics": f"{service.http.url}/metrics",
            "readiness": f"{service.http.url}/readyz",
            "webhook": hook.url,
            **({"Prometheus": parts.prometheus} if parts.prometheus else {}),
            **({"Alertmanager": parts.alertmanager} if parts.alertmanager else {}),
            "database": parts.dsn,
        }
        view = View(urls, note)

        def frame() -> Any:
            rows = service.pipeline.totals.rows
            return view.frame(service.telemetry.ledger, rows, hook.received.payloads, len(hook.received.payloads))

        ended = asyncio.Event()
        serving = asyncio.create_task(service.run(ended), name="service")
        await asyncio.wait((serving, asyncio.create_task(service.running.wait())), return_when=asyncio.FIRST_COMPLETED)
        began = time.monotonic()
        scenario = demonstration(
            seed=20,
            start=wall_clock(),
            seconds=_at_most(seconds),
            zones=load_areas(pack.PACKS / "hue" / "zones.geojson"),
        )
        sending = [
            asyncio.create_task(run_scenario(scenario, [first, second, gateways]), name="scenario"),
            asyncio.create_task(replay_log(DEMO_LOG, log, _REAL_LOG_RATE), name="recorded log"),
        ]
        with Live(frame(), console=console, refresh_per_second=_FRAMES_PER_SECOND, transient=False) as live:
            while not stop.is_set() and not serving.done():
                if _over(service, hook, seconds, time.monotonic() - began):
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1 / _FRAMES_PER_SECOND):
                        await stop.wait()
                live.update(frame())
            for task in sending:
                task.cancel()
            failures = [r for r in await asyncio.gather(*sending, return_exceptions=True) if isinstance(r, Exception)]
            if not serving.done():
                await _delivered(service)
            ended.set()
            await serving
            live.update(frame())
        if failures:
            raise failures[0]
        after = await readers.row_counts(parts.dsn)
        # What is only kept while it holds (the state of rules) may also have become less.
        return _judge(service, hook, {name: max(0, after[name] - before[name]) for name in after})


def _at_most(seconds: float | None) -> float | None:
    return None if seconds is None else max(seconds, _PATIENCE_SECONDS)


def _over(service: Service, hook: WebhookTarget, seconds: float | None, gone: float) -> bool:
    """Whether it is time to end: what was asked for is over, and all was shown or has had its chance."""
    last = _at_most(seconds)
    if seconds is None or last is None or gone < seconds:
        return False
    return gone >= last or not _missing(service, hook, service.pipeline.totals.rows)


async def _delivered(service: Service) -> None:
    """Wait until the pipeline is idle and the webhook has every notification that was queued for it, or time is up."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DELIVERY_SECONDS):
            # The outbox is a table, and other processes' too: there is no event to wait for.
            while service.pipeline.oldest() is not None or await readers.queued(service.store.dsn, "duty-room"):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)


def _missing(service: Service, hook: WebhookTarget, rows: Mapping[str, int]) -> list[str]:
    """What has not been shown."""
    accounts = service.telemetry.ledger.accounts
    shown = {
        "no reading was written from MQTT": rows.get("readings", 0) > 0,
        "no position was written from AIS": rows.get("positions", 0) > 0,
        "nothing of the recorded AIS log was stored": accounts["recorded-log"].stored > 0,
        "no zone alert reached the webhook": bool(_zone_alerts(hook)),
        "no threshold alert reached the webhook": bool(_threshold_alerts(hook)),
    }
    return [fault for fault, seen in shown.items() if not seen]


def _zone_alerts(hook: WebhookTarget) -> list[Mapping[str, Any]]:
    return [p for p in hook.received.payloads if p["zone"] is not None]


def _threshold_alerts(hook: WebhookTarget) -> list[Mapping[str, Any]]:
    return [p for p in hook.received.payloads if p["zone"] is None and p["value"] is not None]


def _judge(service: Service, hook: WebhookTarget, rows: Mapping[str, int]) -> Verdict:
    ledger = service.telemetry.ledger
    waiting = service.pipeline.waiting()
    total = ledger.total()
    faults = _missing(service, hook, rows)
    if total.in_flight != waiting:
        faults.append(
            f"the ledger does not balance: {total.in_flight} in flight, {waiting} waiting for their other parts"
        )
    if hook.received.refused:
        faults.append(f"{hook.received.refused} notifications had a wrong signature")
    delivered = {"zone": len(_zone_alerts(hook)), "threshold": len(_threshold_alerts(hook))}
    facts = {
        "rows": dict(rows),
        "ledger": {name: account.as_dict() for name, account in ledger.accounts.items()},
        "total": total.as_dict(),
        "alerts": service.pipeline.totals.alerts,
        "delivered": {**delivered, "all": len(hook.received.payloads)},
    }
    return Verdict(facts, tuple(faults))
