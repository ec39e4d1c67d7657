"""What judging a batch came to, put together in one order that does not depend on how rows fell into batches.

Parts of the engine work through a batch each in their own way; what they find is sorted by the instant at which it
was *known*: a row's receive time, or a timer's deadline. At one instant rows come first, in arrival order, then timers:
a timer is due once its deadline has passed, not when it is reached.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alerting import messages
from alerting.model import RuleState, Transition, Verdict
from alerting.rules.base import END, Mode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alerting.model import Late, Severity, Subject
    from alerting.rules import Rule
    from alerting.rules.calendar import Calendar
    from decoders.records import Observations


class Order(NamedTuple):
    """When something was known, and what breaks ties. Compared from left to right."""

    known: int  # microseconds, receive time
    timer: bool
    message: int  # of the row; 0 for timers
    kind: int  # statics, then positions, then readings
    row: int  # of the row; the subject's id for timers
    rule: int  # its place in the rule book
    key: str
    step: int  # resolve before fire


STATICS, POSITIONS, READINGS = 0, 1, 2
_TABLES: Final = ("statics", "positions", "readings")


#: The name, in a state, of its form.
FORM: Final = "form"
#: The name, in a state, of what its rule asked (``BaseRule.asks``). Those without are of before it was kept.
ASKS: Final = "asks"
#: By kind of rule, how many forms its states have had; one where nothing is said. Likewise by the place of what is kept
#: beside rules, "(deaf)" for one. A state of another form is not read, and its alert is closed: to be counted up with
#: every change of what a state holds that the code before cannot read, or that cannot read what the code before left.
_FORMS: Final = dict.fromkeys(
    (
        "gap",
        "feed_silent",
        "jump",
        "identity_clash",
        "distress",
        "encounter",
        "carried_beacons",
        "loitering",
        "port_visit",
        "fishing",
    ),
    2,
) | dict.fromkeys(("port_visit", "encounter", "carried_beacons"), 3)


def marks(rule: Rule) -> dict[str, str]:
    """What the states of a rule are marked by: the kind, which of its forms it is, and what the rule asks."""
    asks = rule.asks
    return {FORM: _form(rule.kind)} | ({ASKS: asks} if asks else {})


def readable(state: RuleState, rule: Rule | None) -> bool:
    """Whether a state is of the form that those of its rule have now; None: of a rule that is gone, whose alert can be
    closed whatever else it holds, or of none. Those without a mark are of before there were any.
    """
    kind = _kind(state.rule_id) if rule is None else rule.kind
    said = (state.state or {}).get(FORM)
    return kind is None or said == _form(kind) or (said is None and kind not in _FORMS)


def _form(kind: str) -> str:
    return f"{kind}/{_FORMS.get(kind, 1)}"


def _kind(rule_id: str) -> str | None:
    """Of a state that is of no rule, the place it has among those of rules: "(coverage)" of "(coverage 5f3a)"."""
    return f"{rule_id.split(maxsplit=1)[0].rstrip(')')})" if rule_id.startswith("(") else None


@dataclass(slots=True, frozen=True)
class Ruled:
    """A rule in use, with what is asked of it all the time worked out once."""

    rule: Rule
    number: int
    version: str
    start: int
    end: int
    calendar: Calendar | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "calendar", self.rule.calendar)

    def in_force(self, time: int) -> bool:
        """Whether events at a time are judged."""
        return self.start <= time < self.end and (self.calendar is None or self.calendar.holds(time))

    def next_edge(self, time: int) -> int:
        """The first instant after ``time`` at which the rule comes into force or goes out of it; ``END`` if none is."""
        if time >= self.end:
            return END
        if self.calendar is None:
            return self.start if time < self.start else self.end
        if time < self.start:
            if self.calendar.holds(self.start):
                return self.start
            time = self.start
        edge = self.calendar.next_edge(time)
        if edge is None or edge >= self.end:
            return self.end if self.calendar.holds(time) else END
        return edge

    @property
    def title(self) -> dict[str, str]:
        return {"en": self.rule.title.en, "vi": self.rule.title.vi}

    def told(self) -> dict[str, Any]:
        """What every alert says about its rule."""
        rule = self.rule
        said = {"title": self.title, "kind": rule.kind, "source": rule.source}
        said |= {"confidence": rule.confidence} if rule.confidence else {}
        return said | ({"note": rule.note} if rule.note else {})

    def left_behind(self, started_at: int, severity: Severity | None = None) -> dict[str, Any]:
        """What a state must hold of its rule for its alert to be closed after the rule is gone.

        ``severity``: that of the alert, where it is not the rule's.
        """
        said = {
            "version": self.version,
            "severity": (severity or self.rule.severity).value,
            "title": self.title,
            "started_at": started_at,
        }
        return said | ({} if self.rule.mode is Mode.LIVE else {self.rule.mode.value: True})


def _row(order: Order, observations: Observations) -> dict[str, Any]:
    """The row that something follows from, by the table it is stored in and its key there; nothing for a timer.

    Ids as text: most readers of JSON keep 53 bits.
    """
    if order.timer:
        return {}
    if order.row < 0:
        record = next((record for record in observations.records if record.message == order.message), None)
        if record is None:
            return {}
        return {"row": _key("ais_messages", record.time, transponder_id=record.transponder, digest=record.digest)}
    name = _TABLES[order.kind]
    row = getattr(observations, name)[order.row]
    if order.kind == READINGS:
        return {"row": _key(name, int(row["time"]), device_id=row["device"], metric_id=row["metric"])}
    return {"row": _key(name, int(row["time"]), transponder_id=row["transponder"], digest=row["digest"])}


def _key(table: str, time: int, **ids: int) -> dict[str, str]:
    return {"table": table, "time": messages.iso(time), **{name: str(id_) for name, id_ in ids.items()}}


@dataclass(slots=True)
class Outcome:
    """Transitions and states as they are found; ``verdict`` puts them in order.

    ``marks``: by the id of a rule, what its states are marked by.
    """

    _marks: Mapping[str, Mapping[str, str]]
    _transitions: list[tuple[Order, Transition]] = field(default_factory=list)
    _states: dict[tuple[str, str, int, str], RuleState] = field(default_factory=dict)
    #: What came so late that alerts of its time are to be looked at again, though it was judged.
    late: list[Late] = field(default_factory=list)
    #: By rule: places of vessels around which it looked for no other vessel, for there were too many.
    crowded: dict[str, int] = field(default_factory=dict)

    def add(self, order: Order, transition: Transition) -> None:
        self._transitions.append((order, transition))

    @property
    def found(self) -> Sequence[tuple[Order, Transition]]:
        """The transitions so far, as they were added."""
        return self._transitions

    def remember(self, rule_id: str, subject: Subject, key: str, state: Mapping[str, Any] | None) -> None:
        """The state after the batch; the last call for an episode is the one that counts. None: forget it."""
        place = (rule_id, subject.kind.value, subject.id, key)
        if state is not None:
            state = {**state, **self._marks[rule_id]}
        self._states[place] = RuleState(rule_id, subject.kind, subject.id, key, state)

    def keep(self, state: RuleState | None) -> None:
        """A state that is not of an episode, and has a place of its own among those of rules."""
        if state is None:
            return
        if state.state is not None:
            state = replace(state, state={**state.state, FORM: _form(_kind(state.rule_id) or state.rule_id)})
        self._states[state.rule_id, state.subject_kind.value, state.subject_id, state.key] = state

    def verdict(self, observations: Observations, *, late_positions: int, late_readings: int) -> Verdict:
        """Everything found, in order. Each transition says when it became known, and of which row it follows."""
        self._transitions.sort(key=lambda found: found[0])
        return Verdict(
            transitions=[
                replace(
                    transition,
                    known=order.known,
                    details={**transition.details, **_row(order, observations)},
                    message=-1 if order.timer else order.message,
                )
                for order, transition in self._transitions
            ],
            states=[self._states[place] for place in sorted(self._states)],
            late_positions=late_positions,
            late_readings=late_readings,
            crowded=self.crowded,
        )
