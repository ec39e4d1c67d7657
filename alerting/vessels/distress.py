"""Distress: AIS-SART, MOB and EPIRB-AIS transmitters, navigational status 14, safety messages that speak of it.

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

from alerting.messages import vessels as messages
from alerting.messages.words import iso
from alerting.model import Event
from alerting.outcome import POSITIONS
from alerting.vessels.detector import Detector
from alerting.vessels.teller import Alert, When
from decoders.identity import MmsiClass, mmsi_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alerting.model import RuleState, Severity
    from alerting.names import Names
    from alerting.outcome import Outcome, Ruled
    from alerting.rules.vessels import DistressRule
    from alerting.vessels.fixes import Fixes
    from alerting.vessels.kinds import Kinds
    from decoders.records import AisRecord
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

    def __init__(self, ruled: Ruled, names: Names, rule: DistressRule) -> None:
        super().__init__(ruled, names)
        self._rule = rule
        self._words = _any_of(rule.keywords)
        self._tests = _any_of(rule.test_keywords)
        self._alerts: dict[int, Alert] = {}
        self._signs: dict[int, _Signs] = {}
        self._soonest = _FAR  # no alert is over before
        self._records: list[AisRecord] = []  # of the batch, still to be judged
        self._advance: Advance | None = None

    def held(self) -> set[int]:
        return set(self._alerts)

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

    def records(self, records: Sequence[AisRecord], advance: Advance, kinds: Kinds, out: Outcome) -> None:  # noqa: ARG002
        self._records = [record for record in records if record.kind == "safety_text"][::-1]
        self._advance = advance

    def rows(self, fixes: Fixes, kinds: Kinds, out: Outcome) -> None:
        device = (fixes.transponder >= _FIRST_DEVICE) & (fixes.transponder < _PAST_DEVICES)
        for fix in fixes.each(device | (fixes.nav_status == np.int8(_ACTIVE))):
            self._texts(fix.message, kinds, out)
            name = _DEVICES.get(mmsi_class(fix.transponder)) if fix.transponder < _PAST_DEVICES else None
            if name is None and fix.nav_status != _ACTIVE:
                continue
            test = name is not None and fix.nav_status is None
            said = f"{name} {'test' if test else 'active'}" if name else "navigational status 14"
            self._sign(_Sign(fix.transponder, fix.time, When.of(fix), (fix.lon, fix.lat), test, said), kinds, out)

    def rest(self, kinds: Kinds, out: Outcome) -> None:
        """Judge what came after the last position."""
        self._texts(None, kinds, out)

    def expire(self, now: int, out: Outcome) -> None:
        if self._soonest >= now:
            return
        for transponder in sorted(self._alerts):
            self._quiet(transponder, now, out)
        self._soonest = min(map(self._due, self._alerts), default=_FAR)

    def _due(self, transponder: int) -> int:
        """The receive time after which its alert is over, if nothing more is received of it."""
        return self._signs[transponder].received + self._rule.resolve_after

    def _texts(self, before: int | None, kinds: Kinds, out: Outcome) -> None:
        """Safety messages that arrived before a message."""
        while self._records and (before is None or self._records[-1].message < before):
            record = self._records.pop()
            text = str(record.fields.get("text") or "")
            test = bool(self._tests.search(text))
            if not test and not self._words.search(text):
                continue
            assert self._advance is not None
            at = self._advance.at(record.transponder, record.message)
            place = (at[0].lon, at[0].lat) if at else None
            when = When(record.received_at, False, record.message, POSITIONS, -1)
            self._sign(_Sign(record.transponder, record.time, when, place, test, text[:200]), kinds, out)

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
        if sign.time <= signs.time:
            return
        signs.received, signs.time, signs.count = sign.when.known, sign.time, signs.count + 1
        if signs.test and not sign.test:
            signs.test, alert.severity = False, severity
            text = messages.distress(self.rule, self.subject(name).name, sign.said, sign.time, test=False)
            said = self._details(sign, signs)
            subject = self.subject(name)
            self.teller.change(
                out, sign.when, subject, "", alert, Event.ESCALATED, sign.time, text, said, place=sign.place
            )
        self._remember(name, out)

    def _watches(self, sign: _Sign, kinds: Kinds) -> bool:
        """Whether the rule is about who sent it; those that are no vessels are, unless they are taken out."""
        scope = self._rule.scope
        if mmsi_class(sign.transponder) in (MmsiClass.SHIP, MmsiClass.UNKNOWN):
            return kinds.matches(scope, sign.transponder, message=sign.when.message) is not False
        return scope.exclude is None or scope.exclude.selects(sign.transponder, None) is False

    def _fire(self, sign: _Sign, severity: Severity, out: Outcome) -> Alert:
        subject = self.subject(sign.transponder)
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


def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """Any of some phrases, as whole words, whatever the case; nothing if there are none."""
    if not words:
        return re.compile(r"(?!)")
    return re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words), re.IGNORECASE)
