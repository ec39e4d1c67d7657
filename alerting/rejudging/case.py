"""What a review of late data is given, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alerting.model import AlertState, RuleState, Severity, Transition
from alerting.registry.register import UNREGISTERED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from alerting.model import Memory, Subject
    from alerting.registry.register import Registry
    from alerting.rules import Rule
    from decoders.records import Observations
    from geofence.zones import Zone


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
