"""Looking again at the alerts of one rule and subject, once rows of their time came late. Pure.

Rows that come late are not judged as if they were new. But what was told of the time they speak of may be wrong: the
level was not held after all, or the vessel was in the zone an hour earlier. So the rule is put to everything that is
stored of the subject, twice: as it came, which must give the alerts as they were told, and *in time*, as if no row had
come after a newer one of its series. What is left of an alert in the second telling decides:

* nothing: it is *retracted*;
* an episode that began or ended at another time, with another value or greatest severity, or several of them: it is
  *revised*, and says what was told before. If it is open and that is over, it is resolved too; if it was resolved and
  that still lasts, it is open again;
* the same: nothing is said.

An episode that lasts now and of which nothing was told is told now: it fires, for the reason ``late_data``. Of one that
is over nothing is told: history wakes nobody up.

The engine that judges live goes on from the second telling (``Found.states``): from what it would hold had nothing come
late. The alert that it has open stands for the episode that lasts, under its own id. So what was told since is not the
first telling alone: up to ``Case.cut`` the rows are to be taken in time, after it as they came, and ``Case.stands``
says which episodes an alert stands for.

An alert that the first telling does not find again (its rows are gone, its episode began before what was read), or that
is open under a rule that was edited since, is left as it is.

A silence is about what was heard and when, which rows that came late do not change: ``no_data`` is not looked at, nor
is that of a gateway or a source. Nor is a combined rule, which goes by what was known when. But a ``gap`` in what a
vessel sends is one by what it sent: here in time means that each fix was heard as it was made. One that is over is
retracted if the vessel sent often enough and what it sent was delivered late; while it lasts it is left, and the engine
goes on as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np
import orjson

from alerting import messages
from alerting.engine import Engine
from alerting.model import AlertState, Event, RuleState, Severity, Transition, alert_id, shadow_id
from alerting.readings.figures import METER
from alerting.registry.register import UNREGISTERED
from decoders.arrival import before
from decoders.records import Observations, take

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from alerting.model import Memory, Subject
    from alerting.registry.register import Registry
    from alerting.rules import Rule
    from geofence.zones import Zone

    Table = NDArray[np.void]

#: Kinds of rules about what was heard or known when, and not about what it said.
ABOUT_HEARING: Final = frozenset({"no_data", "gateway_silent", "source_away", "feed_silent", "combined"})
#: Kinds whose state is not that of a subject alone: the engine goes on as it was, and what is open is left.
_SHARED: Final = frozenset({"gap", "carried_beacons"})
#: By table: what makes the series of a row.
_SERIES: Final = {"statics": ("transponder",), "positions": ("transponder",), "readings": ("device", "metric")}
_FAR: Final = 2**62
#: In the details of what a review says: up to when rows were taken in time, where the engine goes on from that.
IN_TIME_UNTIL: Final = "in_time_until"
_SECOND: Final = 1_000_000


@dataclass(slots=True, frozen=True)
class Known:
    """An alert as it is stored."""

    id: UUID
    key: str
    started_at: int  # microseconds
    state: AlertState = AlertState.FIRING
    by_people: bool = False  # that it is resolved
    severity: Severity = Severity.CRITICAL
    retracted: bool = False
    said: Sequence[Mapping[str, Any]] | None = None  # the episodes it was last revised to, as told then

    @property
    def open(self) -> bool:
        """Whether nobody has ended it."""
        return self.state in {AlertState.FIRING, AlertState.ACKNOWLEDGED}

    def opens(self, severity: Severity) -> bool:
        """Whether it is open again if it lasts after all, and is so severe; what people have ended only if worse."""
        return self.state is AlertState.RESOLVED and (not self.by_people or severity.rank > self.severity.rank)


@dataclass(slots=True, frozen=True)
class Case:
    """What there is to look at.

    Attributes:
        rule: as it was when the alerts were raised.
        zones: those that the rule speaks of, as they were.
        before: what was known before the rows, the spans in which nothing could be heard among its states.
        rows: all that is stored of the subject from some time before the alerts on, numbered, in order of arrival.
        now: the tick up to which they were judged, by receive time; microseconds.
        alerts: those of the rule and subject.
        states: what the engine keeps of rule and subject; None: it judges by another version of the rule, or by none.
        cut: the tick up to which they were last looked at in time, if they were.
        stands: by alert, the episodes it has stood for since; one that is not named stands for that of its id.
    """

    rule: Rule
    subject: Subject
    zones: Sequence[Zone]
    before: Memory
    rows: Observations
    now: int
    alerts: Sequence[Known]
    states: Sequence[RuleState] | None
    registry: Registry = UNREGISTERED
    cut: int | None = None
    stands: Mapping[UUID, Sequence[UUID]] = field(default_factory=dict)


@dataclass(slots=True)
class Found:
    """What comes of looking.

    ``states``: what the engine is to keep of rule and subject from now on, and nothing else; None: what it does keep.
    ``keys``: what the states are about; None: all of rule and subject.
    ``meters``: with states, those of what the rule measures, which it may share with others (``alerting.meters``).
    ``stands``: see ``Case``; the same, unless there are states.
    """

    transitions: list[Transition] = field(default_factory=list)
    states: list[RuleState] | None = None
    keys: frozenset[str] | None = None
    stands: dict[UUID, tuple[UUID, ...]] = field(default_factory=dict)
    meters: list[RuleState] = field(default_factory=list)


@dataclass(slots=True)
class _Episode:
    first: Transition
    last: Transition  # that was not its end
    worst: Severity
    end: Transition | None = None

    @property
    def until(self) -> int | None:
        """The event time of its end; of a gap in what a vessel sends: of the fix that ended it."""
        if self.end is None:
            return None
        if self.is_gap:
            return self.first.started_at + int(self.end.details.get("silent_seconds", 0)) * _SECOND
        return self.end.at

    @property
    def said(self) -> dict[str, Any]:
        """What of it is told, and compared. JSON-ready."""
        return {
            "since": messages.iso(self.first.started_at),
            "until": None if self.until is None else messages.iso(self.until),
            "value": self.first.value,
            "severity": self.worst.value,
        }

    def overlaps(self, other: _Episode, *, ends: bool) -> bool:
        """Whether both were there at one time, their ``ends`` included; but where one gap ends another may begin."""
        mine, its = (_FAR if e.end is None else e.end.at for e in (self, other))
        if self.is_gap or not ends:
            return self.first.started_at < its and other.first.started_at < mine
        return self.first.started_at <= its and other.first.started_at <= mine

    @property
    def is_gap(self) -> bool:
        return self.first.details.get("kind") == "gap"


@dataclass(slots=True)
class _Telling:
    """By the id that an episode's alert would have; and what the engine keeps."""

    episodes: dict[UUID, _Episode]
    states: dict[str, RuleState]  # by key
    meters: dict[str, RuleState]
    held: Mapping[Any, Any]  # by its meters

    def lasting(self) -> dict[str, UUID]:
        """By key, the episode that is not over."""
        return {e.first.key: id_ for id_, e in self.episodes.items() if e.end is None}


def review(case: Case) -> Found:
    """What is to be said of the alerts of a rule and subject now, and what the engine is to go on from."""
    if case.rule.kind in ABOUT_HEARING or not _times(case.rows):
        return Found(stands={alert: tuple(ids) for alert, ids in case.stands.items()})
    if case.rule.kind in _SHARED:
        return _Look(replace(case, states=None), None).found()
    if case.rule.kind != "encounter":
        return _Look(case, None).found()
    # Only the rows of those partners are there that alerts name.
    keys = frozenset(alert.key for alert in case.alerts)
    states = case.states and [state for state in case.states if state.key in keys]
    return _Look(replace(case, states=states), keys).found()


class _Look:
    def __init__(self, case: Case, keys: frozenset[str] | None) -> None:
        self._case, self._keys = case, keys
        rows = _as_made(case.rows) if case.rule.kind == "gap" else in_time(case.rows)
        self._told = _tell(case, case.cut, keys)
        self._true = _tell(replace(case, rows=rows), case.now, keys, done=True)
        self._at = max(_times(case.rows))
        self._known = {alert.id: alert for alert in case.alerts}
        self._live = {} if case.states is None else open_alerts(case.states)  # by key, what the engine has open
        self._was = {alert.id: self._stood_for(alert) for alert in case.alerts}
        self._same = {alert.id: self._left_of(alert) for alert in case.alerts}
        self._sure = case.states is not None and self._told_is_live()
        self._lasting = self._true.lasting() if self._sure else {}
        self._takers = {key: taker for key, id_ in self._lasting.items() if (taker := self._taker(key, id_))}

    def found(self) -> Found:
        out, moved = Found(), False
        for alert in sorted(self._case.alerts, key=lambda alert: (alert.started_at, alert.id)):
            was, same = self._was[alert.id], self._same[alert.id]
            live = self._live.get(alert.key) == alert.id
            if was is None or (not self._sure and (alert.open or live)):
                continue
            changes = self._changes(alert, was, same)
            out.transitions += changes
            moved |= live != (self._takers.get(alert.key) == alert.id)
            if [id_ for id_, _ in same] != [alert.id]:
                out.stands[alert.id] = tuple(id_ for id_, _ in same)
        for key, id_ in sorted(self._lasting.items()):
            if key not in self._takers:
                out.transitions.append(self._late(self._true.episodes[id_]))
                moved = True
        if self._sure and (moved or self._went_otherwise()):
            out.states, out.keys = self._states(), self._keys
            out.meters = list(self._true.meters.values())
            from_there = {IN_TIME_UNTIL: messages.iso(self._case.now)}
            out.transitions = [replace(t, details={**t.details, **from_there}) for t in out.transitions]
        else:  # the engine goes on as it was
            out.stands = {alert: tuple(ids) for alert, ids in self._case.stands.items()}
        return out

    # --- what was told, and what is left of it

    def _stood_for(self, alert: Known) -> list[_Episode] | None:
        """The episodes that an alert was told to be; None: they are not found again."""
        ids = self._case.stands.get(alert.id, (alert.id,))
        found = [self._told.episodes[id_] for id_ in ids if id_ in self._told.episodes]
        return found if len(found) == len(ids) else None

    def _left_of(self, alert: Known) -> list[tuple[UUID, _Episode]]:
        was = self._was[alert.id] or ()
        # What is still there does not become what it follows, or what follows it.
        there = {w.first.alert_id for w in was} & self._true.episodes.keys()
        same = [
            (id_, episode)
            for id_, episode in self._true.episodes.items()
            if episode.first.key == alert.key
            and (id_ == alert.id or id_ in there or any(episode.overlaps(w, ends=not there) for w in was))
            # A gap ends when a fix is heard, which is after the next one has begun.
            and not (episode.is_gap and id_ != alert.id and id_ in self._known)
        ]
        return sorted(same, key=lambda one: one[1].first.started_at)

    def _told_is_live(self) -> bool:
        """Whether the first telling has those alerts open that the engine has."""
        lasting = self._told.lasting()
        return lasting.keys() == self._live.keys() and all(
            self._was.get(live := self._live[key]) is not None and id_ in self._case.stands.get(live, (live,))
            for key, id_ in lasting.items()
        )

    def _taker(self, key: str, episode: UUID) -> UUID | None:
        """The alert that stands for an episode that lasts; None: nothing was told of it."""
        live = self._live.get(key)
        alert = self._known.get(live) if live is not None else None
        if alert is not None and self._was[alert.id] is not None:
            same = [id_ for id_, _ in self._same[alert.id]]
            # What somebody has ended stands for what it began as, and not for what began anew.
            if episode in same and (alert.open or episode == same[0]):
                return alert.id
        return episode if episode in self._known else None

    def _went_otherwise(self) -> bool:
        """Whether in time the engine would hold something else than it does, which is as the first telling has it."""
        held = _plain(self._case.states or ())
        if _plain(self._told.states.values()) != held:
            return False
        return _plain(self._true.states.values()) != held or self._true.held != self._told.held

    def _states(self) -> list[RuleState]:
        out = []
        for key, state in sorted(self._true.states.items()):
            taker = self._takers.get(key)
            if state.state is not None and state.state.get("alert") and taker is not None:
                own = alert_id(self._case.rule.id, self._case.subject, key, self._known[taker].started_at)
                out.append(replace(state, state={**state.state, "alert": str(own)}))
            elif state.state is not None:
                out.append(state)
        return out

    # --- what is said

    def _changes(self, alert: Known, was: list[_Episode], same: list[tuple[UUID, _Episode]]) -> list[Transition]:
        now = [episode for _, episode in same]
        told = [dict(one) for one in alert.said] if alert.said is not None else [episode.said for episode in was]
        if not now:
            return [self._retracted(alert, was[0], told)] if was and not alert.retracted else []
        stands = self._takers.get(alert.key) == alert.id
        found = []
        if alert.retracted or [episode.said for episode in now] != told:
            found.append(self._revised(alert, now, told, lasts=stands))
        end = now[-1].end
        if alert.open and not stands and end is not None:
            found.append(
                replace(
                    self._mine(alert, end),
                    at=self._at,
                    details={**end.details, **_worst(now, end.severity), "reason": "late_data"},
                )
            )
        return found

    def _retracted(self, alert: Known, was: _Episode, told: list[dict[str, Any]]) -> Transition:
        text = messages.retracted(self._case.rule, was.first.subject.name)
        details = {**was.first.details, **_worst([was], was.first.severity), "reason": "late_data", "was": told[0]}
        details |= self._delivered_late(was) if self._case.rule.kind == "gap" else {}
        return replace(
            self._mine(alert, was.first),
            state=AlertState.RESOLVED,
            change=Event.RETRACTED,
            at=self._at,
            summary_en=text.en,
            summary_vi=text.vi,
            details=details,
        )

    def _delivered_late(self, was: _Episode) -> dict[str, Any]:
        """How late what was sent in a silence came, of which the first."""
        fixes = self._case.rows.positions
        fixes = fixes[fixes["time"] > was.first.started_at]
        first = fixes[np.argmin(fixes["time"])]
        delay = int(first["received_at"] - first["time"])
        return {"reason": "delivered_late", "delay_seconds": delay // _SECOND}

    def _revised(self, alert: Known, now: list[_Episode], told: list[dict[str, Any]], *, lasts: bool) -> Transition:
        basis = now[-1].last if lasts else now[0].first
        text = messages.revised(messages.Text(basis.summary_en, basis.summary_vi))
        severity = now[-1].last.severity
        details = {**basis.details, **_worst(now, severity), "reason": "late_data"}
        details |= {"was": told[0]} if told else {}
        return replace(
            self._mine(alert, basis),
            state=AlertState.FIRING if alert.open or (lasts and alert.opens(severity)) else AlertState.RESOLVED,
            change=Event.REVISED,
            severity=severity,
            at=self._at,
            summary_en=text.en,
            summary_vi=text.vi,
            details=details | {"now": [episode.said for episode in now]},
        )

    def _late(self, episode: _Episode) -> Transition:
        """That something lasts of which nothing was told, as it is now."""
        text = messages.told_late(messages.Text(episode.last.summary_en, episode.last.summary_vi))
        return replace(
            episode.last,
            change=None,
            known=self._at,
            summary_en=text.en,
            summary_vi=text.vi,
            details={**episode.last.details, "reason": "late_data"},
        )

    def _mine(self, alert: Known, transition: Transition) -> Transition:
        """Its name does not change, nor the start that it is named for."""
        return replace(transition, alert_id=alert.id, started_at=alert.started_at, known=self._at)


def _worst(episodes: Iterable[_Episode], severity: Severity) -> dict[str, str]:
    worst = max((episode.worst for episode in episodes), key=lambda one: one.rank)
    return {"worst_severity": worst.value} if worst is not severity else {}


def open_alerts(states: Iterable[RuleState]) -> dict[str, UUID]:
    """By key, the alert that an engine has open, under the name that it is stored by."""
    out = {}
    for state in states:
        if state.state is not None and state.state.get("alert"):
            own = UUID(str(state.state["alert"]))
            out[state.key] = shadow_id(own) if state.state.get("shadow") else own
    return out


def _plain(states: Iterable[RuleState]) -> dict[str, Any]:
    """By key, as JSON has it; not whose alert it is."""
    held = {state.key: {**state.state, "alert": None} for state in states if state.state is not None}
    plain: dict[str, Any] = orjson.loads(orjson.dumps(held, default=dict, option=orjson.OPT_SERIALIZE_NUMPY))
    return plain


def _tell(case: Case, cut: int | None, keys: frozenset[str] | None, *, done: bool = False) -> _Telling:
    """What the rule makes of the rows: taken in time up to a tick (``done``: they are), and after it as they came."""
    engine = Engine([case.rule], case.zones, registry=case.registry)
    engine.restore(case.before)
    first, rest = before(case.rows, -_FAR if cut is None else cut + 1)
    episodes: dict[UUID, _Episode] = {}
    states: dict[str, RuleState] = {}
    meters: dict[str, RuleState] = {}
    mine, told = (case.subject.kind, case.subject.id), []
    if cut is not None:
        told.append(engine.judge(case.rows if done else in_time(first), cut))
    if cut is None or (cut < case.now and not done):
        rest.names = case.rows.names
        told.append(engine.judge(rest, case.now))
    for verdict in told:
        for found in verdict.transitions:
            if (found.subject.kind, found.subject.id) == mine and (keys is None or found.key in keys):
                _add(episodes, found)
        for state in verdict.states:
            if (state.subject_kind, state.subject_id) != mine:
                continue
            if state.rule_id == METER:
                meters[state.key] = state
            elif state.rule_id == case.rule.id and (keys is None or state.key in keys):
                states[state.key] = state
    kept = {key: state for key, state in states.items() if state.state is not None}
    return _Telling(episodes, kept, meters, engine.held())


def _add(episodes: dict[UUID, _Episode], found: Transition) -> None:
    episode = episodes.setdefault(found.alert_id, _Episode(found, found, found.severity))
    episode.worst = max(episode.worst, found.severity, key=lambda severity: severity.rank)
    if found.state is AlertState.RESOLVED:
        episode.end = found
    else:
        episode.last = found


def _times(rows: Observations) -> list[int]:
    """The latest receive time of each table that has rows."""
    found = [int(table["received_at"].max()) for name in _SERIES if len(table := getattr(rows, name))]
    return [*found, max(record.received_at for record in rows.records)] if rows.records else found


def in_time(observations: Observations) -> Observations:
    """The same, as if no row had come after a newer one of its series: but at its own time, or right after the one
    before it if that came later. What came in time stays as it came. Messages are numbered by row.
    """
    rows = [(name, getattr(observations, name)) for name in _SERIES]
    heard = [_heard(table, *(table[key] for key in _SERIES[name])) for name, table in rows]
    heard.append(np.array([record.received_at for record in observations.records], np.int64))
    times = [table["time"] for _, table in rows] + [np.array([r.time for r in observations.records], np.int64)]
    came = [table["message"] for _, table in rows] + [np.array([r.message for r in observations.records], np.int64)]
    order = np.lexsort((np.concatenate(came), np.concatenate(times), np.concatenate(heard)))
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    out = Observations(messages=len(order), names=observations.names)
    start = 0
    for (name, table), received in zip(rows, heard, strict=False):
        mine = number[start : start + len(table)]
        start += len(table)
        turn = np.argsort(mine)
        moved = take(table, turn)
        moved["message"], moved["received_at"] = mine[turn], received[turn]
        setattr(out, name, moved)
    out.records = [
        record._replace(message=int(turn))
        for record, turn in sorted(zip(observations.records, number[start:], strict=True), key=lambda one: int(one[1]))
    ]
    return out


def _as_made(observations: Observations) -> Observations:
    """The same, as if all had been heard as it was made."""
    out = Observations(messages=observations.messages, names=observations.names)
    for name in _SERIES:
        moved = getattr(observations, name).copy()
        moved["received_at"] = moved["time"]
        setattr(out, name, moved)
    out.records = [record._replace(received_at=record.time) for record in observations.records]
    return in_time(out)


def _heard(table: Table, *series: NDArray[np.int64]) -> NDArray[np.int64]:
    """By row, the receive time in time."""
    received: NDArray[np.int64] = table["received_at"].copy()
    turn = np.lexsort((table["message"], table["time"], *series))
    starts = np.zeros(len(turn), bool)
    for column in series:
        starts[1:] |= column[turn][1:] != column[turn][:-1]
    for some in np.split(turn, np.flatnonzero(starts)):
        least = np.minimum.accumulate(received[some][::-1])[::-1]  # of it and all newer ones
        own = np.where(received[some] > least, np.minimum(table["time"][some], least), least)
        received[some] = np.maximum.accumulate(own)
    return received
