"""What is held of one vessel and one fence from one fix to the next, and how it is kept over a restart."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any
from uuid import UUID

from alerting.model import Severity
from alerting.zones.sides import Turn
from geofence.moves import Fix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alerting.judging.outcome import Ruled


@dataclass(slots=True)
class Visit:
    """What an alert is about, or will be about. Times of event but for ``received``.

    ``alert`` is None while it waits: for a ship type, or for the time that the rule asks for.
    """

    started_at: int
    lon: float
    lat: float
    before: Fix | None
    alert: UUID | None = None
    at: int = 0
    last: int = 0  # left and crossed: of the last repetition; approaching and leaving: of the crossing
    received: int = 0  # and when that was received
    count: int = 1
    ship_type: int | None = None  # as known when it fired
    zone_version: str = ""  # that it was raised on
    said: dict[str, Any] = field(default_factory=dict)  # what the alert says of the vessel, from when it fired
    severity: Severity | None = None  # where it is not the rule's
    step: int = 0  # approaching or leaving: 0, imminent: 1, crossed: 2


@dataclass(slots=True, frozen=True)
class Touch:
    """A vessel exactly on a line: ``net`` is what coming there counts for (``geofence.lines``), ``before`` whence."""

    net: int
    time: int
    lon: float
    lat: float
    before: Fix


@dataclass(slots=True)
class Held:
    """``turn``: of the side. Nothing held: the vessel is on the side where its last fix was, and nothing waits."""

    visit: Visit | None = None
    turn: Turn | None = None
    touch: Touch | None = None

    def __bool__(self) -> bool:
        return self.visit is not None or self.turn is not None or self.touch is not None

    def state(self, ruled: Ruled) -> dict[str, Any] | None:
        """JSON-ready; None: there is nothing to keep."""
        if not self:
            return None
        out: dict[str, Any] = {}
        if self.visit is not None:
            out = _told(self.visit) | ruled.left_behind(self.visit.started_at, self.visit.severity)
            out["alert"] = str(self.visit.alert) if self.visit.alert else None
            out["rung"] = self.visit.severity and self.visit.severity.value
        if self.turn is not None:
            out["turn"] = _told(self.turn)
        if self.touch is not None:
            out["touch"] = _told(self.touch)
        return out

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Held:
        """What ``state`` made a state of; nothing, if it did not."""
        held = cls()
        if "lon" in state:
            alert, rung = state.get("alert"), state.get("rung")
            held.visit = Visit(
                started_at=state["started_at"],
                lon=state["lon"],
                lat=state["lat"],
                before=_fix(state.get("before")),
                alert=UUID(alert) if alert else None,
                at=state["at"],
                last=state["last"],
                received=state["received"],
                count=state["count"],
                ship_type=state["ship_type"],
                zone_version=state.get("zone_version", ""),
                said=dict(state.get("said", {})),
                severity=Severity(rung) if rung else None,
                step=state.get("step", 0),
            )
        if turn := state.get("turn"):
            fix = Fix(**turn["fix"])
            held.turn = Turn(turn["inward"], fix, _fix(turn["before"]), turn["count"], turn["first"])
        if touch := state.get("touch"):
            held.touch = Touch(touch["net"], touch["time"], touch["lon"], touch["lat"], Fix(**touch["before"]))
        return held


def _told(one: Visit | Turn | Touch | Fix) -> dict[str, Any]:
    """What ``asdict`` gives, in a fifth of the time: what cannot change is not copied."""
    out = {each.name: getattr(one, each.name) for each in fields(one)}
    for name, value in out.items():
        if isinstance(value, Fix):
            out[name] = _told(value)
        elif isinstance(value, dict):
            out[name] = dict(value)  # an alert has more to say with every repetition
    return out


def _fix(told: Mapping[str, Any] | None) -> Fix | None:
    return Fix(**told) if told else None
