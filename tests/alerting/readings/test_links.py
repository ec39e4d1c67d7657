"""Gateways and sources fall silent once, whatever batches their rows came in; held against a plain account of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.judging.hearing import GRACE, TOLERANCE
from alerting.model import Memory, SubjectKind
from alerting.readings.rhythm import DAY, GRID
from alerting.rules import RULE
from decoders.identity import device_id, metric_id, source_id, transponder_id
from decoders.records import NULL_I1, POSITION, READING, Name, Observations, empty

if TYPE_CHECKING:
    from alerting.model import RuleState, Transition, Verdict

MINUTE = 60_000_000
START = 1_767_225_600_000_000 - 30 * MINUTE  # before a midnight, UTC, from which a rhythm learns anew
DEVICES = ("one/a", "one/b", "two/a", "away/a")
BUOYS = ("two/buoy",)  # positions by MQTT
SHIP = 574_000_001  # by a receiver: of no gateway
SOURCES = ("broker", "mast")
_TITLE = {"title": {"en": "T", "vi": "T"}, "severity": "major", "source": "test"}
RULES = [
    RULE.validate_python(_TITLE | fields)
    for fields in (
        {"id": "fixed", "kind": "gateway_silent", "after": "30m", "exclude": ["away"]},
        {"id": "own", "kind": "gateway_silent", "after": "7m", "gateways": ["one"], "hours": ["00:00-24:00"]},
        {
            "id": "learned",
            "kind": "gateway_silent",
            "after": "learned",
            "at_least": "3m",
            "at_most": "50m",
            "factor": 1.5,
            "gateways": ["one", "two"],
        },
        {"id": "away", "kind": "source_away", "after": "30m"},
        {"id": "broker", "kind": "source_away", "after": "9m", "sources": ["b*"]},
    )
]


@dataclass(frozen=True)
class Row:
    """Something comes; ``who`` None: nothing could be heard from ``since`` until then."""

    received: int
    time: int
    who: str | None
    source: str = ""
    since: int = 0


@st.composite
def streams(draw: st.DrawFn) -> list[Row]:
    """Rows in arrival order, some of them old, some after long silences, some of those ours."""
    now, rows = START, []
    for _ in range(draw(st.integers(0, 40))):
        now += draw(st.sampled_from([0, 1, 20, 59, 61, 61, 240, 240, 500, 1_900, 4_000])) * 1_000_000 + draw(
            st.integers(1, 9)
        )
        if draw(st.integers(0, 9)) == 0:
            since, now = now, now + draw(st.sampled_from([1, 2, 20, 120])) * MINUTE
            rows.append(Row(now, now, None, since=since))
            now += 1
        late = draw(st.sampled_from([0, 0, 0, 10, 60])) * MINUTE
        who = draw(st.sampled_from([*DEVICES[:1] * 4, *DEVICES, *BUOYS, "ship"]))
        rows.append(Row(now, now - late, who, draw(st.sampled_from(SOURCES))))
    return rows


def batch(rows: list[Row]) -> Observations:
    """Rows of one batch, numbered as messages."""
    read = [(n, row) for n, row in enumerate(rows) if row.who in DEVICES]
    seen = [(n, row) for n, row in enumerate(rows) if row.who not in DEVICES]
    readings, positions = empty(READING, len(read)), empty(POSITION, len(seen))
    for table, some in ((readings, read), (positions, seen)):
        for i, (n, row) in enumerate(some):
            table["time"][i], table["received_at"][i], table["message"][i] = row.time, row.received, n
            table["source"][i] = source_id(row.source)
    readings["device"] = [device_id(*str(row.who).split("/")) for _, row in read]
    readings["metric"], readings["value"] = metric_id("ph"), 7.0
    positions["transponder"] = [_transponder(str(row.who)) for _, row in seen]
    positions["lon"], positions["lat"], positions["nav_status"] = 108.0, 16.5, NULL_I1
    positions["sog"] = positions["cog"] = np.nan
    names = [Name("device", device_id(*name.split("/")), name) for name in DEVICES]
    names += [Name("transponder", _transponder(name), name, "device") for name in BUOYS]
    names += [Name("source", source_id(name), name, "mqtt") for name in SOURCES]
    return Observations(messages=len(rows), readings=readings, positions=positions, names=names)


def _transponder(name: str) -> int:
    return SHIP if name == "ship" else transponder_id("device", name)


class Process:
    """An engine that may be killed, and what is left of it: states, and the latest row of each subject."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str, int, str], RuleState] = {}
        self.latest: dict[tuple[str, ...], tuple[str, Any]] = {}
        self.told: list[Transition] = []
        self.listened: int | None = None
        self.start()

    def start(self) -> None:
        readings, positions = (
            np.concatenate([row for of, row in self.latest.values() if of == name] or [empty(dtype, 0)])
            for name, dtype in (("readings", READING), ("positions", POSITION))
        )
        names = {(name.kind, name.id): name.name for name in batch([]).names}
        self.engine = Engine(RULES, [])
        kept = list(self.states.values())
        self.engine.restore(Memory(kept, positions, readings, names=names, listened=self.listened))

    def judge(self, rows: list[Row], now: int) -> None:
        observed = batch(rows)
        verdict: Verdict = self.engine.judge(observed, now)
        self.listened = now
        self.told += verdict.transitions
        for state in verdict.states:
            key = (state.rule_id, state.subject_kind.value, state.subject_id, state.key)
            self.states.pop(key, None)
            if state.state is not None:
                self.states[key] = state
        for name, subject in (("readings", "device"), ("positions", "transponder")):
            for row in getattr(observed, name)[:, np.newaxis]:
                key_ = (name, str(row[subject][0]))
                if key_ not in self.latest or self.latest[key_][1]["time"][0] < row["time"][0]:
                    self.latest[key_] = (name, row)


@dataclass
class Link:
    """What the account below knows of a gateway or a source."""

    heard: int | None = None
    intervals: dict[int, list[int]] = field(default_factory=dict)  # by day
    open: dict[str, int] = field(default_factory=dict)  # rule -> start


class Account:
    """What is told, row after row: (rule, name, event, at, start)."""

    def __init__(self) -> None:
        self.links: dict[tuple[str, str], Link] = {}
        self.time: dict[str, int] = {}
        self.deaf: list[tuple[int, int]] = []
        self.told: list[tuple[str, str, str, int, int]] = []

    def row(self, row: Row) -> None:
        if row.who is None:
            self.deaf += [(row.since, row.received)] if row.received - row.since > TOLERANCE else []
            return
        if self.time.get(row.who, 0) >= row.time:
            return  # no news
        self.time[row.who] = row.time
        gateway = None if row.who == "ship" else row.who.partition("/")[0]
        for kind, name in (("gateway_silent", gateway), ("source_away", row.source)):
            if name is None:
                continue
            if kind == "source_away" and (kind, name) not in self.links and row.who not in DEVICES:
                continue  # what brings positions alone is not watched
            link = self.links.setdefault((kind, name), Link())
            self.expire(kind, name, row.received)
            for rule, start in sorted(link.open.items()):
                self.told.append((rule, name, "resolved", row.received, start))
            link.open.clear()
            if kind == "gateway_silent" and link.heard is not None:
                self.learn(link, link.heard, row.received)
            minute = row.received // MINUTE * MINUTE + MINUTE
            link.heard = row.received if kind == "gateway_silent" else minute

    def learn(self, link: Link, before: int, received: int) -> None:
        if received - before <= 50 * MINUTE and not any(a < received and before < b for a, b in self.deaf):
            step = next(step for step in GRID if step >= received - before)
            link.intervals.setdefault(received // DAY, []).append(step)

    def waited(self, rule: Any, link: Link) -> int:
        if rule.after != "learned":
            return int(rule.after)
        days = sorted(link.intervals)[-2:]
        longest = sorted((one for day in days for one in sorted(link.intervals[day])[-3:]), reverse=True)
        return min(max(round(1.5 * longest[2]), 3 * MINUTE), 50 * MINUTE) if len(longest) >= 3 else 50 * MINUTE

    def due(self, heard: int, after: int) -> int:
        due = heard + after
        for since, until in self.deaf:
            if until > heard and since <= due:
                due = max(due + until - max(since, heard), until + min(after, GRACE))
        return due

    def expire(self, kind: str, name: str, now: int) -> None:
        link = self.links[kind, name]
        for rule in RULES:
            watched = getattr(rule, "names", ())
            globs = any(glob in {name, "*", f"{name[0]}*"} for glob in watched)
            if rule.kind != kind or not globs or (rule.id == "fixed" and name == "away") or link.heard is None:
                continue
            due = self.due(link.heard, self.waited(rule, link))
            if due < now and rule.id not in link.open:
                link.open[rule.id] = link.heard
                self.told.append((rule.id, name, "firing", due, link.heard))


@settings(max_examples=40)
@given(rows=streams(), data=st.data())
def test_what_falls_silent_is_that_of_a_plain_account_whatever_batches_and_restarts(
    rows: list[Row], data: st.DataObject
) -> None:
    account, process = Account(), Process()
    waiting: list[Row] = []
    for n, row in enumerate(rows):
        account.row(row)
        if row.who is None:
            if waiting:
                process.judge(waiting, row.since)
            process.engine.deaf(row.since, row.received)
            process.judge([], row.received)  # it lasts once it is committed
            waiting = []
            continue
        waiting.append(row)
        following = rows[n + 1] if n + 1 < len(rows) else None
        if data.draw(st.booleans()):
            ahead = row.received if following is None else (following.since or following.received)
            process.judge(waiting, data.draw(st.sampled_from([row.received, ahead])))
            waiting = []
            if data.draw(st.booleans()):
                process.start()
    end = (rows[-1].received if rows else START) + data.draw(st.sampled_from([0, 8, 31, 200])) * MINUTE
    process.judge(waiting, end)
    for kind, name in account.links:
        account.expire(kind, name, end)
    told = [(t.rule_id, t.subject.name, t.event.value, t.at, t.started_at) for t in process.told]
    assert sorted(told) == sorted(account.told)
    assert len({(t.alert_id, t.event) for t in process.told}) == len(told)
    for transition in process.told:
        if transition.subject.kind is SubjectKind.GATEWAY:
            assert transition.details["heard_by"] in SOURCES
