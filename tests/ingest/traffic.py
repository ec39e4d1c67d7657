"""A day's traffic in small: readings that cross levels, vessels that cross zones, messages in parts, repeats, rubbish.

Everything carries its own time, so that what must come of it does not depend on when it is received.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from simulators.ais_wire import Hull, Report, position_a, sentences, static_a, tag_block
from tests.ingest.running import EPOCH_MS, TOPIC, reading

if TYPE_CHECKING:
    from pathlib import Path

_RULES: Final = """
[[rule]]
id = "high"
kind = "threshold"
title = { en = "High water", vi = "Nước cao" }
severity = "major"
metric = "water_level"
unit = "m"
devices = ["gauge-*"]
raise = 2.0
clear = 1.5
source = "a test"

[[rule]]
id = "high-for-long"
kind = "threshold"
title = { en = "High water for long", vi = "Nước cao kéo dài" }
severity = "critical"
metric = "water_level"
unit = "m"
devices = ["gauge-*"]
raise = 2.0
clear = 1.5
for = "4m"
source = "a test"

[[rule]]
id = "inside"
kind = "zone"
title = { en = "Fishing vessel in the square", vi = "Tàu cá trong ô vuông" }
condition = "inside"
severity = "warning"
zones = ["square"]
scope = { ship_types = [30] }
source = "a test"

[[rule]]
id = "left"
kind = "zone"
title = { en = "Vessel left the square", vi = "Tàu rời ô vuông" }
condition = "left"
severity = "info"
zones = ["square"]
source = "a test"
"""
_SQUARE: Final = [[107.60, 16.50], [107.62, 16.50], [107.62, 16.52], [107.60, 16.52], [107.60, 16.50]]

VESSELS: Final = 4
FIRST_MMSI: Final = 574_000_001
GAUGES: Final = 2
LAST: Final = 5_000  # the number of the reading that ends it


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is published, in this order, and what of it is to be found."""

    messages: list[tuple[str, bytes]]
    readings: set[tuple[str, int]]  # (device, number)
    positions: set[tuple[int, int]]  # (MMSI, seconds since the epoch)
    statics: set[tuple[int, int]]  # likewise
    refused: set[bytes]


def rules(folder: Path) -> list[Path]:
    """Files of the rules and the zone that the traffic is about."""
    zone = {
        "type": "Feature",
        "id": "square",
        "properties": {"name": "Square", "kind": "test"},
        "geometry": {"type": "Polygon", "coordinates": [_SQUARE]},
    }
    toml, geojson = folder / "rules.toml", folder / "zones.geojson"
    toml.write_text(_RULES)
    geojson.write_bytes(orjson.dumps({"type": "FeatureCollection", "features": [zone]}))
    return [geojson, toml]


def make(seed: int, gateway: str, *, rounds: int = 150) -> Traffic:
    """The traffic of a seed: some 1,500 messages. Of an AIS message, a second gateway hears one in ten as well."""
    rng = random.Random(seed)
    messages: list[tuple[str, bytes]] = []
    made = Traffic(messages, set(), set(), set(), set())
    late: list[tuple[int, bytes]] = []  # second parts on their way, so long that there is nearly always one
    nmea = f"haidang/v1/{gateway}/nmea"
    for n in range(rounds):
        for gauge in range(GAUGES):
            number = n * 10
            level = round(2.0 + 1.5 * math.sin(n / 12 + gauge), 3)
            messages.append((TOPIC.format(gateway=gateway, device=f"gauge-{gauge}"), reading(number, level)))
            made.readings.add((f"gauge-{gauge}", number))
        while late and late[0][0] <= n:
            messages.append((nmea, late.pop(0)[1]))
        seconds = EPOCH_MS // 1000 + 10 * n
        for vessel in range(VESSELS):
            mmsi = FIRST_MMSI + vessel
            (here,) = _lines(_position(mmsi, n + 7 * vessel, seconds), seconds)
            messages.append((nmea, here))
            made.positions.add((mmsi, seconds))
            if rng.random() < 0.1:
                messages.append((f"haidang/v1/{gateway}-2/nmea", here))
        if n % 10 == 5:
            mmsi = FIRST_MMSI + n // 10 % VESSELS
            first, second = _lines(_static(mmsi, n), seconds + 3)
            messages.append((nmea, first))
            late.append((n + 8, second))
            made.statics.add((mmsi, seconds + 3))
        if rng.random() < 0.2:
            messages.append(rng.choice([one for one in messages[-30:] if b"!AIVDM,2" not in one[1]]))
        if rng.random() < 0.2:
            refused = b'{"time": %d, "readings": ' % n
            messages.append((TOPIC.format(gateway=gateway, device="gauge-0"), refused))
            made.refused.add(refused)
    messages += [(nmea, second) for _, second in late]
    messages.append((TOPIC.format(gateway=gateway, device="end"), reading(LAST, 0.0)))
    made.readings.add(("end", LAST))
    return made


def _position(mmsi: int, step: int, seconds: int) -> list[str]:
    """Back and forth through the square."""
    lon = round(107.61 + 0.02 * math.sin(step / 8), 5)
    report = Report(mmsi, lon, 16.51, 6.0, 90.0, None, 0, seconds % 60)
    return sentences(position_a(report), channel="A", sequence=0)


def _static(mmsi: int, n: int) -> list[str]:
    hull = Hull(mmsi, f"HUE {mmsi % 100} {n}", "XV1234", 10, 8, 3, 3, 2.0, "THUAN AN")
    return sentences(static_a(hull), channel="B", sequence=n // 10 % 10)


def _lines(parts: list[str], seconds: int) -> list[bytes]:
    return [f"{tag_block(c=seconds)}{part}\r\n".encode() for part in parts]
