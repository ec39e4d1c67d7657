"""What alerts about vessels and zones carry."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from alerting import messages
from alerting.model import AlertState, Event, Transition, alert_id
from alerting.rules import AHEAD, Condition
from geofence.moves import Fix

if TYPE_CHECKING:
    from alerting.registry.names import Names
    from alerting.zones.fence import Fence
    from alerting.zones.visits import Held, Visit

#: What the steps of what lies ahead are called, the first by its condition.
STEPS: Final = {condition: (condition.value, "imminent", "crossed") for condition in AHEAD}
_CROSSED: Final = 2


class ZoneAlerts:
    """Makes transitions."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def fire(
        self, transponder: int, fence: Fence, held: Held, at: int, ship_type: int | None, fix: Fix | None
    ) -> Transition:
        """The alert of a visit, which is told so. ``fix``: the vessel's place, if not where the visit began."""
        visit = held.visit
        assert visit is not None
        where = fix or Fix(visit.started_at, visit.lon, visit.lat)
        visit.alert = alert_id(fence.rule.id, self._names.transponder(transponder), fence.zone.id, visit.started_at)
        visit.at, visit.ship_type, visit.zone_version = at, ship_type, fence.place.version
        if fence.rule.condition is not Condition.CROSSED:
            visit.said["distance_to_boundary_m"] = round(fence.distance(where), 1)
        if fence.rule.for_:
            visit.said["for_seconds"] = fence.rule.for_ // 1_000_000
        name = self._names.transponder(transponder, visit.started_at).name
        if fence.rule.condition in AHEAD:
            text = messages.zone_neared(fence.rule, name, fence.zone, visit.step, at, at - visit.started_at)
        else:
            text = messages.zone_fired(fence.rule, name, fence.zone, visit.started_at)
        return self._transition(transponder, fence, visit, AlertState.FIRING, at, where, text)

    def climb(self, fence: Fence, visit: Visit, step: int, time: int) -> Event | None:
        """Take a vessel that approaches to a step of the ladder; what that is to its alert, None if nothing."""
        before, after = fence.rule.severities[visit.step], fence.rule.severities[step]
        visit.step, visit.severity = step, after
        name = STEPS[fence.rule.condition][step]
        visit.said["step"] = name
        visit.said[f"{name}_at"] = messages.iso(time)
        if step == _CROSSED:
            visit.last = time
            visit.said["lead_seconds"] = (time - visit.started_at) // 1_000_000
        if visit.alert is None or before is after:
            return None
        return Event.ESCALATED if after.rank > before.rank else Event.DEESCALATED

    def change(self, transponder: int, fence: Fence, visit: Visit, event: Event, fix: Fix) -> Transition:
        """The alert of a visit has become more or less severe."""
        visit.said["distance_to_boundary_m"] = round(fence.distance(fix), 1)
        at, name = max(fix.time, visit.at), self._names.transponder(transponder, visit.started_at).name
        text = messages.zone_neared(fence.rule, name, fence.zone, visit.step, at, at - visit.started_at)
        made = self._transition(transponder, fence, visit, AlertState.FIRING, at, fix, text)
        return replace(made, change=event)

    def resolve(
        self, transponder: int, fence: Fence, visit: Visit, at: int, fix: Fix | None, reason: str
    ) -> Transition:
        """The end of the alert of a visit."""
        visit.said["reason"] = reason
        name = self._names.transponder(transponder, visit.started_at).name
        text = messages.zone_resolved(fence.rule, name, fence.zone, at, reason)
        return self._transition(transponder, fence, visit, AlertState.RESOLVED, at, fix, text)

    def _transition(
        self,
        transponder: int,
        fence: Fence,
        visit: Visit,
        state: AlertState,
        at: int,
        fix: Fix | None,
        text: messages.Text,
    ) -> Transition:
        assert visit.alert is not None
        before = visit.before
        details: Final[dict[str, Any]] = fence.ruled.told() | {
            "condition": fence.rule.condition.value,
            "zone_name": {"en": fence.zone.name_en, "vi": fence.zone.name_vi},
            "zone_version": visit.zone_version or fence.place.version,
            "zone_source": fence.zone.source,
            "since": messages.iso(visit.started_at),
            "previous_fix": before and {"time": messages.iso(before.time), "lon": before.lon, "lat": before.lat},
            "ship_type": visit.ship_type,
            **visit.said,
        }
        return Transition(
            alert_id=visit.alert,
            rule_id=fence.rule.id,
            rule_version=fence.ruled.version,
            subject=self._names.transponder(transponder, visit.started_at),
            key=fence.zone.id,
            state=state,
            severity=visit.severity or fence.rule.severity,
            at=at,
            started_at=visit.started_at,
            summary_en=text.en,
            summary_vi=text.vi,
            zone_id=fence.zone.id,
            lon=fix.lon if fix else None,
            lat=fix.lat if fix else None,
            details=details,
        )
