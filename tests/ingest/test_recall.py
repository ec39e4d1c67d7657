"""The mind that the pipeline goes on with has the bounds of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from alerting.pack import RuleBook
from alerting.rules import RULE
from geofence.zones import Zone
from ingest.settings import Limits
from simulators.ais_wire import Report, position_a, sentences, tag_block
from tests.ingest.running import EPOCH_MS, balanced, publish_all, serving, settings, until

if TYPE_CHECKING:
    from services.mosquitto import Mosquitto

CAPACITY = 1_000
REAL = 574_000_001


def line(mmsi: int, seconds: int, lon: float) -> bytes:
    report = Report(mmsi, lon, 16.5, 6.0, 90.0, None, 0, seconds % 60)
    at = EPOCH_MS // 1000 + seconds
    return b"".join(
        f"{tag_block(c=at)}{one}\r\n".encode() for one in sentences(position_a(report), channel="A", sequence=0)
    )


async def test_made_up_vessels_leave_what_is_remembered_bounded_and_a_real_one_is_told_of_once(
    migrated: str, broker: Mosquitto, gateway: str
) -> None:
    rule = RULE.validate_python(
        {
            "id": "inside",
            "kind": "zone",
            "condition": "inside",
            "zones": ["square"],
            "severity": "info",
            "title": {"en": "T", "vi": "T"},
            "source": "a test",
        }
    )
    book = RuleBook((rule,), (Zone("square", "S", "S", "t", shapely.box(107.6, 16.4, 107.7, 16.6)),))
    topic = f"haidang/v1/{gateway}/nmea"
    messages = []
    for n in range(60):
        messages.append((topic, line(REAL, 10 * n, 107.61 + n / 10_000)))
        made_up = range(200_000_000 + 100 * n, 200_000_100 + 100 * n)
        messages.append((topic, b"".join(line(mmsi, 10 * n, 108.0) for mmsi in made_up)))
    config = settings(migrated, broker, gateway, limits=Limits(transponders=CAPACITY, batch_messages=10))
    async with serving(config, book) as service:
        account = service.telemetry.ledger.account("gateways")
        await publish_all(broker, messages)
        await until(lambda: account.stored == len(messages), 60)
        assert balanced(service)
        mind = service.pipeline._mind
        assert mind is not None
        tracks = mind.engine._fences.tracks
        assert tracks._slots.find(np.array([REAL]))[0] >= 0
        assert CAPACITY / 2 < len(tracks) <= CAPACITY
        assert service.pipeline.totals.alerts == 1
