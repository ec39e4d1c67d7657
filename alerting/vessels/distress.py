"""Distress: AIS-SART, MOB and EPIRB-AIS transmitters, navigational status 14, safety messages that speak of it.

A report counts with or without a position, and whether or not a newer one came before it: a transmitter whose receiver
has no fix yet sends "not available", and is placed where it was last. It is not forgotten for want of room.

What a transmitter of the kind sends counts as active unless it says that it is a test: status 15, "not defined", is
what one under test sends (ITU-R M.1371-5, Annex 9), or the text of a message. A test that turns into the real thing
is the same alert, more severe. It is over when nothing of the kind has been received for ``resolve_after``. What is
older than that when it is received is history.

A ship type that is not known yet holds nothing back.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting.judging.outcome import POSITIONS
from alerting.messages import vessels as messages
from alerting.messages.words import iso
from alerting.model import Event
from alerting.vessels.detector import Detector
from alerting.vessels.teller import Alert, When
from decoders.identity import MmsiClass, mmsi_class
from decoders.records import NULL_I1

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from alerting.judging.outcome import Outcome, Ruled
    from alerting.model import RuleState, Severity
    from alerting.registry.names import Names
    from alerting.rules.vessels import DistressRule
    from alerting.vessels.kinds import Kinds
    from decoders.records import AisRecord, Observations
    from geofence.tracks import Advance

_FAR: Final = 2**62
_ACTIVE: Final = 14
_DEVICES: Final = {MmsiClass.SART: "AIS-SART", MmsiClass.MOB: "MOB", MmsiClass.EPIRB: "EPIRB"}
_FIRST_DEVICE, _PAST_DEVICES = 970_000_000, 975_000_000


@dataclass(slots=True, frozen=True)
class _Sign:
    """One message that speaks of distress."""

    transponder: int
    time: int
    when: When
    place: tuple[float, float] | None
    test: bool
    said: str


@dataclass(slots=True)
class _Signs:
    received: int  # the last
    time: int
    count: int
    test: bool


class Distress(Detector):
    """A ``distress`` rule."""

    by_number = True

    def __init__(self, ruled: Ruled, names: Names, rule: DistressRule) -> None:
        super().__init__(ruled, names)
        self._rule = rule
        self._words = _any_of(rule.keywords)
        self._tests = _any_of(rule.test_keywords)
        self._alerts: dict[int, Alert] = {}
        self._signs: dict[int, _Signs] = {}
        self._soonest = _FAR  # no alert is over before

    def held(self) -> set[int]:
        return set()  # nothing that must end when a transponder is forgotten: all of it ends by time

    def alert_of(self, transponder: int) -> Alert | None:
        return self._alerts.get(transponder)

    def drop(self, transponder: int) -> None:
        self._alerts.pop(transponder, None)
        self._signs.pop(transponder, None)

    def take_up(self, state: RuleState) -> bool:
        said = state.state or {}
        alert = Alert.restore(said)
        if alert is None:
            return False
        self._alerts[state.subject_id], self._signs[state.subject_id] = alert, _Signs(**said["signs"])
        self._soonest = min(self._soonest, self._due(state.subject_id))
        return True

    def observations(self, observations: Observations, advance: Advance, kinds: Kinds, out: Outcome) -> None:
        signs = [*self._positions(observations.positions), *self._records(observations.records, advance)]
        for sign in sorted(signs, key=lambda sign: sign.when.message):
            self._sign(sign, kinds, out)

    def expire(self, now: int, out: Outcome) -> None:
        if self._soonest >= now:
            return
        for transponder in sorted(self._alerts):
            self._quiet(transponder, now, out)
        self._soonest = min(map(self._due, self._alerts), default=_FAR)

    def _due(self, transponder: int) -> int:
        """The receive time after which its alert is over, if nothing more is received of it."""
        # By the later of the two: of a clock that is fast, the same report is not news once it is over.
        signs = self._signs[transponder]
        return max(signs.received, signs.time) + self._rule.resolve_after

    def _positions(self, positions: NDArray[np.void]) -> Iterator[_Sign]:
        """What reports with a place say, late ones among them."""
        sender = positions["transponder"]
        device = (sender >= _FIRST_DEVICE) & (sender < _PAST_DEVICES)
        for row in np.flatnonzero(device | (positions["nav_status"] == np.int8(_ACTIVE))).tolist():
            position = positions[row]
            status = int(position["nav_status"])
            said = _report(int(position["transponder"]), None if status == NULL_I1 else status)
            if said is not None:
                when = When(int(position["received_at"]), False, int(position["message"]), POSITIONS, row)
                place = float(position["lon"]), float(position["lat"])
                yield _Sign(int(position["transponder"]), int(position["time"]), when, place, *said)

    def _records(self, records: Sequence[AisRecord], advance: Advance) -> Iterator[_Sign]:
        """What safety messages say, and reports without a place."""
        for record in records:
            if record.kind == "safety_text":
                said = self._text(str(record.fields.get("text") or ""))
            elif record.kind == "position":
                said = _report(record.transponder, record.fields.get("nav_status"))
            else:
                continue
            if said is not None:
                at = advance.at(record.transponder, record.message)
                place = (at[0].lon, at[0].lat) if at else None
                when = When(record.received_at, False, record.message, POSITIONS, -1)
                yield _Sign(record.transponder, record.time, when, place, *said)

    def _text(self, text: str) -> tuple[bool, str] | None:
        """Whether a safety message is of a test, and what it says; None if it is not of distress."""
        test = bool(self._tests.search(text))
        return (test, text[:200]) if test or self._words.search(text) else None

    def _sign(self, sign: _Sign, kinds: Kinds, out: Outcome) -> None:
        name = sign.transponder
        self._quiet(name, sign.when.known, out)
        alert, signs = self._alerts.get(name), self._signs.get(name)
        if sign.when.known - sign.time > self._rule.resolve_after or not self._watches(sign, kinds):
            return
        severity = self._rule.test_severity if sign.test else self._rule.severity
        if alert is None or signs is None:
            if self.ruled.in_force(sign.time):
                self._signs[name] = _Signs(sign.when.known, sign.time, 1, sign.test)
                self._alerts[name] = self._fire(sign, severity, out)
                self._soonest = min(self._soonest, self._due(name))
                self._remember(name, out)
            return
        real = signs.test and not sign.test
        if sign.time <= signs.time and not real:
            return
        signs.received, signs.time, signs.count = sign.when.known, max(signs.time, sign.time), signs.count + 1
        if real:
            signs.test, alert.severity = False, severity
            subject = self.subject(name, alert.started_at)
            text = messages.distress(self.rule, subject.name, sign.said, sign.time, test=False)
            said = self._details(sign, signs)
            self.teller.change(
                out, sign.when, subject, "", alert, Event.ESCALATED, sign.time, text, said, place=sign.place
            )
        self._remember(name, out)

    def _watches(self, sign: _Sign, kinds: Kinds) -> bool:
        """Whether the rule is about who sent it."""
        return kinds.watches(self._rule, sign.transponder, sign.time, message=sign.when.message) is not False

    def _fire(self, sign: _Sign, severity: Severity, out: Outcome) -> Alert:
        subject = self.subject(sign.transponder, sign.time)
        text = messages.distress(self.rule, subject.name, sign.said, sign.time, test=sign.test)
        said = self._details(sign, self._signs[sign.transponder])
        return self.teller.fire(
            out, sign.when, subject, "", sign.time, sign.time, text, said, place=sign.place, severity=severity
        )

    def _details(self, sign: _Sign, signs: _Signs) -> dict[str, Any]:
        fix = messages.fix(sign.time, *sign.place) if sign.place else None
        return {"said": sign.said, "test": sign.test, "last_fix": fix, "at": iso(sign.time), "messages": signs.count}

    def _quiet(self, transponder: int, tick: int, out: Outcome) -> None:
        alert = self._alerts.get(transponder)
        if alert is None:
            return
        due = self._due(transponder)
        if due < tick:
            at = self._signs[transponder].time + self._rule.resolve_after
            self.over(transponder, alert, When.due(due, transponder), at, "quiet", out)
            self.drop(transponder)
            self.keep(transponder, None, out)

    def _remember(self, transponder: int, out: Outcome) -> None:
        signs = asdict(self._signs[transponder])
        self.keep(transponder, {"signs": signs} | self._alerts[transponder].kept(self.ruled), out)


def _report(transponder: int, status: int | None) -> tuple[bool, str] | None:
    """Whether a position report is of a test, and what it says; None if it is not of distress."""
    name = _DEVICES.get(mmsi_class(transponder)) if transponder < _PAST_DEVICES else None
    if name is None:
        return (False, "navigational status 14") if status == _ACTIVE else None
    test = status is None
    return test, f"{name} {'test' if test else 'active'}"


def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """Any of some phrases, as whole words, whatever the case; nothing if there are none."""
    if not words:
        return re.compile(r"(?!)")
    return re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words), re.IGNORECASE)
