"""Streams of fixes for tests of detectors: rows, batches of them, and an engine run over them however they are cut."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from alerting.engine import Engine
from alerting.model import Late, Memory, RuleState, Transition, Verdict
from alerting.registry.register import UNREGISTERED
from alerting.rules import RULE
from decoders.identity import source_id, transponder_id
from decoders.records import NULL_I1, NULL_I2, POSITION, STATIC, AisRecord, Name, Observations, empty

if TYPE_CHECKING:
    from alerting.registry.register import Registry
    from alerting.rules import Rule
    from geofence.zones import Zone

MINUTE = 60_000_000
HOUR = 60 * MINUTE
START = 1_767_218_400_000_000  # 2025-12-31T22:00Z
SOURCES = {source_id(name): name for name in ("tower", "hill", "vms")}
TOWER, HILL, VMS_FEED = SOURCES

_TITLE = {"title": {"en": "T", "vi": "T"}, "severity": "warning", "source": "test", "utc_offset": "+00:00"}


def rule(**fields: Any) -> Rule:
    """A rule from what is particular to it."""
    return RULE.validate_python(_TITLE | fields)


def vms(number: int) -> int:
    """The id of a VMS device."""
    return transponder_id("vms", f"HUE-{number}")


@dataclass(frozen=True)
class Row:
    """One row on the wire; or, as "deaf", that nothing could be heard from ``time`` to ``received``."""

    kind: str  # "position" | "unplaced" | "static" | "text" | "deaf"
    time: int
    received: int
    transponder: int = 0
    lon: float = 0.0
    lat: float = 0.0
    sog: float | None = None
    cog: float | None = None
    nav_status: int | None = None
    source: int = TOWER
    said: Any = None  # ship type, or text


def observations(rows: list[Row]) -> Observations:
    """The rows as a batch; every row is a message."""
    positions = [(n, r) for n, r in enumerate(rows) if r.kind == "position"]
    statics = [(n, r) for n, r in enumerate(rows) if r.kind == "static"]
    out = Observations(
        messages=len(rows),
        positions=empty(POSITION, len(positions)),
        statics=empty(STATIC, len(statics)),
        records=[
            AisRecord(
                r.time,
                r.received,
                r.transponder,
                r.received % 1_000_003,
                r.source,
                14 if r.kind == "text" else 1,
                "safety_text" if r.kind == "text" else "position",
                {"text": r.said} if r.kind == "text" else {"lon": None, "lat": None, "nav_status": r.nav_status},
                n,
            )
            for n, r in enumerate(rows)
            if r.kind in {"text", "unplaced"}
        ],
    )
    for table, found in ((out.positions, positions), (out.statics, statics)):
        table["message"] = [n for n, _ in found]
        for column, name in (("time", "time"), ("received_at", "received"), ("transponder", "transponder")):
            table[column] = [getattr(r, name) for _, r in found]
        table["source"] = [r.source for _, r in found]
    table = out.positions
    table["lon"], table["lat"] = [r.lon for _, r in positions], [r.lat for _, r in positions]
    for name in ("sog", "cog"):
        table[name] = [np.nan if (v := getattr(r, name)) is None else v for _, r in positions]
    table["nav_status"] = [NULL_I1 if r.nav_status is None else r.nav_status for _, r in positions]
    out.statics["ship_type"] = [NULL_I2 if r.said is None else r.said for _, r in statics]
    out.names += [Name("source", number, name) for number, name in SOURCES.items()]
    return out


_NEVER = Row("position", -(2**62), -(2**62))


@dataclass
class Store:
    """What a database would hold after each batch, and the memory it would give back."""

    transitions: list[Transition] = field(default_factory=list)
    states: dict[Any, RuleState] = field(default_factory=dict)
    written: int = 0
    newest: dict[int, Row] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    statics: dict[int, tuple[int, int]] = field(default_factory=dict)
    late: list[Late] = field(default_factory=list)

    def commit(self, rows: list[Row], verdict: Verdict) -> None:
        self.transitions += verdict.transitions
        self.late += verdict.late
        self.written += len(verdict.states)
        for state in verdict.states:
            key = (state.rule_id, state.subject_kind.value, state.subject_id, state.key)
            if state.state is None:
                self.states.pop(key, None)
            else:
                kept = json.loads(json.dumps(state.state))
                self.states[key] = RuleState(state.rule_id, state.subject_kind, state.subject_id, state.key, kept)
        for row in rows:
            if row.kind != "deaf":
                self.first[row.transponder] = min(row.time, self.first.get(row.transponder, row.time))
            if row.kind == "static":
                newest, known = self.statics.get(row.transponder, (row.time, 0))
                if row.time >= newest:
                    self.statics[row.transponder] = (row.time, known if row.said is None else row.said)
            elif row.kind == "position" and row.time > (self.newest.get(row.transponder) or _NEVER).time:
                self.newest[row.transponder] = row

    def memory(self) -> Memory:
        latest = sorted(self.newest.values(), key=lambda r: (r.received, r.time))
        return Memory(
            states=[self.states[key] for key in sorted(self.states)],
            positions=observations(latest).positions,
            readings=observations([]).readings,
            ship_types={ship: known for ship, (_, known) in self.statics.items()},
            static_times={ship: time for ship, (time, _) in self.statics.items()},
            first_seen=self.first,
            names={("source", number): name for number, name in SOURCES.items()},
        )


def run(
    rows: list[Row],
    rules: list[Rule],
    end: int,
    *,
    zones: list[Zone] | None = None,
    cuts: list[tuple[int, float]] | None = None,
    restart: bool = False,
    registry: Registry = UNREGISTERED,
) -> Store:
    """Judge a stream cut at places, each with a tick before the next row; with a new engine each, if asked."""
    store = Store()
    engine = Engine(rules, zones or [], registry=registry)
    shares = {c % (len(rows) + 1): share for c, share in cuts or ()}
    deaf = {k + side for k, row in enumerate(rows) if row.kind == "deaf" for side in (0, 1)}
    for start, stop in pairwise(sorted({0, len(rows), *shares, *deaf})):
        batch = rows[start:stop]
        if batch[0].kind == "deaf":
            engine.deaf(batch[0].time, batch[0].received)
            batch = []
        latest = rows[stop - 1].received
        following = end if stop == len(rows) else rows[stop].received
        if stop in deaf and rows[stop - 1].kind != "deaf":
            following = rows[stop].time
        tick = latest + int(shares.get(stop, 0.0) * (following - latest))
        store.commit(batch, engine.judge(observations(batch), tick))
        if restart:
            engine = Engine(rules, zones or [], registry=registry)
            engine.restore(store.memory())
    store.commit([], engine.judge(Observations(), end))
    return store


Told = tuple[str, str, int, str, str, int, int, str]


def told(transitions: list[Transition]) -> list[Told]:
    """Rule, kind of subject, subject, key, event, time, start, severity."""
    return [
        (t.rule_id, t.subject.kind.value, t.subject.id, t.key, t.event.value, t.at, t.started_at, t.severity.value)
        for t in transitions
    ]


def assert_same(whole: Store, other: Store) -> None:
    """Another way of cutting came to the same alerts and the same state."""
    assert other.transitions == whole.transitions
    assert other.states == whole.states
