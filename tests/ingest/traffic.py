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

[[rule]]
id = "mean"
kind = "window"
title = { en = "mean", vi = "mean" }
severity = "info"
metric = "water_level"
unit = "m"
aggregate = "mean"
over = "2m"
devices = ["gauge-*"]
raise = 2.0
clear = 1.5
source = "a test"

[[rule]]
id = "rate"
kind = "rate"
title = { en = "rate", vi = "rate" }
severity = "info"
metric = "water_level"
unit = "m"
per = "1m"
change = "either"
over = "2m"
devices = ["gauge-*"]
raise = 0.2
clear = 0.1
source = "a test"

[[rule]]
id = "distress"
kind = "distress"
title = { en = "distress", vi = "distress" }
severity = "info"
resolve_after = "10000d"
source = "a test"

[[rule]]
id = "encounter"
kind = "encounter"
title = { en = "encounter", vi = "encounter" }
severity = "info"
for = "10m"
min_fixes = 2
max_speed = 30.0
distance = 1000.0
source = "a test"

[[rule]]
id = "carried"
kind = "carried_beacons"
title = { en = "carried", vi = "carried" }
severity = "info"
for = "10m"
min_fixes = 2
min_speed = 0.5
tolerance = 1000.0
path = 500.0
source = "a test"

[[rule]]
id = "loitering"
kind = "loitering"
title = { en = "loitering", vi = "loitering" }
severity = "info"
for = "20m"
block = "10m"
max_speed = 30.0
source = "a test"

[[rule]]
id = "fishing"
kind = "fishing"
title = { en = "fishing", vi = "fishing" }
severity = "info"
for = "10m"
min_fixes = 2
max_speed = 30.0
min_turning = 0.0
max_mean_speed = 30.0
source = "a test"

[[rule]]
id = "port"
kind = "port_visit"
title = { en = "port", vi = "port" }
severity = "info"
ports = ["square"]
enter = 10.0
exit = 500.0
stop_speed = 20.0
start_speed = 25.0
source = "a test"

[[rule]]
id = "jump"
kind = "jump"
title = { en = "jump", vi = "jump" }
severity = "info"
max_speed = 5.0
min_distance = 500.0
settle = "1m"
source = "a test"

[[rule]]
id = "clash"
kind = "identity_clash"
title = { en = "clash", vi = "clash" }
severity = "info"
max_speed = 5.0
min_distance = 500.0
source = "a test"

[[rule]]
id = "gap"
kind = "gap"
title = { en = "gap", vi = "gap" }
severity = "info"
after = "20h"
min_probability = 0.5
source = "a test"

[[procedure]]
id = "in-time"
match = { rule = ["high", "encounter"] }
source = "a test"

[[procedure.steps]]
after = "1000d"
who = { en = "nobody", vi = "không ai" }
say = { en = "It never comes to that", vi = "Không bao giờ" }

[[inhibit]]
id = "mutes-nothing"
when = { rule = ["high-for-long", "inside"] }
mutes = { rule = "no-such-rule" }
same = ["subject"]
"""
_SQUARE: Final = [[107.60, 16.50], [107.62, 16.50], [107.62, 16.52], [107.60, 16.52], [107.60, 16.50]]

VESSELS: Final = 5
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
        seconds = EPOCH_MS // 1000 + 60 * n
        for vessel in range(VESSELS):
            mmsi = FIRST_MMSI + vessel
            (here,) = _lines(_position(mmsi, n, seconds), seconds)
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


def _position(mmsi: int, n: int, seconds: int) -> list[str]:
    """Back and forth through the square: the second behind the first, two others together, the last at anchor, which
    says the same again and again. The first two are in two places at times, and the second in distress for a while.
    """
    vessel = mmsi - FIRST_MMSI
    lon = round(107.61 + 0.02 * math.sin((n + 7 * min(vessel, 2)) / 8), 5)
    sog, status = 6.0 if n % 50 < 40 else 0.1, 0
    if vessel == 0 and 100 <= n < 130 and n % 2:
        lon += 2.0
    if vessel == 1:
        lon += 1.0 if 60 <= n < 100 else 0.0
        status = 14 if 20 <= n < 30 else 0
    if vessel == VESSELS - 1:
        lon, sog, status = 107.61, 0.0, 1
    report = Report(mmsi, lon, 16.51, sog, 90.0, None, status, seconds % 60)
    return sentences(position_a(report), channel="A", sequence=0)


def _static(mmsi: int, n: int) -> list[str]:
    hull = Hull(mmsi, f"HUE {mmsi % 100} {n}", "XV1234", 10, 8, 3, 3, 2.0, "THUAN AN")
    return sentences(static_a(hull), channel="B", sequence=n // 10 % 10)


def _lines(parts: list[str], seconds: int) -> list[bytes]:
    return [f"{tag_block(c=seconds)}{part}\r\n".encode() for part in parts]
