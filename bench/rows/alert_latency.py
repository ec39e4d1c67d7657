"""How long from publish until a webhook has the alert, while 2,000 messages a second come in beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bench import inputs, processes
from bench.harness import OURS, Contestant, Measure, Row, Sample, Target
from bench.publisher import publisher
from bench.rows.latency import percentiles
from bench.rows.mqtt import plan, settings
from bench.target import WebhookTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

_RATE: Final = 2_000.0
_EVERY: Final = 100  # messages to an alert
_PATIENCE_S: Final = 60.0


class AlertLatency(Row):
    name = "alert-latency"
    title = "MQTT publish to alert at a webhook, 2,000 messages/s beside it, 20 alerts/s"
    measures = (Measure("p50", "ms"), Measure("p99", "ms", {"": Target(most=500)}))

    def prepare(self) -> None:
        self._count = self.size(16_000, 500)
        self._rule = self.folder / "flood.toml"
        self._rule.write_text(inputs.ALARM_RULE)
        self.places.broker  # noqa: B018  # starts it

    def contestants(self) -> Sequence[Contestant]:
        return [Contestant(OURS, self._ours)]

    def _ours(self) -> Sample:
        given = replace(plan(self.places.broker.port, self._count, 100, rate=_RATE), alarm_every=_EVERY)
        alerts = given.count // _EVERY
        with WebhookTarget() as target, self.places.migrated() as dsn:
            more = f"""files = ["{self._rule}"]

[channels.duty]
type = "webhook"
url = "{target.url}"
allow_networks = ["127.0.0.0/8"]
concurrency = 16
rules = ["bench-flood"]
"""
            with (
                processes.service(self.folder, settings(dsn, given, more)) as service,
                publisher(given, self.folder) as process,
            ):
                before = processes.cpu_of(service.pid)
                process.go()
                published = process.result()
                arrived = target.wait_for(alerts, _PATIENCE_S)
                cpu = processes.cpu_of(service.pid) - before
        first: dict[str, float] = {}
        for at, body in arrived:
            first.setdefault(str(body["subject"]["name"]).rpartition("/")[2], at)
        if len(first) != alerts:
            raise processes.Failed(f"{len(first)} of {alerts} alerts arrived")
        took = [first[inputs.gauge_name(n)] - published.sent_at[(n + 1) * (_EVERY + 1) - 1] for n in range(alerts)]
        p50, p99 = percentiles(took)
        return Sample({"p50": p50, "p99": p99}, cpu)
