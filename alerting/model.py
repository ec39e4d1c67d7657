"""What the engine says, in the words that storage keeps and channels send."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

NAMESPACE = UUID("6f1d0b52-6a50-5d0e-9b0e-0a4e9f1a7c11")


class AlertState(StrEnum):
    """Where an alert stands. Pending ones are the engine's own: nobody is told before it fires, and they have no id."""

    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    CLOSED = "closed"


class Event(StrEnum):
    """What can happen to an alert, and what a notification tells of. Of one instant they are told in this order."""

    FIRING = "firing"
    ESCALATED = "escalated"  # it has become more severe
    DEESCALATED = "deescalated"  # it has become less severe
    REVISED = "revised"  # data that came late show it to be another than was told
    ACKNOWLEDGED = "acknowledged"
    UNACKNOWLEDGED = "unacknowledged"
    ASSIGNED = "assigned"
    COMMENTED = "commented"
    OVERDUE = "overdue"  # nobody has seen to it by a deadline
    OVER_BUDGET = "over_budget"  # its rule has told of more in this shift than it may
    GROUPED = "grouped"  # it has become part of an incident, or others of the incident that it began
    REMINDED = "reminded"  # nobody has acknowledged it yet
    RETRACTED = "retracted"  # data that came late show that it was none; it is resolved thereby
    RESOLVED = "resolved"
    INCIDENT_OVER = "incident_over"  # all alerts of the incident that it began are over
    CLOSED = "closed"

    @property
    def repeats(self) -> bool:
        """Whether one alert can have it more than once."""
        return self not in {Event.FIRING, Event.CLOSED}

    @property
    def by_people(self) -> bool:
        """Whether it is what people do, and not what happens to an alert by itself."""
        return self in {
            Event.ACKNOWLEDGED,
            Event.UNACKNOWLEDGED,
            Event.ASSIGNED,
            Event.COMMENTED,
            Event.CLOSED,
        }


class Severity(StrEnum):
    """How much it matters, least first."""

    INFO = "info"
    WARNING = "warning"
    MAJOR = "major"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class SubjectKind(StrEnum):
    """What an alert is about."""

    TRANSPONDER = "transponder"
    DEVICE = "device"
    SOURCE = "source"
    GATEWAY = "gateway"

    @property
    def has_place(self) -> bool:
        """Whether one can be somewhere."""
        return self in {SubjectKind.TRANSPONDER, SubjectKind.DEVICE}


@dataclass(slots=True, frozen=True)
class Subject:
    """One transponder or one device (for rules on a metric, the metric is part of the rule's episode key)."""

    kind: SubjectKind
    id: int
    name: str


def alert_id(rule_id: str, subject: Subject, key: str, started_at: int) -> UUID:
    """The id of the alert for one episode: equal input, equal id, in every process.

    ``key`` tells episodes of one rule and subject apart that may run side by side (a zone id, a metric name).
    ``started_at`` is event time, microseconds UTC.
    """
    return uuid5(NAMESPACE, f"{rule_id}|{subject.kind}|{subject.id}|{key}|{started_at}")


def shadow_id(id_: UUID) -> UUID:
    """The id of the same alert of a rule in shadow mode: another one, for it may fire once more in earnest."""
    return uuid5(NAMESPACE, f"{id_}|shadow")


def notification_id(alert: UUID, event: str, channel: str, at: int | None = None) -> UUID:
    """The id of one notification: stable, so that a receiver can drop one sent twice.

    ``at`` tells those of an event apart that an alert can have more than once.
    """
    return uuid5(NAMESPACE, f"{alert}|{event}|{channel}" + ("" if at is None else f"|{at}"))


@dataclass(slots=True, frozen=True)
class Transition:
    """One change of one alert, as the engine found it."""

    alert_id: UUID
    rule_id: str
    rule_version: str  # digest of the rule as loaded
    subject: Subject
    key: str  # see alert_id
    state: AlertState  # from now on
    severity: Severity  # from now on
    at: int  # event time of the change, microseconds UTC
    started_at: int  # event time of the episode's start
    summary_en: str
    summary_vi: str
    value: float | None = None  # what was seen, in the metric's unit
    zone_id: str | None = None
    lon: float | None = None
    lat: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)  # JSON-ready: threshold, unit, since, ...
    change: Event | None = None  # None: the one that the state is named for
    shadow: bool = False  # of a rule that is tried out: nobody is to be told
    channels: tuple[str, ...] | None = None  # where it fires: the only ones that are told of the alert; None: all
    known: int = 0  # receive time at which it became known: of the row it follows from, or when a timer ran out
    message: int = field(default=-1, compare=False, repr=False)  # of the batch, that decided; -1: none did but time

    @property
    def event(self) -> Event:
        """What happened."""
        return self.change or Event(self.state.value)


@dataclass(slots=True, frozen=True)
class RuleState:
    """What the engine must find again after a restart, for one (rule, subject, key). ``state`` None: forget it."""

    rule_id: str
    subject_kind: SubjectKind
    subject_id: int
    key: str
    state: Mapping[str, Any] | None  # JSON-ready


@dataclass(slots=True, frozen=True)
class LookBack:
    """Which stored readings rules want again after a restart: a stretch of each of some devices and metrics.

    Columns of one length, int64: ids, and event times in microseconds, both ends included.
    """

    device: NDArray[np.int64]
    metric: NDArray[np.int64]
    since: NDArray[np.int64]
    until: NDArray[np.int64]


@dataclass(slots=True, frozen=True)
class Notification:
    """One message for one channel about one transition: an outbox row."""

    id: UUID
    alert_id: UUID
    channel: str
    event: str  # the value of an Event
    at: int
    payload: Mapping[str, Any]  # JSON-ready; what every channel renders from
    named: bool = False  # by a step of a procedure: told whatever channels its rule names
    if_told: bool = False  # only if the channel was told of the alert before
    known: int = 0  # when it became known, by receive time; 0: at ``at``
    groups: bool = False  # its channel is told of incidents, and so need not be told of each of their alerts


@dataclass(slots=True, frozen=True)
class Late:
    """Rows of one subject that came after newer ones, and so were not judged: the span of their event times."""

    kind: SubjectKind
    subject: int
    since: int  # microseconds UTC, both included
    until: int


@dataclass(slots=True)
class Verdict:
    """What judging one batch changed."""

    transitions: list[Transition] = field(default_factory=list)
    states: list[RuleState] = field(default_factory=list)
    late_positions: int = 0
    late_readings: int = 0
    late: list[Late] = field(default_factory=list)  # by kind and subject
    #: By rule: places of vessels around which it looked for no other vessel, for there were too many.
    crowded: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Memory:
    """What storage hands the engine at start: what it would know had it never stopped."""

    states: list[RuleState] = field(default_factory=list)
    positions: NDArray[np.void] | None = None  # POSITION rows: the latest of each transponder
    readings: NDArray[np.void] | None = None  # READING rows: the latest of each device and metric
    ship_types: Mapping[int, int] = field(default_factory=dict)  # transponder id -> ship type code
    static_times: Mapping[int, int] = field(default_factory=dict)  # transponder id -> time of its newest static report
    first_seen: Mapping[int, int] = field(default_factory=dict)  # transponder id -> time of the first it sent
    names: Mapping[tuple[str, int], str] = field(default_factory=dict)  # (kind, id) -> name
    listened: int | None = None  # the latest receive time committed, microseconds; None: none yet
