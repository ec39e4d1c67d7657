"""What contestants are given: readings, AIS logs, zones and rules, all from seeds: the same bytes on every machine."""

from __future__ import annotations

import json
import math
from functools import reduce
from operator import xor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

from alerting.rules import RULE
from geofence.zones import Zone
from services.home import home
from simulators.fleet import FleetConfig, fleet_events
from simulators.reception import THUAN_AN_LIGHT, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from alerting.rules import Rule

#: 2026-06-01T00:00:00Z, where every input begins; milliseconds since 1970.
EPOCH_MS: Final = 1_780_272_000_000

#: The waters off Huế: west, south, east, north.
BOX: Final = (106.8, 15.6, 109.4, 17.6)

_CHECKOUT: Final = Path(__file__).resolve().parent.parent
_RECORDINGS: Final = _CHECKOUT.parent / "shared" / "data" / "ais"
_SHIPPED: Final = _CHECKOUT / "simulators" / "data" / "nmea_data_sample.txt"
_PAYLOAD_BYTES: Final = 200
_RECEIVER: Final = Receiver("hue-ais-1", THUAN_AN_LIGHT.place, 60.0)
_FLEET_VERSION: Final = 1  # of what `fleet_log` makes: an older one is not taken for it


# --- readings ---------------------------------------------------------------------------------------------------------


def device_name(number: int) -> str:
    """Devices of the air-quality network: rules of the shipped pack watch them."""
    return f"air-{number:05d}"


def value(number: int) -> float:
    """0.0 to 39.9: below what the shipped pack raises an alert for."""
    return number * 37 % 400 / 10


def payload(number: int, time_ms: int, metrics: tuple[str, ...] = ("pm2_5",)) -> bytes:
    """One publish of a gateway as they are seen in the field: what was measured among what is said about itself.

    200 bytes where there is one metric, more with more.
    """
    seconds, milliseconds = divmod(time_ms, 1000)
    readings = ",".join(f'"{name}":{value(number + i)}' for i, name in enumerate(metrics))
    at = str(np.datetime64(seconds, "s"))
    text = (
        f'{{"time":"{at}.{milliseconds:03d}Z","seq":{number},"fw":"2.4.1","battery":3.71,"rssi":-{60 + number % 40},'
        f'"snr":7.25,"site":"","readings":{{{readings}}}}}'
    )
    padding = max(0, _PAYLOAD_BYTES - len(text))
    return text.replace('"site":""', f'"site":"{"x" * padding}"').encode()


def publishes(
    count: int,
    devices: int,
    gateway: str = "hue-gw",
    *,
    first_ms: int = EPOCH_MS,
    step_ms: int = 1000,
    metrics: tuple[str, ...] = ("pm2_5",),
) -> Iterator[tuple[str, bytes]]:
    """(topic, payload) of ``count`` publishes, devices in turn; a device's readings are ``step_ms`` apart."""
    for i in range(count):
        yield (
            f"haidang/v1/{gateway}/{device_name(i % devices)}/readings",
            payload(i, first_ms + i // devices * step_ms, metrics),
        )


def gauge_name(number: int) -> str:
    """Devices of the flood gauges."""
    return f"gauge-{number:05d}"


def alarm(number: int, gateway: str, time_ms: int) -> tuple[str, bytes]:
    """Topic and payload of a flood gauge's first reading, which is over the level of `ALARM_RULE`."""
    return (
        f"haidang/v1/{gateway}/{gauge_name(number)}/readings",
        b'{"time":%d,"readings":{"water_level":5.0}}' % time_ms,
    )


#: A rule file for the gauges of `alarm`.
ALARM_RULE: Final = """
[[rule]]
id = "bench-flood"
kind = "threshold"
title = { en = "Flood", vi = "Lũ" }
severity = "critical"
metric = "water_level"
unit = "m"
devices = ["gauge-*"]
raise = 3.5
clear = 3.4
source = "a benchmark"
"""


# --- AIS --------------------------------------------------------------------------------------------------------------


def real_log(lines: int) -> tuple[bytes, str]:
    """Real sentences of all kinds, TAG blocks, fragments and junk among them; and what they are.

    The recordings beside the checkout, all of them; else the one that is shipped. They are repeated up to ``lines``,
    each time with other MMSIs, so that nobody is asked to decode the same bytes twice.
    """
    whole, files = recordings(), len(_files())
    repeats = math.ceil(lines / len(whole))
    out = [_renamed(line, turn) for turn in range(repeats) for line in whole][:lines]
    return b"\n".join(out) + b"\n", f"{files} real log{'s'[: files > 1]}, {len(whole):,} lines"


def recordings() -> list[bytes]:
    """The lines of the real logs, as they were recorded."""
    return [line for file in _files() for line in file.read_bytes().splitlines()]


def _files() -> list[Path]:
    return sorted(f for f in _RECORDINGS.rglob("*") if f.suffix in {".log", ".aivdm", ".txt", ".nmea"}) or [_SHIPPED]


def _renamed(line: bytes, turn: int) -> bytes:
    """The sentence with six bits of the MMSI changed and its checksum mended; anything else as it is.

    The MMSI is bits 8 to 37 of a message, so the payload's sixth character holds bits of nothing else.
    """
    start = line.find(b"!")
    star = line.rfind(b"*")
    fields = line[start:star].split(b",")
    if start < 0 or star < start or len(fields) != 7 or fields[2] != b"1" or len(fields[5]) < 7 or turn % 64 == 0:
        return line
    if line[star + 1 : star + 3].upper() != b"%02X" % reduce(xor, line[start + 1 : star]):
        return line  # wrong as it was recorded: it stays so
    body = bytearray(fields[5])
    six = body[5] - 48 if body[5] < 88 else body[5] - 56
    six ^= turn % 64
    body[5] = six + 48 if six < 40 else six + 56
    fields[5] = bytes(body)
    sentence = b",".join(fields)
    return line[:start] + sentence + b"*%02X" % reduce(xor, sentence[1:]) + line[star + 3 :]


def fleet_log(vessels: int, seconds: int) -> Path:
    """A log of a simulated fleet as one receiver heard it, TAG blocks, static data and all; kept from run to run."""
    folder = home() / "bench"
    path = folder / f"fleet-{_FLEET_VERSION}-{vessels}-{seconds}.nmea"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        config = FleetConfig(
            seed=4, start=EPOCH_MS * 1000, seconds=seconds, vessels=vessels, receivers=(_RECEIVER,), speed=1.0
        )
        building = path.with_suffix(".building")
        with building.open("wb") as file:
            for event in fleet_events(config):
                if data := getattr(event, "data", None):
                    file.write(data)
        building.rename(path)
    return path


# --- zones and rules --------------------------------------------------------------------------------------------------


def zones(count: int, seed: int = 11) -> list[Zone]:
    """Polygons with a ragged coast, 40 to 280 vertices (160 on average), in `BOX`; together as large as it is."""
    rng = np.random.default_rng(seed)
    west, south, east, north = BOX
    radius = math.sqrt((east - west) * (north - south) / count / math.pi)
    made = []
    for number in range(count):
        vertices = int(rng.integers(40, 281))
        angles = np.sort(rng.uniform(0, 2 * math.pi, vertices))
        ragged = radius * rng.lognormal(0.0, 0.35) * (1 + 0.25 * np.sin(3 * angles + rng.uniform(0, 6)))
        ragged = ragged * rng.uniform(0.93, 1.07, vertices)
        centre = rng.uniform(west, east), rng.uniform(south, north)
        ring = np.stack([centre[0] + ragged * np.cos(angles), centre[1] + ragged * np.sin(angles)], axis=1)
        polygon = shapely.Polygon(np.round(ring, 6))
        name = f"zone-{number:05d}"
        # Rounding or a wide gap between two angles may fold an edge; what is left is still a ragged polygon.
        made.append(Zone(name, name, name, "bench", polygon if polygon.is_valid else polygon.buffer(0)))
    return made


def points(count: int, seed: int = 12) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitudes and latitudes spread evenly over `BOX`."""
    rng = np.random.default_rng(seed)
    west, south, east, north = BOX
    return rng.uniform(west, east, count), rng.uniform(south, north, count)


def zone_rules(
    count: int, of: list[Zone], conditions: tuple[str, ...] = ("entered", "inside", "left", "crossed")
) -> list[Rule]:
    """Rules that share out the zones among them, of all conditions in turn; three of four spare Vietnamese vessels."""
    rules = []
    for number in range(count):
        table: dict[str, Any] = {
            "id": f"bench-{number:02d}",
            "kind": "zone",
            "title": {"en": f"Rule {number}", "vi": f"Quy tắc {number}"},
            "severity": "warning",
            "source": "a benchmark",
            "condition": conditions[number % len(conditions)],
            "zones": [zone.id for zone in of[number % len(of) :: count]],
        }
        if number % 20 >= 5:
            table["scope"] = {"exclude": {"flags": [574]}}
        rules.append(RULE.validate_json(json.dumps(table)))
    return rules
