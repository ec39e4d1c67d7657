"""Every rule kind has an example on the page about rules, and every example there loads and fires.

For an example, add a function that gives its stream, under the id of its (last) rule: ``@stream("my-rule")``.
"""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely

from alerting import pack
from alerting.engine import Engine
from alerting.model import Event
from alerting.registry.register import BEGINNING, END, Carried, Registry, Site, Vessel
from alerting.rules import KINDS
from decoders.identity import device_id, metric_id, source_id, transponder_id
from decoders.records import NULL_I1, POSITION, READING, Name, Observations, empty
from geofence.zones import Zone

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[3] / "docs" / "rules.md"
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
IDS = [tomllib.loads(example)["rule"][-1]["id"] for example in EXAMPLES]
#: Zones that examples may speak of.
ZONES = [
    Zone("core", "Core", "Vùng lõi", "t", shapely.box(107.0, 16.0, 107.1, 16.1)),
    Zone("border", "Border", "Ranh giới", "t", shapely.LineString([(108.0, 15.0), (108.0, 18.0)])),
    Zone("port", "Port", "Cảng", "port", shapely.box(107.63, 16.54, 107.65, 16.56)),
]

#: Who carries what, and where devices stand, by the registry.
REGISTRY = Registry(
    carried={
        574_000_011: [Carried(Vessel("sim-11", kind="Fishing", length_m=11.5), BEGINNING, END)],
        574_000_016: [
            Carried(Vessel("sim-16", flag="VN", kind="fishing", length_m=16.0, licensed=(0, END)), BEGINNING, END)
        ],
    },
    sites={"gw/wind-1": Site(107.0, 16.0), "gw/rain-1": Site(107.64, 16.55, frozenset({"Rain"}))},
)

#: 2026-10-05T06:00Z, one in the afternoon at Hue.
START = 1_791_180_000_000_000
MINUTE = 60_000_000
VMS = transponder_id("vms", "HUE-1")

Stream = list[Observations]
STREAMS: dict[str, Callable[[], Stream]] = {}


def stream(rule_id: str) -> Callable[[Callable[[], Stream]], Callable[[], Stream]]:
    """Register what makes the example with that id fire: batches, in which time is also receive time."""

    def register(made: Callable[[], Stream]) -> Callable[[], Stream]:
        STREAMS[rule_id] = made
        return made

    return register


def readings(device: str, metric: str, *rows: tuple[float, float]) -> Observations:
    """Values of one metric of "gateway/device", each with its minute."""
    table = empty(READING, len(rows))
    table["device"], table["metric"] = device_id(*device.split("/")), metric_id(metric)
    table["time"] = table["received_at"] = [START + int(minute * MINUTE) for minute, _ in rows]
    table["value"] = [value for _, value in rows]
    table["message"] = range(len(rows))
    name = Name("device", device_id(*device.split("/")), device)
    return Observations(messages=len(rows), readings=table, names=[name])


def fixes(transponder: int, *rows: tuple[float, float, float]) -> Observations:
    """Minute, longitude and latitude of fixes of one transponder."""
    table = empty(POSITION, len(rows))
    table["transponder"] = transponder
    table["time"] = table["received_at"] = [START + int(minute * MINUTE) for minute, *_ in rows]
    table["sog"] = table["cog"] = math.nan
    table["nav_status"] = NULL_I1
    table["lon"], table["lat"] = [lon for _, lon, _ in rows], [lat for *_, lat in rows]
    table["message"] = range(len(rows))
    return Observations(messages=len(rows), positions=table)


@stream("river-kim-long")
def _() -> Stream:
    levels = [0.5, 1.0, 1.2, 2.1, 2.2, 1.5, 0.5, 0.5, 0.5, 0.5]
    return [readings("gw/kim-long", "water_level", *((10.0 * n, level) for n, level in enumerate(levels)))]


@stream("silent-river")
def _() -> Stream:
    return [readings("gw/kim-long", "water_level", (0, 0.5)), readings("gw/kim-long", "water_level", (31, 0.5))]


@stream("silent-air")
def _() -> Stream:
    # Every ten minutes: half an hour, and what the grid rounds up, is too long.
    return [readings("gw/air-1", "pm2_5", *((10.0 * n, 9.0) for n in range(6)), (100, 9.0))]


@stream("gateway-silent")
def _() -> Stream:
    # Two stations, one of which is heard every ten minutes; then neither for an hour.
    rows = [
        readings(f"hue-gw-1/{name}", "pm2_5", *((10.0 * n + k, 9.0) for n in range(6))) for k, name in enumerate("ab")
    ]
    both = Observations(12, readings=np.sort(np.concatenate([one.readings for one in rows]), order="received_at"))
    both.names = [name for one in rows for name in one.names]
    return [both, readings("hue-gw-1/b", "pm2_5", (110, 9.0))]


@stream("broker-away")
def _() -> Stream:
    batches = [readings("gw/kim-long", "water_level", (0, 0.5)), readings("gw/kim-long", "water_level", (40, 0.5))]
    for batch in batches:
        batch.readings["source"] = source_id("gateways")
        batch.names.append(Name("source", source_id("gateways"), "gateways", "mqtt"))
    return batches


@stream("rain-above-the-lagoon")
def _() -> Stream:
    elsewhere = readings("gw/rain-2", "rain_1h", (0, 50.0))
    return [elsewhere, readings("gw/rain-1", "rain_1h", (0, 50.0), (60, 5.0))]


@stream("small-vessel-beyond-the-core")
def _() -> Stream:
    longer = fixes(574_000_016, (0, 107.05, 16.05))
    return [longer, fixes(574_000_011, (1, 107.05, 16.05), (20, 107.2, 16.05))]


@stream("long-vessel-silent")
def _() -> Stream:
    shorter = fixes(574_000_011, (0, 107.5, 16.5), (120, 107.55, 16.5))
    return [shorter, fixes(574_000_016, (121, 107.5, 16.5), (190, 107.5, 16.5)), fixes(574_000_016, (700, 107.9, 16.6))]


@stream("night-in-the-core")
def _() -> Stream:
    # Six in the evening at Hue comes five hours after the start.
    return [fixes(VMS, (0, 107.05, 16.05), (299, 107.05, 16.05), (300, 107.05, 16.05), (1021, 107.05, 16.05))]


@stream("in-and-out-of-the-core")
def _() -> Stream:
    # In, out by less than the buffer, in again, and away.
    west = [106.95, 107.001, 107.002, 107.003, 106.999, 106.9985, 107.001, 106.95, 106.94, 106.93]
    return [fixes(VMS, *((10.0 * n, lon, 16.05) for n, lon in enumerate(west)))]


@stream("over-the-border")
def _() -> Stream:
    # Over, and back; more than an hour later somebody else is heard.
    return [fixes(VMS, (0, 107.9, 16.5), (60, 108.1, 16.5), (120, 107.9, 16.5)), fixes(574_000_001, (300, 107.5, 16.5))]


@stream("long-in-the-core")
def _() -> Stream:
    return [
        fixes(VMS, (0, 106.9, 16.05), (30, 107.05, 16.05), (60, 107.05, 16.05), (90, 107.05, 16.05), (120, 107, 16.2))
    ]


@stream("trawling-speed-in-the-core")
def _() -> Stream:
    # Three knots, by where it was.
    return [
        fixes(VMS, *((10.0 * n, 107.0 + 0.0087 * n, 16.05) for n in range(8)), (90, 107.5, 16.05), (100, 107.6, 16.05))
    ]


@stream("towards-the-core")
def _() -> Stream:
    batch = fixes(
        574_000_001, *((float(n), 106.9 + 0.0035 * n, 16.05) for n in range(33)), (60, 106.9, 16.05), (70, 106.8, 16.05)
    )
    batch.positions["sog"], batch.positions["cog"] = 12.0, [90.0] * 33 + [270.0] * 2
    return [batch]


def _ahead(*rows: tuple[float, float, float]) -> Stream:
    batch = fixes(574_000_001, *rows)
    batch.positions["sog"], batch.positions["cog"] = 12.0, 90.0
    return [batch]


@stream("towards-the-border")
def _() -> Stream:
    return _ahead(*((float(n), 107.9 + 0.0035 * n, 16.5) for n in range(33)), (60, 107.9, 16.5))


@stream("out-of-the-core")
def _() -> Stream:
    return _ahead(*((float(n), 107.05 + 0.0035 * n, 16.05) for n in range(20)), (40, 107.05, 16.05))


@stream("pm2-5-day")
def _() -> Stream:
    values = [30.0] * 24 + [90.0] * 24 + [10.0] * 24
    return [readings("gw/air-1", "pm2_5", *((60.0 * hour, value) for hour, value in enumerate(values)))]


@stream("river-rising-fast")
def _() -> Stream:
    levels = [1.0] * 8 + [1.0 + 0.2 * n for n in range(8)] + [2.4] * 8
    return [readings("gw/kim-long", "water_level", *((15.0 * n, level) for n, level in enumerate(levels)))]


@stream("gauge-stuck")
def _() -> Stream:
    return [readings("gw/kim-long", "water_level", (0, 1.1), *((30.0 * n, 1.2) for n in range(1, 15)), (450, 1.3))]


@stream("gauge-implausible")
def _() -> Stream:
    return [readings("gw/kim-long", "water_level", (0, 1.1), (10, 7.01), (20, 6.95), (30, 6.8))]


@stream("air-quality")
def _() -> Stream:
    values = [20.0] * 6 + [60.0] * 12 + [110.0] * 12 + [20.0] * 12
    return [readings("gw/air-1", "pm2_5", *((60.0 * hour, value) for hour, value in enumerate(values)))]


@stream("signal-lost")
def _() -> Stream:
    return [fixes(VMS, (0, 107.5, 16.5), (120, 107.55, 16.5)), fixes(VMS, (120 + 9 * 60, 107.9, 16.6))]


@stream("receiver-silent")
def _() -> Stream:
    heard = [fixes(574_000_001 + n, (n, 107.5, 16.5)) for n in range(3)]
    return [*heard, fixes(574_000_001, (60, 107.5, 16.5))]


@stream("impossible-jump")
def _() -> Stream:
    return [fixes(VMS, (0, 107.5, 16.5), (120, 109.9, 16.5), (240, 109.95, 16.5)), fixes(VMS, (700, 109.95, 16.5))]


@stream("two-under-one-identity")
def _() -> Stream:
    rows = [(10.0 * n, 107.5 + n % 2, 16.5) for n in range(8)]
    return [fixes(574_000_001, *rows, (500, 107.5, 16.5), (510, 107.5, 16.5))]


@stream("distress")
def _() -> Stream:
    return [fixes(970_123_456, (0, 107.8, 16.7), (1, 107.8, 16.7)), fixes(574_000_001, (90, 107.5, 16.5))]


@stream("meeting-at-sea")
def _() -> Stream:
    ships = (574_000_001, 574_000_002)
    rows = [fixes(ship, (6.0 * n + k, 108.2, 16.5 + 0.001 * k)) for n in range(30) for k, ship in enumerate(ships)]
    return [*rows, fixes(ships[0], (190, 108.3, 16.5), (200, 108.4, 16.5))]


@stream("beacons-on-one-hull")
def _() -> Stream:
    ships = (574_000_001, 574_000_002, 574_000_003)
    rows = [
        fixes(ship, (6.0 * n + k, 108 + 0.01 * (n + k / 6), 16.5)) for n in range(40) for k, ship in enumerate(ships)
    ]
    ends = [fixes(ship, (250, 108.5 + 0.05 * k, 16.5), (262, 108.5 + 0.07 * k, 16.5)) for k, ship in enumerate(ships)]
    return [
        *rows,
        *sorted(ends, key=lambda batch: int(batch.positions["time"][0])),
        fixes(ships[0], (900, 108.5, 16.5)),
    ]


@stream("idles-far-out")
def _() -> Stream:
    # Two-hourly VMS, some 65 nm off the port, and away again.
    return [fixes(VMS, *((120.0 * n, 108.8 + 0.001 * n, 16.5) for n in range(5)), (600, 109.3, 16.5))]


@stream("call-at-port")
def _() -> Stream:
    return [fixes(VMS, (0, 107.8, 16.6), (120, 107.64, 16.55), (240, 107.64, 16.55), (360, 107.8, 16.6))]


@stream("likely-fishing")
def _() -> Stream:
    rows = [(6.0 * n, 108 + 0.004 * (0, 1, 2, 1)[n % 4], 16.5 + 0.004 * (n % 2)) for n in range(20)]
    return [fixes(VMS, *rows, (125, 108.1, 16.6))]


@stream("boats-in-strong-wind")
def _() -> Stream:
    # Two boats within 12 km of the station; one of them leaves, and the wind drops.
    boats = [fixes(VMS, (0, 107.05, 16.05)), fixes(transponder_id("vms", "HUE-2"), (1, 107.09, 16.05))]
    windy = [readings("gw/wind-1", "wind_speed", (2, 11.0), (13, 11.0))]
    return [*boats, *windy, fixes(VMS, (20, 107.3, 16.05)), readings("gw/wind-1", "wind_speed", (30, 5.0), (60, 5.0))]


def test_every_kind_has_an_example() -> None:
    kinds = {rule["kind"] for example in EXAMPLES for rule in tomllib.loads(example)["rule"]}
    assert kinds == set(KINDS)
    assert len(set(IDS)) == len(IDS)
    assert set(STREAMS) == set(IDS)


@pytest.mark.parametrize(("example", "rule_id"), list(zip(EXAMPLES, IDS, strict=True)), ids=IDS)
def test_the_example_loads_fires_once_and_ends(example: str, rule_id: str, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(example)
    book = pack.load([tmp_path], zones=ZONES, registry=REGISTRY)
    assert all("research" in doubt for doubt in book.doubts)
    engine = Engine(book.rules, book.zones, registry=REGISTRY)
    events = [
        transition.event for batch in STREAMS[rule_id]() for transition in engine.judge(batch, _last(batch)).transitions
    ]
    told = [event for event in events if event in {Event.FIRING, Event.RESOLVED}]
    assert told == [Event.FIRING, Event.RESOLVED]


def _last(batch: Observations) -> int:
    return max(int(table["received_at"][-1]) for table in (batch.readings, batch.positions) if len(table))
