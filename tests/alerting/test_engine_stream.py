"""What the engine makes of a stream depends on its rows, their order and the last tick, and on nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.model import Memory, RuleState
from alerting.registry.register import UNREGISTERED
from alerting.rules import RULE
from decoders.identity import device_id, metric_id, transponder_id
from decoders.records import NULL_I2, POSITION, READING, STATIC, Name, Observations, empty
from geofence import apart
from geofence.zones import Zone
from tests.alerting.oracle import Item, Oracle, Told, happened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from alerting.model import LookBack, Verdict
    from alerting.registry.register import Registry
    from alerting.rules import Rule

MINUTE = 60_000_000
#: Streams run over a midnight (UTC) at which some rules begin and some end.
MIDNIGHT = 1_767_225_600_000_000  # 2026-01-01T00:00Z
START = MIDNIGHT - 120 * MINUTE

DEVICES = {device_id("gw", name): f"gw/{name}" for name in ("kim-long", "air-1")}
SHIPS = (574_000_001, 416_000_002, transponder_id("vms", "HUE-1"))
ZONES = [
    Zone("a", "A", "A", "t", shapely.box(107.0, 16.0, 107.1, 16.1)),
    Zone("b", "B", "B", "t", shapely.box(107.05, 16.05, 107.15, 16.15)),
    Zone("border", "L", "L", "t", shapely.LineString([(106.0, 16.07), (108.0, 16.07)])),
    Zone("thin", "T", "T", "t", shapely.box(107.2, 15.0, 107.2001, 17.0)),
]

_TITLE = {"title": {"en": "T", "vi": "T"}, "severity": "warning", "source": "test", "utc_offset": "+00:00"}


@pytest.fixture(autouse=True, scope="module")
def _one_vessel_a_number() -> Iterator[None]:
    """The oracle knows of no two vessels under one identity: ``tests/alerting/vessels/test_apart.py`` is about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apart, "LEAST", 2**62)
        yield


def rule(**fields: Any) -> Rule:
    return RULE.validate_python(_TITLE | fields)


def level(**fields: Any) -> Rule:
    return rule(kind="threshold", unit="m", metric="water_level", **fields)


def on_zone(**fields: Any) -> Rule:
    return rule(kind="zone", **{"zones": ["a", "b", "thin"], **fields})


RULES = [
    level(id="plain", **{"raise": 2.0}),
    level(id="gap", **{"raise": 3.0, "clear": 1.0}),
    level(id="held", **{"raise": 2.0, "clear": 1.0, "for": "20m"}),
    level(id="low", **{"raise": 1.0, "direction": "below", "inclusive": False, "for": "30m"}),
    level(id="ends", devices=["kim-*"], valid_to=date.fromisoformat("2025-12-31"), **{"raise": 2.0, "for": "10m"}),
    level(id="begins", valid_from=date.fromisoformat("2026-01-01"), **{"raise": 2.0}),
    level(id="kept", keep_firing_for="12m", **{"raise": 2.0, "clear": 1.0}),
    level(id="kept-low", direction="below", keep_firing_for="6m", **{"raise": 1.0, "for": "5m"}),
    level(
        id="ladder",
        levels=[
            {"severity": "warning", "raise": 1.5, "clear": 1.0},
            {"severity": "major", "raise": 2.5, "clear": 1.5, "name": {"en": "II", "vi": "II"}},
            {"severity": "critical", "raise": 4.0},
        ],
    ),
    level(
        id="slow-ladder",
        keep_firing_for="8m",
        levels=[{"severity": "warning", "raise": 2.0}, {"severity": "critical", "raise": 3.0, "clear": 2.5}],
        **{"for": "10m"},
    ),
    level(
        id="low-ladder",
        direction="below",
        inclusive=False,
        valid_to=date.fromisoformat("2025-12-31"),
        hours=["22:00-23:40", "23:50-24:00"],
        levels=[{"severity": "warning", "raise": 2.5}, {"severity": "major", "raise": 1.5, "clear": 2.0}],
        **{"for": "6m"},
    ),
    level(id="night", hours=["22:30-00:20"], **{"raise": 2.0, "clear": 1.0}),
    level(id="old-year", season={"from": "12-31", "to": "12-31"}, **{"raise": 2.0, "for": "10m"}),
    rule(id="silent", kind="no_data", metric="water_level", after="30m"),
    rule(id="silent-soon", kind="no_data", metric="water_level", devices=["kim-*"], after="8m"),
    rule(
        id="silent-new", kind="no_data", metric="water_level", after="10m", valid_from=date.fromisoformat("2026-01-01")
    ),
    rule(id="silent-night", kind="no_data", metric="water_level", after="9m", hours=["23:00-23:20", "23:40-00:30"]),
    rule(
        id="silent-learned",
        kind="no_data",
        metric="water_level",
        after="learned",
        at_least="4m",
        at_most="40m",
        factor=1.5,
    ),
    on_zone(id="in", condition="inside"),
    on_zone(id="in-fishing", condition="inside", scope={"ship_types": [30], "vms": True}),
    on_zone(id="in-new", condition="inside", valid_from=date.fromisoformat("2026-01-01"), scope={"ship_types": [30]}),
    on_zone(id="in-hours", condition="inside", hours=["22:30-23:00", "00:10-01:00"]),
    on_zone(id="in-january", condition="inside", months=[1], utc_offset="+00:30"),
    on_zone(id="enter", condition="entered"),
    on_zone(id="enter-night", condition="entered", hours=["23:00-00:30"], season={"from": "12-31", "to": "01-02"}),
    on_zone(id="enter-fishing", condition="entered", scope={"ship_types": [30, "70-79"]}),
    on_zone(
        id="enter-old",
        condition="entered",
        valid_to=date.fromisoformat("2025-12-31"),
        scope={"exclude": {"ship_types": [70]}},
    ),
    on_zone(id="leave", condition="left", zones=["a"], resolve_after="15m", scope={"flags": [574]}),
    on_zone(id="cross", condition="crossed", resolve_after="40m"),
    on_zone(id="over", condition="crossed", zones=["border", "thin"], resolve_after="20m", scope={"flags": [574]}),
    on_zone(id="over-left", condition="crossed", zones=["border"], direction="left"),
    on_zone(
        id="over-right",
        condition="crossed",
        zones=["border"],
        direction="right",
        resolve_after="8m",
        hours=["22:30-00:20"],
        scope={"exclude": {"ship_types": [70]}},
    ),
    on_zone(id="in-buffer", condition="inside", zones=["a"], exit_buffer_m=3000),
    on_zone(id="in-settle", condition="inside", zones=["a", "b"], settle="6m", scope={"ship_types": [30], "vms": True}),
    on_zone(id="enter-settle", condition="entered", zones=["a"], settle="8m", settle_fixes=2, exit_buffer_m=3000),
    on_zone(
        id="enter-settle-fishing", condition="entered", settle_fixes=2, exit_buffer_m=3000, scope={"ship_types": [30]}
    ),
    on_zone(id="leave-buffer", condition="left", zones=["a"], exit_buffer_m=3000, resolve_after="15m"),
    on_zone(id="leave-settle", condition="left", zones=["a", "b"], settle="5m", hours=["22:30-00:20"]),
    on_zone(id="dwell", condition="dwell", zones=["a", "b"], exit_buffer_m=3000, settle="6m", **{"for": "12m"}),
    on_zone(id="dwell-fishing", condition="dwell", scope={"ship_types": [30]}, **{"for": "5m"}),
    on_zone(id="near", condition="approaching", zones=["a", "b"], within="16m", imminent="4m", severity="info"),
    on_zone(
        id="near-fishing",
        condition="approaching",
        zones=["a", "b", "thin"],
        within="30m",
        settle="6m",
        exit_buffer_m=3000,
        min_sog=4,
        crossed_severity="warning",
        hours=["22:10-00:40"],
        scope={"ship_types": [30], "vms": True},
    ),
    on_zone(id="fast", condition="speed", zones=["a", "b"], min_sog=8),
    on_zone(
        id="slow",
        condition="speed",
        zones=["a"],
        min_sog=1,
        max_sog=5,
        settle_fixes=2,
        exit_buffer_m=3000,
        scope={"ship_types": [30], "vms": True},
        **{"for": "5m"},
    ),
    on_zone(id="cross-fishing", condition="crossed", zones=["thin"], scope={"ship_types": [30]}),
]


@st.composite
def streams(draw: st.DrawFn) -> list[Item]:
    """Rows in arrival order, some with old times, some after long silences, some of those ours."""
    received = START
    items = []
    for _ in range(draw(st.integers(0, 30))):
        received += draw(st.sampled_from([0, 0, 1, 5, 10, 31])) * MINUTE
        if draw(st.integers(0, 9)) == 0:
            since, received = received, received + draw(st.sampled_from([1, 2, 20, 120])) * MINUTE
            items.append(Item("deaf", since, received, 0))
        time = received - draw(st.sampled_from([0, 0, 0, 1, 7, 35])) * MINUTE
        match draw(st.sampled_from(["reading", "reading", "position", "position", "static"])):
            case "reading":
                value = draw(st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0]))
                metric = draw(st.sampled_from(["water_level", "water_level", "ph"]))
                items.append(Item("reading", time, received, draw(st.sampled_from(list(DEVICES))), metric, value))
            case "position":
                lon = draw(st.sampled_from([106.95, 107.0, 107.02, 107.07, 107.12, 107.19, 107.21]))
                lat = draw(st.sampled_from([16.02, 16.07, 16.12, 16.2]))
                cog = draw(st.sampled_from([None, 45.0, 90.0, 225.0, 280.0]))
                sog = draw(st.sampled_from([None, 0.0, 3.0, 12.0]))
                items.append(
                    Item("position", time, received, draw(st.sampled_from(SHIPS)), None, 0.0, lon, lat, sog, cog)
                )
            case _:
                ship_type = draw(st.sampled_from([None, 0, 30, 30, 70]))
                items.append(Item("static", time, received, draw(st.sampled_from(SHIPS[:2])), ship_type))
    return items


def observations(items: list[Item]) -> Observations:
    """The items as a batch; every item is a message."""
    rows: dict[str, list[tuple[int, Item]]] = {"reading": [], "position": [], "static": []}
    for number, item in enumerate(items):
        rows[item.kind].append((number, item))
    out = Observations(
        messages=len(items),
        positions=empty(POSITION, len(rows["position"])),
        readings=empty(READING, len(rows["reading"])),
        statics=empty(STATIC, len(rows["static"])),
        names=[Name("device", i.subject, DEVICES[i.subject]) for _, i in rows["reading"]],
    )
    for table, kind in ((out.positions, "position"), (out.readings, "reading"), (out.statics, "static")):
        for k, (number, item) in enumerate(rows[kind]):
            table["message"][k], table["time"][k], table["received_at"][k] = number, item.time, item.received
            table["device" if kind == "reading" else "transponder"][k] = item.subject
            match kind:
                case "position":
                    table["lon"][k], table["lat"][k] = item.lon, item.lat
                    table["cog"][k] = np.nan if item.cog is None else item.cog
                    table["sog"][k] = np.nan if item.sog is None else item.sog
                case "reading":
                    table["metric"][k], table["value"][k] = metric_id(item.what), item.value
                case _:
                    table["ship_type"][k] = NULL_I2 if item.what is None else item.what
    return out


@dataclass
class Store:
    """What a database would hold after each batch, and the memory it would give back."""

    transitions: list[Any] = field(default_factory=list)
    states: dict[Any, RuleState] = field(default_factory=dict)
    late: int = 0
    newest: dict[Any, Item] = field(default_factory=dict)
    statics: dict[int, tuple[int, int]] = field(default_factory=dict)
    readings: list[Item] = field(default_factory=list)  # in arrival order; of one time the first
    _stored: set[Any] = field(default_factory=set)

    def commit(self, items: list[Item], verdict: Verdict) -> None:
        self.transitions += verdict.transitions
        self.late += verdict.late_positions + verdict.late_readings
        for state in verdict.states:
            key = (state.rule_id, state.subject_kind, state.subject_id, state.key)
            if state.state is None:
                self.states.pop(key, None)
            else:
                self.states[key] = state
        for item in items:
            if item.kind == "static":
                newest, known = self.statics.get(item.subject, (item.time, 0))
                if item.time >= newest:
                    self.statics[item.subject] = (item.time, known if item.what is None else item.what)
                continue
            place = (item.kind, item.subject, item.what)
            if item.kind == "reading" and (*place, item.time) not in self._stored:
                self._stored.add((*place, item.time))
                self.readings.append(item)
            if place not in self.newest or item.time > self.newest[place].time:
                self.newest[place] = item

    def past(self, wanted_: LookBack) -> NDArray[np.void]:
        """The readings that an engine wants again."""
        series = zip(wanted_.device.tolist(), wanted_.metric.tolist(), strict=True)
        wanted = dict(zip(series, wanted_.since.tolist(), strict=True))
        rows = [i for i in self.readings if i.time >= wanted.get((i.subject, metric_id(i.what)), i.time + 1)]
        return observations(rows).readings

    def memory(self) -> Memory:
        latest = observations(list(self.newest.values()))
        return Memory(
            states=list(self.states.values()),
            positions=latest.positions,
            readings=latest.readings,
            ship_types={ship: known for ship, (_, known) in self.statics.items()},
            static_times={ship: time for ship, (time, _) in self.statics.items()},
            names={("device", number): name for number, name in DEVICES.items()},
        )


def run(
    items: list[Item],
    cuts: list[tuple[int, float]],
    end: int,
    *,
    restart: bool,
    rules: list[Rule],
    capacity: int = 1000,
    registry: Registry = UNREGISTERED,
) -> Store:
    """Judge the stream cut at places; a cut's tick lies between the rows around it. What was not heard cuts, too."""
    store = Store()
    engine = Engine(rules, ZONES, registry=registry, capacity=capacity)
    shares = {c % (len(items) + 1): f for c, f in cuts}
    deaf = {k + side for k, item in enumerate(items) if item.kind == "deaf" for side in (0, 1)}
    for start, stop in pairwise(sorted({0, len(items), *shares, *deaf})):
        batch = items[start:stop]
        if batch[0].kind == "deaf":
            engine.deaf(batch[0].time, batch[0].received)
            batch = []
        latest = items[stop - 1].received
        following = end if stop == len(items) else items[stop].received
        if stop in deaf and items[stop - 1].kind != "deaf":
            following = items[stop].time
        tick = latest + int(shares.get(stop, 0.0) * (following - latest))
        store.commit(batch, engine.judge(observations(batch), tick))
        if restart:
            engine = Engine(rules, ZONES, registry=registry)
            engine.restore(store.memory(), edited=True)
            engine._fences._edited = set(engine._fences._fences)  # as if all were new: what holds is told already
    store.commit([], engine.judge(Observations(), end))
    return store


def told(transitions: list[Any]) -> list[Told]:
    """As the oracle tells it: what is not a warning is told with its severity."""
    return [
        (t.rule_id, t.subject.id, t.key, happened(t.event, t.severity), t.at, t.started_at, t.value)
        for t in transitions
    ]


@settings(max_examples=120)
@given(
    streams(),
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), max_size=6),
    st.sampled_from([0, 5, 45, 200]),
    # All together, or one by itself, where no other rule draws attention to a row.
    st.one_of(st.just(RULES), st.sampled_from(RULES).map(lambda rule: [rule])),
)
def test_batches_and_restarts_change_nothing_and_all_agree_with_the_oracle(
    items: list[Item], cuts: list[tuple[int, float]], rest: int, rules: list[Rule]
) -> None:
    end = (items[-1].received if items else START) + rest * MINUTE
    oracle = Oracle(rules, ZONES, DEVICES)
    for item in items:
        oracle.feed(item)
    oracle.tick(end)
    for rule_id, *_ in oracle.told:
        event(rule_id)

    whole = run(items, [], end, restart=False, rules=rules)
    assert told(whole.transitions) == oracle.told
    assert whole.late == oracle.late

    parts = run(items, cuts, end, restart=False, rules=rules)
    assert parts.transitions == whole.transitions
    assert parts.states == whole.states
    assert parts.late == whole.late

    restarted = run(items, cuts, end, restart=True, rules=rules)
    assert restarted.transitions == whole.transitions
    assert restarted.states == whole.states
    assert restarted.late == whole.late


@settings(max_examples=40)
@given(
    streams(),
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), max_size=6),
    st.sampled_from([1, 2]),
)
@example(  # a fix that has crossed one zone and heads for it again: its alert is over with the next
    [
        Item("position", START, START, SHIPS[0], lon=106.95, lat=16.02),
        Item("position", START + 10 * MINUTE, START + 10 * MINUTE, SHIPS[0], lon=107.12, lat=16.02, cog=225.0),
        Item("position", START + 11 * MINUTE, START + 11 * MINUTE, SHIPS[0], lon=106.95, lat=16.02),
    ],
    [(2, 0.0)],
    1,
)
def test_who_is_forgotten_for_want_of_room_does_not_depend_on_batches(
    items: list[Item], cuts: list[tuple[int, float]], capacity: int
) -> None:
    end = (items[-1].received if items else START) + 200 * MINUTE
    whole = run(items, [], end, restart=False, rules=RULES, capacity=capacity)
    parts = run(items, cuts, end, restart=False, rules=RULES, capacity=capacity)
    assert parts.transitions == whole.transitions
    assert parts.states == whole.states
    assert parts.late == whole.late
    # An alert that is about where a vessel is does not outlive the knowledge of it.
    lasting = [s for s in whole.states.values() if s.rule_id.startswith(("in", "enter"))]
    assert len({s.subject_id for s in lasting}) <= capacity
    forgotten = [t for t in whole.transitions if t.details.get("reason") == "forgotten"]
    event("forgotten" if forgotten else "nobody forgotten")
    assert all(t.state.value == "resolved" for t in forgotten)
