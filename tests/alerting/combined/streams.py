"""Streams of readings and positions in messages, the rules that tests put to them, and engines over them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.model import Memory, RuleState
from alerting.registry.register import Registry, Site
from alerting.rules import RULE, CombinedRule
from decoders.identity import device_id, metric_id, transponder_id
from decoders.records import NULL_I1, POSITION, READING, Name, Observations, empty
from geofence.zones import Zone

if TYPE_CHECKING:
    from alerting.model import Transition, Verdict
    from alerting.rules import Rule

MINUTE = 60_000_000
START = 1_767_225_600_000_000  # 2026-01-01T00:00Z

WINDS = {device_id("gw", name): f"gw/{name}" for name in ("wind-1", "wind-2", "wind-nowhere")}
DEVICES = WINDS | {device_id("gw", "rain"): "gw/rain"}
SHIPS = (574_000_001, 416_000_002, transponder_id("vms", "HUE-1"))
REGISTRY = Registry(
    sites={
        "gw/wind-1": Site(107.0, 16.0),
        "gw/wind-2": Site(107.25, 16.1),
        "gw/wind-nowhere": Site(),
        "gw/rain": Site(107.1, 16.0),
    }
)
ZONES = [
    Zone("sea", "Sea", "Biển", "t", shapely.box(106.0, 15.0, 109.0, 17.0)),
    Zone("east", "East", "Đông", "t", shapely.box(107.2, 15.0, 109.0, 17.0)),
]

_SAID = {"title": {"en": "T", "vi": "T"}, "severity": "warning", "source": "test", "utc_offset": "+00:00"}


def rule(**fields: Any) -> Rule:
    return RULE.validate_json(json.dumps(_SAID | fields))


def combined(**fields: Any) -> CombinedRule:
    made = rule(kind="combined", **fields)
    assert isinstance(made, CombinedRule)
    return made


WIND = rule(
    id="wind",
    kind="threshold",
    metric="wind_speed",
    unit="m/s",
    devices=["wind-*"],
    mode="condition",
    **{"raise": 10.8},
)
OUT = rule(id="out", kind="zone", condition="inside", zones=["sea", "east"], mode="condition")
LEAVES = [
    WIND,
    OUT,
    rule(id="rain", kind="threshold", metric="rain_1h", unit="mm", **{"raise": 5, "for": "5m"}),
    rule(id="silent", kind="no_data", metric="wind_speed", after="20m", mode="condition"),
    rule(id="left", kind="zone", condition="left", zones=["east"], resolve_after="15m"),
    rule(id="gone", kind="gap", after="30m", after_in_port="30m", known_for="0s", mode="shadow"),
]
COMBINED = [
    combined(
        id="boats-in-wind",
        about="wind",
        within_m=15_000,
        when={"all": [{"rule": "wind"}, {"rule": "out", "at_least": 2}]},
        levels=[{"at_least": 3, "severity": "critical"}],
    ),
    combined(
        id="boat-in-wind",
        about="out",
        within_m=15_000,
        when={"all": [{"rule": "out"}, {"rule": "wind"}]},
        **{"for": "10m", "keep_firing_for": "5m"},
    ),
    combined(
        id="dry-wind",
        about="wind",
        hours=["00:10-00:35", "01:00-01:20"],
        keep_firing_for="8m",
        when={"all": [{"rule": "wind"}, {"not": {"rule": "rain", "join": "any"}}]},
    ),
    combined(
        id="doubtful",
        about="out",
        mode="condition",
        when={
            "all": [
                {"rule": "out"},
                {"not": {"rule": "left"}},
                {
                    "any": [
                        {"rule": "rain"},
                        {"rule": "gone", "within_m": 12_000},
                        {"not": {"rule": "silent", "within_m": 9000}},
                    ]
                },
            ]
        },
    ),
    combined(
        id="worse",
        about="boats-in-wind",
        when={
            "all": [
                {"rule": "boats-in-wind"},
                {"any": [{"rule": "silent"}, {"rule": "doubtful", "join": "any", "at_least": 2}]},
            ]
        },
        **{"for": "3m"},
    ),
    combined(
        id="crowd",
        about="out",
        mode="shadow",
        within_m=12_000,
        when={"all": [{"rule": "out"}, {"rule": "out", "join": "near", "at_least": 2}]},
    ),
    combined(id="lost-in-wind", about="wind", when={"all": [{"rule": "wind"}, {"rule": "silent", "join": "same"}]}),
]
#: Each after those that it speaks of.
RULES = [*COMBINED[::-1], *LEAVES]


@dataclass(frozen=True)
class Row:
    """One row on the wire. ``subject`` is a device or transponder, ``what`` a metric."""

    time: int
    subject: int
    what: str | None = None
    value: float = 0.0
    lon: float = 0.0
    lat: float = 0.0


@dataclass(frozen=True)
class Message:
    """Rows that were received together; none: that nothing could be heard since ``deaf_since``."""

    received: int
    rows: tuple[Row, ...] = ()
    deaf_since: int | None = None


@st.composite
def streams(draw: st.DrawFn) -> list[Message]:
    """Messages of one row or some, each with an instant of its own; some rows are old, some come after long silence."""
    received, messages = START, list[Message]()
    for _ in range(draw(st.integers(0, 30))):
        if draw(st.integers(0, 11)) == 0:
            since, received = received, received + draw(st.sampled_from([1, 2, 20])) * MINUTE
            messages.append(Message(received, deaf_since=since))
        received += 1 + draw(st.sampled_from([0, 0, 1, 3, 5, 21])) * MINUTE
        rows = draw(st.lists(_rows(received), min_size=1, max_size=3))
        messages.append(Message(received, tuple(rows)))
    return messages


@st.composite
def _rows(draw: st.DrawFn, received: int) -> Row:
    time = received - draw(st.sampled_from([0, 0, 0, 1, 4, 30])) * MINUTE
    if draw(st.booleans()):
        lon = draw(st.sampled_from([105.9, 106.95, 107.05, 107.1, 107.18, 107.21, 107.3]))
        return Row(time, draw(st.sampled_from(SHIPS)), lon=lon, lat=draw(st.sampled_from([16.0, 16.05, 16.1])))
    device = draw(st.sampled_from(sorted(DEVICES)))
    metric, values = ("wind_speed", [3.0, 10.8, 15.0]) if device in WINDS else ("rain_1h", [0.0, 9.0])
    return Row(time, device, metric, draw(st.sampled_from(values)))


def observations(messages: list[Message]) -> Observations:
    """The messages as a batch."""
    told = [(number, m.received, row) for number, m in enumerate(messages) for row in m.rows]
    fixes, values = [t for t in told if t[2].what is None], [t for t in told if t[2].what is not None]
    out = Observations(
        messages=len(messages), positions=empty(POSITION, len(fixes)), readings=empty(READING, len(values))
    )
    for table, found in ((out.positions, fixes), (out.readings, values)):
        table["message"] = [number for number, _, _ in found]
        table["received_at"] = [received for _, received, _ in found]
        table["time"] = [row.time for _, _, row in found]
        table["transponder" if table is out.positions else "device"] = [row.subject for _, _, row in found]
    out.positions["lon"], out.positions["lat"] = [r.lon for *_, r in fixes], [r.lat for *_, r in fixes]
    out.positions["sog"] = out.positions["cog"] = np.nan
    out.positions["nav_status"] = NULL_I1
    out.readings["metric"] = [metric_id(row.what or "") for _, _, row in values]
    out.readings["value"] = [row.value for _, _, row in values]
    out.names += [Name("device", row.subject, DEVICES[row.subject]) for _, _, row in values]
    return out


@dataclass
class Store:
    """What a database would hold after each batch, and the memory it would give back."""

    transitions: list[Transition] = field(default_factory=list)
    states: dict[Any, RuleState] = field(default_factory=dict)
    newest: dict[Any, tuple[int, Row]] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    listened: int = START

    def commit(self, messages: list[Message], verdict: Verdict, tick: int) -> None:
        self.transitions += verdict.transitions
        self.listened = tick
        for state in verdict.states:
            key = (state.rule_id, state.subject_kind.value, state.subject_id, state.key)
            if state.state is None:
                self.states.pop(key, None)
            else:
                kept = json.loads(json.dumps(state.state))
                self.states[key] = RuleState(state.rule_id, state.subject_kind, state.subject_id, state.key, kept)
        for message in messages:
            for row in message.rows:
                place = (row.subject, row.what)
                if place not in self.newest or row.time > self.newest[place][1].time:
                    self.newest[place] = (message.received, row)
                if row.what is None:
                    self.first.setdefault(row.subject, row.time)

    def memory(self) -> Memory:
        latest = sorted(self.newest.values(), key=lambda found: (found[0], found[1].time))
        tables = observations([Message(received, (row,)) for received, row in latest])
        return Memory(
            states=[self.states[key] for key in sorted(self.states)],
            positions=tables.positions,
            readings=tables.readings,
            first_seen=self.first,
            names={("device", number): name for number, name in DEVICES.items()},
            listened=self.listened,
        )


def run(
    messages: list[Message],
    cuts: list[tuple[int, float]],
    end: int,
    *,
    restart: bool,
    rules: list[Rule],
    capacity: int = 1000,
) -> Store:
    """Judge a stream cut at places, each with a tick before the next message; with a new engine each, if asked."""
    store = Store()
    engine = Engine(rules, ZONES, registry=REGISTRY, capacity=capacity)
    shares = {cut % (len(messages) + 1): share for cut, share in cuts}
    deaf = {k + side for k, message in enumerate(messages) if message.deaf_since is not None for side in (0, 1)}
    for start, stop in pairwise(sorted({0, len(messages), *shares, *deaf})):
        batch = messages[start:stop]
        if (since := batch[0].deaf_since) is not None:
            engine.deaf(since, batch[0].received)
            batch = []
        latest = messages[stop - 1].received
        following = end if stop == len(messages) else messages[stop].received
        if stop < len(messages) and (since := messages[stop].deaf_since) is not None:
            following = since
        tick = latest + int(shares.get(stop, 0.0) * (following - latest))
        store.commit(batch, engine.judge(observations(batch), tick), tick)
        if restart:
            engine = Engine(rules, ZONES, registry=REGISTRY, capacity=capacity)
            engine.restore(store.memory())
    store.commit([], engine.judge(Observations(), end), end)
    return store
