"""Sources that have fallen silent: one incident each, while the vessels they heard are not called lost.

A source is silent when it has brought no news of any position for the rule's ``after``, and ``min_vessels`` vessels
were last heard by it within ``heard_within`` before that. With fewer, its silence cannot be told from theirs.

When a source was last heard is remembered to the minute, so that it is written once a minute and not with every batch;
``after`` counts from the end of that minute.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import numpy as np

from alerting.judging.hearing import GRACE, deadline
from alerting.messages import vessels as messages
from alerting.messages.words import iso
from alerting.model import Event, RuleState, SubjectKind
from alerting.rules.vessels import FeedSilentRule
from alerting.vessels.teller import Alert, Teller, When

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alerting.judging.hearing import Hearing
    from alerting.judging.outcome import Outcome, Ruled
    from alerting.registry.names import Names
    from alerting.vessels.fixes import Fixes

_MINUTE: Final = 60_000_000
_FAR: Final = 2**62
#: Silences of a source that are kept.
_KEPT: Final = 16
#: The place of sources among the rule states: no rule can have this id.
_RULE_ID: Final = "(sources)"


class _Source:
    """``spans``: its silences that were told, with the grace after each. Receive times."""

    __slots__ = ("heard", "rules", "spans")

    def __init__(self, heard: int, rules: tuple[int, ...], spans: list[tuple[int, int, int]]) -> None:
        self.heard, self.rules, self.spans = heard, rules, spans


class Feeds:
    """All ``feed_silent`` rules.

    Args:
        ruled: the rules in use.
        names: what sources are called.
        hearing: when we could not hear anything.
        vessels: how many vessels were last heard by a source after a receive time.
    """

    def __init__(
        self, ruled: Sequence[Ruled], names: Names, hearing: Hearing, vessels: Callable[[int, int], int]
    ) -> None:
        self._tellers = [Teller(r) for r in ruled if isinstance(r.rule, FeedSilentRule)]
        self._rules = [r.rule for r in ruled if isinstance(r.rule, FeedSilentRule)]
        self._number = {rule.id: n for n, rule in enumerate(self._rules)}
        self._names, self._hearing, self._vessels = names, hearing, vessels
        self._sources: dict[int, _Source] = {}
        self._alerts: dict[tuple[int, int], Alert] = {}  # (source, rule)
        self._due: dict[tuple[int, int], int] = {}

    def __bool__(self) -> bool:
        return bool(self._rules)

    @property
    def next_due(self) -> int:
        """Before this no source can have become silent."""
        return min(self._due.values(), default=_FAR)

    @property
    def shortest(self) -> int:
        return min((rule.after for rule in self._rules), default=_FAR)

    def take_up(self, state: RuleState) -> bool:
        """Take up what is known of a source, or an alert about it."""
        said, source = state.state or {}, state.subject_id
        if state.rule_id == _RULE_ID:
            known = self._source(source, said["heard"])
            known.heard, known.spans = said["heard"], [(a, b, c) for a, b, c in said["spans"]]
            for n in known.rules:
                if (source, n) not in self._alerts:
                    self._due[source, n] = known.heard + _MINUTE + self._rules[n].after
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

    def before_return(self, fixes: Fixes, start: int, stop: int) -> int:
        """How far rows go on until one comes from a source that is silent; a row past it, if it is the first."""
        if not self._alerts:
            return stop
        silent = np.flatnonzero(np.isin(fixes.source[start:stop], sorted({source for source, _ in self._alerts})))
        return stop if not len(silent) else max(start + 1, start + int(silent[0]))

    def hear(self, fixes: Fixes, start: int, stop: int, out: Outcome) -> set[int]:
        """Sources bring rows; those that were silent are back, and returned."""
        back: set[int] = set()
        sources = fixes.source[start:stop]
        if (sources == sources[0]).all():
            ends = [(int(sources[0]), start, stop - 1)]
        else:
            names, first = np.unique(sources, return_index=True)
            last = len(sources) - 1 - np.unique(sources[::-1], return_index=True)[1]
            ends = list(zip(names.tolist(), (first + start).tolist(), (last + start).tolist(), strict=True))
        for source, first_row, i in ends:
            received = int(fixes.received[i])
            minute = received // _MINUTE * _MINUTE
            known = self._sources.get(source)
            changed = known is None or known.heard != minute
            known = known or self._source(source, minute)
            for n in known.rules:
                if (source, n) in self._alerts:
                    self._back(source, n, fixes, first_row, out)
                    back.add(source)
                    changed = True
            if changed:
                known.heard = minute
                for n in known.rules:
                    self._due[source, n] = minute + _MINUTE + self._rules[n].after
                said = {"heard": minute, "spans": [list(span) for span in known.spans]}
                out.keep(RuleState(_RULE_ID, SubjectKind.SOURCE, source, "", said))
        return back

    def expire(self, at: int, out: Outcome) -> None:
        """Tell of the sources whose time has run out at an instant."""
        for source, n in sorted(key for key, due in self._due.items() if due <= at):
            known, rule, teller = self._sources[source], self._rules[n], self._tellers[n]
            due = self._hearing.deadline(known.heard, _MINUTE + rule.after)
            if due > at:
                self._due[source, n] = due
                continue
            del self._due[source, n]
            vessels = self._vessels(source, known.heard - rule.heard_within)
            if vessels < rule.min_vessels or not teller.ruled.in_force(due):
                continue
            subject = self._names.subject(SubjectKind.SOURCE, source)
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

    def _back(self, source: int, n: int, fixes: Fixes, row: int, out: Outcome) -> None:
        rule, teller, known = self._rules[n], self._tellers[n], self._sources[source]
        alert, fix = self._alerts.pop((source, n)), fixes.fix(row)
        subject = self._names.subject(SubjectKind.SOURCE, source)
        details = {
            "last_heard": iso(known.heard),
            "silent_seconds": (fix.received - known.heard) // 1_000_000,
        }
        text = messages.feed_back(rule, subject.name, fix.received)
        teller.change(out, When.of(fix), subject, "", alert, Event.RESOLVED, fix.received, text, details)
        out.remember(rule.id, subject, "", None)
        known.spans = [*known.spans, (known.heard + _MINUTE, fix.received, rule.grace)][-_KEPT:]

    def _source(self, source: int, heard: int) -> _Source:
        if source not in self._sources:
            name = self._names.subject(SubjectKind.SOURCE, source).name
            rules = [
                n for n, rule in enumerate(self._rules) if any(fnmatchcase(name, pattern) for pattern in rule.sources)
            ]
            self._sources[source] = _Source(heard, tuple(rules), [])
        return self._sources[source]
