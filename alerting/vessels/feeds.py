"""Sources that have fallen silent: one incident each, while the vessels they heard are not called lost.

Whatever a source brings is a sign of life: late positions and such as another receiver brought before it, reports
without a position, static data, base stations. It is silent when it has brought nothing for the rule's ``after``, and
``min_vessels`` vessels were heard by it, first or second, within ``heard_within`` before that. With fewer, its silence
cannot be told from theirs.

When a source was last heard is remembered to the minute, so that it is written once a minute and not with every batch;
``after`` counts from the end of that minute. Of the vessels that it heard as many are remembered as a rule may ask for,
those heard last, to ten minutes.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from alerting.judging.hearing import GRACE, deadline
from alerting.judging.outcome import POSITIONS, STATICS
from alerting.messages import vessels as messages
from alerting.messages.words import iso
from alerting.model import Event, RuleState, SubjectKind
from alerting.rules.vessels import FeedSilentRule
from alerting.vessels.teller import Alert, Teller, When
from decoders.identity import is_vessel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from alerting.judging.hearing import Hearing
    from alerting.judging.outcome import Outcome, Ruled
    from alerting.registry.names import Names
    from decoders.records import Observations

_MINUTE: Final = 60_000_000
_FAR: Final = 2**62
#: To what a source is remembered to have heard a vessel.
_BUCKET: Final = 10 * _MINUTE
#: Silences of a source that are kept.
_KEPT: Final = 16
#: The place of sources among the rule states: no rule can have this id.
_RULE_ID: Final = "(sources)"


class Sign(NamedTuple):
    """The first that came of a source in a minute of a batch."""

    message: int
    received: int
    source: int
    kind: int  # STATICS or POSITIONS
    row: int  # -1: of neither table
    vessels: tuple[int, ...]  # some that the source heard in that minute


class _Source:
    """``spans``: its silences that were told, with the grace after each. Receive times.

    ``vessels``: when those that it heard last were heard by it, the newest at the end.
    """

    __slots__ = ("heard", "rules", "spans", "vessels")

    def __init__(self, heard: int, rules: tuple[int, ...], spans: list[tuple[int, int, int]]) -> None:
        self.heard, self.rules, self.spans = heard, rules, spans
        self.vessels: dict[int, int] = {}

    def meet(self, vessels: Iterable[int], bucket: int, most: int) -> bool:
        """Vessels were heard; whether that says anything new. ``most`` of a time are enough."""
        here = sum(seen == bucket for seen in self.vessels.values())
        changed = False
        for vessel in vessels:
            if here >= most:
                break
            if self.vessels.get(vessel) != bucket:
                self.vessels.pop(vessel, None)
                self.vessels[vessel] = bucket
                here, changed = here + 1, True
        while len(self.vessels) > most:
            del self.vessels[next(iter(self.vessels))]
        return changed

    def kept(self) -> dict[str, Any]:
        vessels = [list(item) for item in self.vessels.items()]
        return {"heard": self.heard, "spans": [list(span) for span in self.spans], "vessels": vessels}


class Feeds:
    """All ``feed_silent`` rules.

    Args:
        ruled: the rules in use.
        names: what sources are called.
        hearing: when we could not hear anything.
    """

    def __init__(self, ruled: Sequence[Ruled], names: Names, hearing: Hearing) -> None:
        self._tellers = [Teller(r) for r in ruled if isinstance(r.rule, FeedSilentRule)]
        self._rules = [r.rule for r in ruled if isinstance(r.rule, FeedSilentRule)]
        self._number = {rule.id: n for n, rule in enumerate(self._rules)}
        self._most = max((rule.min_vessels for rule in self._rules), default=0)
        self._names, self._hearing = names, hearing
        self._sources: dict[int, _Source] = {}
        self._alerts: dict[tuple[int, int], Alert] = {}  # (source, rule)
        self._due: dict[tuple[int, int], int] = {}
        #: Before this no source can have become silent.
        self.next_due = _FAR

    def __bool__(self) -> bool:
        return bool(self._rules)

    @property
    def shortest(self) -> int:
        return min((rule.after for rule in self._rules), default=_FAR)

    def take_up(self, state: RuleState) -> bool:
        """Take up what is known of a source, or an alert about it."""
        said, source = state.state or {}, state.subject_id
        if state.rule_id == _RULE_ID:
            known = self._source(source, said["heard"])
            known.heard, known.spans = said["heard"], [(a, b, c) for a, b, c in said["spans"]]
            known.vessels = dict(said.get("vessels", ()))
            self._wait(source, known)
            return True
        number, alert = self._number.get(state.rule_id), Alert.restore(said)
        if number is None or alert is None or number not in self._source(source, said["heard"]).rules:
            return False
        self._alerts[source, number] = alert
        self._due.pop((source, number), None)
        return True

    def silent_since(self, source: int) -> int | None:
        """When a source that is silent now was told to be; None: it is not."""
        told = [self._alerts[source, n].at for n in range(len(self._rules)) if (source, n) in self._alerts]
        return min(told, default=None)

    def deaf(self, source: int, since: int, until: int) -> bool:
        """Whether a source, or all of us, could not be heard at some time between two."""
        known = self._sources.get(source)
        spans = [*self._hearing.spans, *((a, b) for a, b, _ in known.spans)] if known else self._hearing.spans
        return any(a < until and since < b for a, b in spans)

    def deadline(self, source: int, heard: int, after: int) -> int:
        """When ``after`` has passed since ``heard`` in which the source could be heard."""
        known = self._sources.get(source)
        if known is None or not known.spans:
            return self._hearing.deadline(heard, after)
        ours = [(since, until, GRACE) for since, until in self._hearing.spans]
        return deadline(heard, after, [*ours, *known.spans])

    def signs(self, observations: Observations) -> list[Sign]:
        """The signs of life in a batch, in arrival order."""
        if not self._rules:
            return []
        found: list[Sign] = []
        came = _came(observations)
        for source in np.unique(came["source"]).tolist():
            mine = came[came["source"] == source]
            minutes, first = np.unique(mine["received"] // _MINUTE, return_index=True)
            ends = np.searchsorted(mine["received"], (minutes + 1) * _MINUTE)
            for start, end in zip(first.tolist(), ends.tolist(), strict=True):
                row = mine[start]
                vessels = self._some(source, int(row["received"]), mine["transponder"][start:end])
                where = int(row["kind"]), int(row["row"])
                found.append(Sign(int(row["message"]), int(row["received"]), source, *where, vessels))
        return sorted(found)

    def _some(self, source: int, received: int, transponders: NDArray[np.int64]) -> tuple[int, ...]:
        """Vessels among those heard in a minute, in arrival order; none if enough are known of that time."""
        known, bucket = self._sources.get(source), received // _BUCKET
        if known is not None and sum(seen == bucket for seen in known.vessels.values()) >= self._most:
            return ()
        names, first = np.unique(transponders[is_vessel(transponders)], return_index=True)
        return tuple(names[np.argsort(first)][: self._most].tolist())

    def hear(self, sign: Sign, out: Outcome) -> bool:
        """A source brings something; whether it was silent."""
        minute, back = sign.received // _MINUTE * _MINUTE, False
        known = self._sources.get(sign.source)
        changed = known is None or known.heard != minute
        known = known or self._source(sign.source, minute)
        changed |= known.meet(sign.vessels, sign.received // _BUCKET, self._most)
        for n in known.rules:
            if (sign.source, n) in self._alerts:
                self._back(sign, n, out)
                back = changed = True
        if changed:
            known.heard = minute
            self._wait(sign.source, known)
            out.keep(RuleState(_RULE_ID, SubjectKind.SOURCE, sign.source, "", known.kept()))
        return back

    def _wait(self, source: int, known: _Source) -> None:
        """By every rule that has not told of it, it may be silent when its time is over from now on."""
        for n in known.rules:
            if (source, n) not in self._alerts:
                self._due[source, n] = known.heard + _MINUTE + self._rules[n].after
                self.next_due = min(self.next_due, self._due[source, n])

    def expire(self, at: int, last_heard: Callable[[int, int], int], out: Outcome) -> None:
        """Tell of the sources whose time has run out at an instant.

        ``last_heard``: of how many vessels a source brought the last position, after a receive time.
        """
        if self.next_due > at:
            return
        for source, n in sorted(key for key, due in self._due.items() if due <= at):
            known, rule, teller = self._sources[source], self._rules[n], self._tellers[n]
            due = self._hearing.deadline(known.heard, _MINUTE + rule.after)
            if due > at:
                self._due[source, n] = due
                continue
            del self._due[source, n]
            since = known.heard - rule.heard_within
            vessels = sum((seen + 1) * _BUCKET > since for seen in known.vessels.values())
            if vessels < rule.min_vessels or not teller.ruled.in_force(due):
                continue
            subject = self._names.subject(SubjectKind.SOURCE, source)
            vessels = max(vessels, last_heard(source, since))
            details = {
                "last_heard": iso(known.heard),
                "after_seconds": rule.after // 1_000_000,
                "vessels": vessels,
                "min_vessels": rule.min_vessels,
            }
            text = messages.feed_silent(rule, subject.name, known.heard, vessels)
            when = When.due(due, source)
            alert = teller.fire(out, when, subject, "", known.heard, due, text, details)
            self._alerts[source, n] = alert
            out.remember(rule.id, subject, "", alert.kept(teller.ruled) | {"heard": known.heard})
        self.next_due = min(self._due.values(), default=_FAR)

    def _back(self, sign: Sign, n: int, out: Outcome) -> None:
        rule, teller, known = self._rules[n], self._tellers[n], self._sources[sign.source]
        alert, received = self._alerts.pop((sign.source, n)), sign.received
        subject = self._names.subject(SubjectKind.SOURCE, sign.source)
        details = {
            "last_heard": iso(known.heard),
            "silent_seconds": (received - known.heard) // 1_000_000,
        }
        text = messages.feed_back(rule, subject.name, received)
        when = When(received, False, sign.message, sign.kind, sign.row)
        teller.change(out, when, subject, "", alert, Event.RESOLVED, received, text, details)
        out.remember(rule.id, subject, "", None)
        known.spans = [*known.spans, (known.heard + _MINUTE, received, rule.grace)][-_KEPT:]

    def _source(self, source: int, heard: int) -> _Source:
        if source not in self._sources:
            name = self._names.subject(SubjectKind.SOURCE, source).name
            rules = [
                n for n, rule in enumerate(self._rules) if any(fnmatchcase(name, pattern) for pattern in rule.sources)
            ]
            self._sources[source] = _Source(heard, tuple(rules), [])
        return self._sources[source]


_CAME: Final = np.dtype(
    [("message", "i8"), ("received", "i8"), ("source", "i8"), ("transponder", "i8"), ("kind", "i1"), ("row", "i8")]
)


def _came(observations: Observations) -> NDArray[np.void]:
    """All that sources of vessels brought, in arrival order."""
    tables = ((observations.positions, POSITIONS), (observations.statics, STATICS), (observations.receptions, -1))
    records = observations.records
    out = np.zeros(sum(len(table) for table, _ in tables) + len(records), _CAME)
    start = 0
    for table, kind in tables:
        part = out[start : (start := start + len(table))]
        for name, column in (("message",) * 2, ("received", "received_at"), ("source",) * 2, ("transponder",) * 2):
            part[name] = table[column]
        part["kind"], part["row"] = (kind, np.arange(len(table))) if kind >= 0 else (POSITIONS, -1)
    part = out[start:]
    for name, attribute in (("message",) * 2, ("received", "received_at"), ("source",) * 2, ("transponder",) * 2):
        part[name] = [getattr(record, attribute) for record in records]
    part["kind"], part["row"] = POSITIONS, -1
    return out[np.argsort(out["message"], kind="stable")]
