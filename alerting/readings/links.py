"""Gateways and sources by which nothing comes: one alert each, whoever sends through them.

A source is watched once it has brought a reading: those of positions alone are the business of ``feed_silent``.

As with the silence of a device (``alerting.readings.silence``) receive time counts, news alone are news, and time in
which we could not hear does not count. The alert's time is the deadline, however late it is noticed.

When a gateway was last heard follows from when its devices were. For a source it does not, since a vessel may have been
heard by another meanwhile: it is remembered to the minute, so that it is written once a minute and not with every
batch; its silence counts from the end of that minute.

Most batches bring nothing to think about: what is heard again within its patience only puts its deadline off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import numpy as np

from alerting.judging.outcome import POSITIONS, READINGS, Order, Outcome, Ruled
from alerting.judging.series import NEVER, grown
from alerting.messages import links as messages
from alerting.messages.words import iso
from alerting.model import AlertState, RuleState, Subject, SubjectKind, Transition, alert_id
from alerting.readings.rhythm import DAY, Rhythm
from alerting.rules.base import END
from alerting.rules.links import LinkRule
from decoders.identity import gateway_id, is_ais, transponder_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from alerting.judging.heard import Heard
    from alerting.judging.hearing import Hearing
    from alerting.judging.series import Series
    from alerting.messages.words import Text
    from alerting.registry.names import Names

    Table = NDArray[np.void]
    Ints = NDArray[np.int64]

_T = TypeVar("_T", int, "NDArray[np.int64]")

_MINUTE: Final = 60_000_000
_FAR: Final = 2**62
_UNKNOWN, _NOBODY = -1, -2
#: The place of sources among the rule states: no rule can have this id.
_RULE_ID: Final = "(links)"
#: The keys of a state that says what was learned, and of one that says what is open.
_RHYTHM, _OPEN = "#rhythm", ""


@dataclass(slots=True)
class _Episode:
    heard: int  # receive time of the last row before the silence
    at: int
    alert: UUID
    waited: int
    source: int  # by which it was heard last; 0: not known


@dataclass(slots=True)
class _Link:
    subject: Subject
    rules: tuple[int, ...]
    heard: int = NEVER
    source: int = 0
    open: dict[int, _Episode] = field(default_factory=dict)  # by rule
    rhythms: dict[int, Rhythm] = field(default_factory=dict)  # by rule, of those that learn
    patience: int = -1  # heard again within this: nothing to look at
    fresh: int = _FAR  # ... unless it is as late as this: a day begins, in which something is to be learned

    @property
    def by_minute(self) -> bool:
        return self.subject.kind is SubjectKind.SOURCE

    def since(self, received: _T) -> _T:
        """The instant from which its silence counts, given when something came by it; of each of many."""
        return received // _MINUTE * _MINUTE + _MINUTE if self.by_minute else received


class Links:
    """All rules about gateways and sources.

    Args:
        ruled: the rules in use.
        names: what devices and sources are called.
        series: of all devices and metrics.
        hearing: when we could not hear anything.
    """

    def __init__(self, ruled: Sequence[Ruled], names: Names, series: Series, hearing: Hearing) -> None:
        self._ruled = [r for r in ruled if isinstance(r.rule, LinkRule)]
        self._rules = [r.rule for r in ruled if isinstance(r.rule, LinkRule)]
        self._number = {rule.id: number for number, rule in enumerate(self._rules)}
        kinds = {rule.subject for rule in self._rules}
        self._gateways, self._sources = SubjectKind.GATEWAY in kinds, SubjectKind.SOURCE in kinds
        self._names, self._series, self._hearing = names, series, hearing
        self._links: list[_Link] = []
        self._places: dict[tuple[SubjectKind, int], int] = {}
        self._of_slot = np.full(64, _UNKNOWN, np.int64)  # by slot of the series, the place of the gateway in _links
        self._of_transponder: dict[int, int] = {}
        self._next = _FAR  # before this none can have become silent

    def restore(self, positions: Table | None, readings: Table | None) -> None:
        """Take up the gateways of the devices that the series remembers (READING rows), and of those with positions."""
        if not self._gateways:
            return
        if readings is not None and len(readings):
            slots = self._series.find(readings["device"].copy(), readings["metric"].copy())
            self._last_heard(self._of_readings(readings, slots), readings)
        if positions is not None and len(positions):
            self._last_heard(self._of_positions(positions["transponder"]), positions)
        for link in self._links:
            self._settle(link)

    def _last_heard(self, places: Ints, rows: Table) -> None:
        for i in np.flatnonzero(places >= 0).tolist():
            link, received = self._links[places[i]], int(rows["received_at"][i])
            if received > link.heard:
                link.heard, link.source = received, int(rows["source"][i])

    def take_up(self, state: RuleState) -> bool:
        """Take up when a source was heard, what was learned of a gateway, or an alert; False if nobody watches it."""
        said = state.state or {}
        if state.rule_id == _RULE_ID:
            link = self._link(state.subject_kind, state.subject_id, None)
            if link is None:
                return False
            link.heard = link.since(said["heard"])
            self._settle(link)
            return True
        number = self._number.get(state.rule_id)
        if number is None or self._rules[number].subject is not state.subject_kind or "name" not in said:
            return False
        link = self._link(state.subject_kind, state.subject_id, said["name"])
        if link is None or number not in link.rules:
            return False
        if state.key == _RHYTHM:
            if not self._rules[number].learned:
                return False
            link.rhythms[number] = Rhythm.restore(said)
        else:
            link.open[number] = _Episode(said["heard"], said["at"], UUID(said["alert"]), said["waited"], said["source"])
            link.heard = max(link.heard, said["heard"])
        self._settle(link)
        return True

    def judge(self, heard: Heard, out: Outcome) -> None:
        """Judge what came by each, then those by which nothing came for too long."""
        if not self._rules:
            return
        rows = self._rows(heard)
        rows = rows[np.argsort(rows["place"], kind="stable")]
        for some in np.split(rows, np.flatnonzero(np.diff(rows["place"])) + 1) if len(rows) else ():
            self._heard(self._links[int(some["place"][0])], some, out)
        now = heard.now
        if now > self._next:
            for link in self._links:
                if link.heard > NEVER:
                    for number in link.rules:
                        self._expire(link, number, link.heard, link.source, now, out)
            self._next = min((self._first_due(link) for link in self._links), default=_FAR)

    # --- what came

    def _rows(self, heard: Heard) -> Table:
        """The rows that are news, by the place of what they came by: each for its gateway, and for its source."""
        parts = []
        readings = heard.observations.readings
        if len(heard.readings):
            row = heard.readings.row
            if self._gateways:
                parts.append(_table(readings, row, READINGS, self._of_readings(readings[row], heard.readings.slot)))
            if self._sources:
                parts.append(_table(readings, row, READINGS, self._of_sources(readings["source"][row])))
        positions = heard.observations.positions
        if len(positions):
            judged = [stretch.row[stretch.row >= 0] for stretch in heard.advance.stretches]
            row = np.concatenate(judged) if judged else np.zeros(0, np.int64)
            if self._gateways:
                parts.append(_table(positions, row, POSITIONS, self._of_positions(positions["transponder"][row])))
            if self._sources:
                places = self._of_sources(positions["source"][row], known=True)
                parts.append(_table(positions, row, POSITIONS, places))
        if not parts:
            return np.zeros(0, _ROW)
        rows = np.concatenate(parts)
        return rows[rows["place"] >= 0]

    def _heard(self, link: _Link, rows: Table, out: Outcome) -> None:
        """Something came by it."""
        if link.by_minute and link.heard == NEVER:  # before the first reading nobody watched it
            rows = rows[rows["received"] >= rows["received"][rows["kind"] == READINGS].min()]
        before, last = link.heard, rows[int(rows["received"].argmax())]
        received = int(last["received"])
        if link.open or received - before > link.patience or received >= link.fresh:
            self._in_order(link, np.sort(rows, order=["received", "message", "kind", "row"]), out)
            self._settle(link)
        link.heard, link.source = max(before, link.since(received)), int(last["source"])
        if before == NEVER:
            self._settle(link)
        if link.by_minute and link.heard != before:
            said = {"heard": link.heard - _MINUTE}
            out.keep(RuleState(_RULE_ID, link.subject.kind, link.subject.id, "", said))

    def _in_order(self, link: _Link, rows: Table, out: Outcome) -> None:
        """Look at one row after the other, but for those of which is known that there is nothing to see."""
        received = rows["received"]
        before = np.concatenate([[link.heard], link.since(received[:-1])])
        sources, place = np.concatenate([[link.source], rows["source"][:-1]]), int(link.heard == NEVER)
        while place < len(rows):
            restless = (received[place:] - before[place:] > link.patience) | (received[place:] >= link.fresh)
            found = 0 if link.open else int(restless.argmax())
            if not link.open and not restless[found]:
                break
            place += found
            self._row(link, rows[place], int(before[place]), int(sources[place]), out)
            place += 1

    def _row(self, link: _Link, row: np.void, before: int, source: int, out: Outcome) -> None:
        """A row after a long silence, after an alert, or one that may teach something."""
        received = int(row["received"])
        for number in link.rules:
            self._expire(link, number, before, source, received, out)
            if number in link.open:
                ruled = self._ruled[number]
                place = (int(row["message"]), int(row["kind"]), int(row["row"]))
                self._resolve(link, number, received, Order(received, False, *place, ruled.number, _OPEN, 0), out)
            if self._rules[number].learned:
                self._learn(link, number, before, received, out)

    def _learn(self, link: _Link, number: int, before: int, received: int, out: Outcome) -> None:
        """Take in the interval between two rows, if it says how often it is heard."""
        rule = self._rules[number]
        if received - before > rule.patience(None) or self._hearing.deaf_between(before, received):
            return
        rhythm = link.rhythms.setdefault(number, Rhythm())
        if rhythm.learn(received, received - before):
            out.remember(rule.id, link.subject, _RHYTHM, {"name": link.subject.name, **rhythm.kept()})
        self._patient(link)

    # --- what did not

    def _expire(self, link: _Link, number: int, heard: int, source: int, now: int, out: Outcome) -> None:
        """Fire if the silence since ``heard`` is too long by ``now``."""
        at = self._due(link, number, heard)
        if at >= now or number in link.open:
            return
        rule, ruled = self._rules[number], self._ruled[number]
        waited = self._after(link, number)
        episode = _Episode(heard, at, alert_id(rule.id, link.subject, _OPEN, heard), waited, source)
        link.open[number] = episode
        text = messages.link_silent(rule, link.subject.name, heard, waited)
        order = Order(at, True, 0, READINGS, link.subject.id, ruled.number, _OPEN, 1)
        out.add(order, self._transition(link, number, AlertState.FIRING, at, text))
        state = {"name": link.subject.name, "heard": heard, "at": at, "alert": str(episode.alert), "waited": waited}
        out.remember(rule.id, link.subject, _OPEN, state | {"source": source} | ruled.left_behind(heard))

    def _resolve(self, link: _Link, number: int, at: int, order: Order, out: Outcome) -> None:
        rule = self._rules[number]
        text = messages.link_back(rule, link.subject.name, at)
        out.add(order, self._transition(link, number, AlertState.RESOLVED, at, text))
        del link.open[number]
        out.remember(rule.id, link.subject, _OPEN, None)

    def _transition(self, link: _Link, number: int, state: AlertState, at: int, text: Text) -> Transition:
        rule, ruled, episode = self._rules[number], self._ruled[number], link.open[number]
        details: dict[str, Any] = {"after_seconds": episode.waited // 1_000_000, "last_heard": iso(episode.heard)}
        if link.subject.kind is SubjectKind.GATEWAY and episode.source:
            details["heard_by"] = self._names.source_name(episode.source)
        return Transition(
            alert_id=episode.alert,
            rule_id=rule.id,
            rule_version=ruled.version,
            subject=link.subject,
            key=_OPEN,
            state=state,
            severity=rule.severity,
            at=at,
            started_at=episode.heard,
            summary_en=text.en,
            summary_vi=text.vi,
            details=ruled.told() | details,
        )

    def _after(self, link: _Link, number: int) -> int:
        rhythm = link.rhythms.get(number)
        return self._rules[number].patience(rhythm.interval if rhythm is not None else None)

    def _due(self, link: _Link, number: int, heard: int) -> int:
        """When the silence since ``heard`` is too long, and the rule in force; ``END`` if never."""
        ruled, due = self._ruled[number], self._hearing.deadline(heard, self._after(link, number))
        while due != END and not ruled.in_force(due):
            due = ruled.next_edge(due)
        return due

    def _first_due(self, link: _Link) -> int:
        waiting = [number for number in link.rules if number not in link.open]
        return min((self._due(link, number, link.heard) for number in waiting), default=_FAR)

    def _settle(self, link: _Link) -> None:
        """Work out what is to be looked at, and when."""
        self._patient(link)
        if link.heard > NEVER:
            self._next = min(self._next, self._first_due(link))

    def _patient(self, link: _Link) -> None:
        """Work out what is to be looked at."""
        link.patience, link.fresh = _FAR, _FAR
        for number in link.rules:
            link.patience = min(link.patience, self._after(link, number))
            if self._rules[number].learned:
                rhythm = link.rhythms.get(number, Rhythm())
                link.patience = min(link.patience, rhythm.boring)
                link.fresh = min(link.fresh, (rhythm.day + 1) * DAY)

    # --- who they are

    def _link(self, kind: SubjectKind, number: int, name: str | None) -> _Link | None:
        place = self._place(kind, number, name)
        return None if place < 0 else self._links[place]

    def _place(self, kind: SubjectKind, number: int, name: str | None) -> int:
        """The place of a gateway or source in ``_links``; ``_NOBODY`` if no rule watches it."""
        key = (kind, number)
        if key not in self._places:
            if name is not None:
                self._names.restore({(kind.value, number): name})
            subject = self._names.subject(kind, number)
            rules = tuple(
                n for n, rule in enumerate(self._rules) if rule.subject is kind and rule.applies_to(subject.name)
            )
            self._places[key] = len(self._links) if rules else _NOBODY
            if rules:
                self._links.append(_Link(subject, rules))
        return self._places[key]

    def _of_sources(self, sources: Ints, *, known: bool = False) -> Ints:
        """``known``: of those alone that are watched already."""
        which, inverse = np.unique(sources, return_inverse=True)
        places = [
            _NOBODY
            if known and (SubjectKind.SOURCE, id_) not in self._places
            else self._place(SubjectKind.SOURCE, id_, None)
            for id_ in which.tolist()
        ]
        return np.array(places, np.int64)[inverse]

    def _of_readings(self, readings: Table, slots: Ints) -> Ints:
        self._of_slot = grown(self._of_slot, len(self._series), _UNKNOWN)
        places = self._of_slot.take(slots)
        for i in np.flatnonzero(places == _UNKNOWN).tolist():
            places[i] = self._of_slot[slots[i]] = self._gateway(self._names.device_name(int(readings["device"][i])))
        return places

    def _of_positions(self, transponders: Ints) -> Ints:
        """Of those that are devices of a gateway: an AIS transponder is of none, nor is one of a VMS."""
        places = np.full(len(transponders), _NOBODY, np.int64)
        for i in np.flatnonzero(~is_ais(transponders)).tolist():
            number = int(transponders[i])
            if number not in self._of_transponder:
                name = self._names.transponder(number).name
                of_device = transponder_id("device", name) == number
                self._of_transponder[number] = self._gateway(name) if of_device else _NOBODY
            places[i] = self._of_transponder[number]
        return places

    def _gateway(self, device: str) -> int:
        name = device.partition("/")[0]
        return self._place(SubjectKind.GATEWAY, gateway_id(name), name)


_ROW: Final = np.dtype(
    [("place", "i8"), ("received", "i8"), ("message", "i8"), ("kind", "i8"), ("row", "i8"), ("source", "i8")]
)


def _table(rows: Table, which: Ints, kind: int, places: Ints) -> Table:
    found = np.zeros(len(which), _ROW)
    found["place"], found["kind"], found["row"] = places, kind, which
    for name, of in (("received", "received_at"), ("message", "message"), ("source", "source")):
        found[name] = rows[of][which]
    return found
