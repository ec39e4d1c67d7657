"""When we could not hear: the clock of silence stands still meanwhile.

Two timers conclude something from what did *not* come: a device that has been silent for too long (``no_data``), and a
level that nothing has contradicted for long enough (``for``). Nothing can be concluded from a time at which nothing
could have come: this process was down, the database was away and input was held, the broker could not be reached. What
was sent meanwhile waits in the broker and is received afterwards. So:

* Such a *deaf* span does not count: a deadline that had not passed when it began is put off by its length, or by what
  of it comes after the subject was last heard.
* Nor does a deadline pass before what waited can have come: not within ``GRACE`` of the end of the span, or within
  the rule's own duration if that is shorter.
* A span of up to ``TOLERANCE`` is passed over. So a process that is killed and restarted at once comes to the same
  alerts as one that was not, and one that crashes again and again does not put off its alarms for ever; time it spends
  listening between longer spans counts.

A span is data like everything else: it is given to the engine (``Engine.deaf``), kept with the rule states, and found
again after a restart; the engine does not guess it from gaps between rows. A replay has none: what its log does not
hold was not heard. Times are receive times, microseconds UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerting.model import RuleState, SubjectKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TOLERANCE: Final = 60_000_000
GRACE: Final = 600_000_000

#: Spans kept. Only those after a subject was last heard matter to it.
_KEPT: Final = 16
#: The place of the spans among the rule states: no rule can have this id.
_RULE_ID: Final = "(deaf)"


def deadline(heard: int, after: int, spans: Iterable[tuple[int, int, int]]) -> int:
    """When ``after`` has passed since ``heard`` but for these spans, in which nothing could be heard.

    Of each span: since when, until when, and the grace after it (never longer than ``after``). In any order; of those
    that overlap or touch, the greatest grace holds.
    """
    due = heard + after
    for since, until, grace in _merged(span for span in spans if span[1] > heard):
        if since > due:
            break
        due = max(due + until - max(since, heard), until + min(after, grace))
    return due


def _merged(spans: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """In order, those that overlap made one with the greater grace."""
    out: list[tuple[int, int, int]] = []
    for since, until, grace in sorted(spans):
        if out and since <= out[-1][1]:
            before = out[-1]
            out[-1] = before[0], max(before[1], until), max(before[2], grace)
        else:
            out.append((since, until, grace))
    return out


class Hearing:
    """The spans in which nothing could be heard, oldest first."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []
        self._unsaid = False

    def deaf(self, since: int, until: int) -> None:
        """Nothing could be heard after ``since`` and before ``until``."""
        if self.spans:
            since = max(since, self.spans[-1][1])
        if until - since > TOLERANCE:
            self.spans = [*self.spans, (since, until)][-_KEPT:]
            self._unsaid = True

    def deadline(self, heard: int, after: int) -> int:
        """When ``after`` has passed since ``heard``, with ears open. Never earlier than by the clock on the wall."""
        return deadline(heard, after, ((since, until, GRACE) for since, until in self.spans))

    def deaf_between(self, since: int, until: int) -> bool:
        """Whether there was a time between two at which nothing could be heard."""
        return any(start < until and since < end for start, end in self.spans)

    def restore(self, state: RuleState) -> bool:
        """Take up the spans; False if the state is another one."""
        if state.rule_id != _RULE_ID or state.state is None:
            return False
        self.spans = [(since, until) for since, until in state.state["spans"]]
        return True

    def unsaid(self) -> RuleState | None:
        """The state to keep, if it is not kept yet."""
        if not self._unsaid:
            return None
        self._unsaid = False
        return kept(self.spans)


def kept(spans: Iterable[tuple[int, int]]) -> RuleState:
    """Such spans as a state, for ``Hearing.restore``."""
    said: Mapping[str, Any] = {"spans": [list(span) for span in spans]}
    return RuleState(_RULE_ID, SubjectKind.DEVICE, 0, "", said)
