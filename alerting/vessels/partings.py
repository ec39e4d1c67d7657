"""Tracks that no one vessel can sail: jumps, and two vessels under one identity.

When a fix cannot be reached from the one before, the track parts in two: *a*, the old one, and *b*, begun by that fix.
Each fix after it belongs to the one from which it can be reached, to the nearer if to both.

* The next fix is on *a* again, and *b* had but one: that was an outlier. Nobody is told.
* Fixes stay on *b* for ``settle``, and none comes on *a*: the vessel *jumped*, as far as we can see.
* Fixes come on both: two vessels under one identity. A jump is not told then. A *clash* is, once both have enough fixes
  since they parted and came in turns: positions that are wrong come alone, or several in a row and then none, and a
  vessel is heard again and again. So of AIS a track *b* that was not heard for ``_CHAIN`` begins anew. It is over when
  one of the two has not been heard for ``over_after``, by the time of the other's fixes, or when neither has, by
  reception.

A fix that can be reached from neither replaces *b* if that has but one fix, and is passed over otherwise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from alerting.messages import vessels as messages
from alerting.model import Event
from alerting.vessels.detector import Detector
from alerting.vessels.fixes import NEVER
from alerting.vessels.teller import Alert, When
from decoders.identity import is_ais
from geofence.sphere import KNOT, knots, metres

if TYPE_CHECKING:
    from alerting.judging.outcome import Outcome, Ruled
    from alerting.model import RuleState
    from alerting.registry.names import Names
    from alerting.rules.vessels import IdentityClashRule, JumpRule, TrackRule
    from alerting.vessels.fixes import Fix, Fixes
    from alerting.vessels.kinds import Kinds

_FAR: Final = 2**62
#: Once two tracks are known to be two, each is looked at no more often than this.
_STEP: Final = 60_000_000
#: A vessel that sends AIS is heard again within this, at the edge of what is heard, too: ten of the longest intervals.
_CHAIN: Final = 1_800_000_000
#: How often fixes must have gone over from one track to the other: there, back, there and back again.
_TURNS: Final = 3


@dataclass(slots=True)
class _Side:
    time: int
    lon: float
    lat: float
    fixes: int  # since they parted
    received: int

    def reach(self, fix: Fix, rule: TrackRule) -> float | None:
        """Metres to a fix; None if they cannot be sailed in the time between."""
        away = metres(self.lon, self.lat, fix.lon, fix.lat)
        limit = max(rule.min_distance, rule.max_speed * KNOT * abs(fix.time - self.time) / 1e6)
        return away if away <= limit else None

    def move(self, fix: Fix) -> None:
        self.time, self.lon, self.lat, self.received = fix.time, fix.lon, fix.lat, fix.received
        self.fixes += 1

    def told(self) -> dict[str, Any]:
        return messages.fix(self.time, self.lon, self.lat) | {"fixes": self.fixes}


@dataclass(slots=True)
class _Parting:
    since: int  # time of the first fix of b
    a: _Side
    b: _Side
    origin: tuple[int, float, float]  # the last fix before they parted
    landing: tuple[int, float, float]  # the first of b
    both: bool = False  # fixes have come on both
    on_a: bool = False  # where the last fix was
    turns: int = 0  # how often they went over from one to the other since


def _place(said: list[Any]) -> tuple[int, float, float]:
    time, lon, lat = said
    return time, lon, lat


def _apart(rule: TrackRule, fix: Fix) -> _Parting | None:
    """What a fix begins that cannot be reached from the one before."""
    if fix.before is None:
        return None
    time, lon, lat = fix.before
    a = _Side(time, lon, lat, 0, fix.received)
    if a.reach(fix, rule) is not None:
        return None
    b = _Side(fix.time, fix.lon, fix.lat, 1, fix.received)
    return _Parting(fix.time, a, b, fix.before, (fix.time, fix.lon, fix.lat))


class _Partings(Detector):
    """Follows tracks that have parted."""

    by_number = True

    def __init__(self, ruled: Ruled, names: Names, rule: TrackRule) -> None:
        super().__init__(ruled, names)
        self._rule = rule
        self._parted: dict[int, _Parting] = {}
        self._alerts: dict[int, Alert] = {}
        self._soonest = _FAR  # none of them is over before

    def held(self) -> set[int]:
        return self._parted.keys() | self._alerts.keys()

    def alert_of(self, transponder: int) -> Alert | None:
        return self._alerts.get(transponder)

    def drop(self, transponder: int) -> None:
        self._parted.pop(transponder, None)
        self._alerts.pop(transponder, None)

    def take_up(self, state: RuleState) -> bool:
        said = state.state or {}
        if parted := said.get("parted"):
            self._parted[state.subject_id] = _Parting(
                since=parted["since"],
                a=_Side(**parted["a"]),
                b=_Side(**parted["b"]),
                origin=_place(parted["origin"]),
                landing=_place(parted["landing"]),
                both=parted["both"],
                on_a=parted.get("on_a", False),
                turns=parted.get("turns", 0),
            )
        if alert := Alert.restore(said):
            self._tell(state.subject_id, alert)
        return True

    def rows(self, fixes: Fixes, kinds: Kinds, out: Outcome) -> None:
        taken = np.maximum(fixes.time - fixes.before_time, 1) / 1e6
        limit = np.maximum(self._rule.min_distance, self._rule.max_speed * KNOT * taken)
        # A little less than what decides, which is computed in another way.
        far = (fixes.before_time != NEVER) & (fixes.metres > limit * (1 - 1e-9))
        for fix in fixes.each(fixes.about(self._parted, self._alerts, set(fixes.transponder[far].tolist()))):
            self._quiet(fix.transponder, fix.received, out)
            parted = self._parted.get(fix.transponder)
            if parted is None:
                if begun := _apart(self._rule, fix):
                    self._parted[fix.transponder] = begun
                    self._remember(fix.transponder, out)
            else:
                self._follow(fix, parted, kinds, out)

    def expire(self, now: int, out: Outcome) -> None:
        if self._soonest >= now:
            return
        for transponder in sorted(self._alerts):
            self._quiet(transponder, now, out)
        self._soonest = min(map(self._due, self._alerts), default=_FAR)

    def _tell(self, transponder: int, alert: Alert) -> None:
        """An alert is firing from now on."""
        self._alerts[transponder] = alert
        self._soonest = min(self._soonest, self._due(transponder))

    def _due(self, transponder: int) -> int:
        """The receive time after which the alert of a transponder is over, if nothing more is received of it."""
        raise NotImplementedError

    def _follow(self, fix: Fix, parted: _Parting, kinds: Kinds, out: Outcome) -> None:
        raise NotImplementedError

    def _quiet(self, transponder: int, tick: int, out: Outcome) -> None:
        raise NotImplementedError

    def _side(self, parted: _Parting, fix: Fix) -> _Side | None:
        """The track that a fix belongs to."""
        to_a, to_b = parted.a.reach(fix, self._rule), parted.b.reach(fix, self._rule)
        if to_a is None and to_b is None:
            if parted.b.fixes == 1:
                parted.b = _Side(fix.time, fix.lon, fix.lat, 1, fix.received)
                parted.since, parted.landing = fix.time, (fix.time, fix.lon, fix.lat)
            return None
        return parted.a if to_b is None or (to_a is not None and to_a <= to_b) else parted.b

    def _more(self, transponder: int) -> dict[str, Any]:  # noqa: ARG002
        """What else must be found again."""
        return {}

    def _remember(self, transponder: int, out: Outcome) -> None:
        parted, alert = self._parted.get(transponder), self._alerts.get(transponder)
        if parted is None and alert is None:
            self.keep(transponder, None, out)
            return
        said: dict[str, Any] = {"parted": asdict(parted) if parted else None} | self._more(transponder)
        if alert is not None:
            said |= alert.kept(self.ruled)
        self.keep(transponder, said, out)

    def _thresholds(self) -> dict[str, Any]:
        return {
            "max_speed_kn": self._rule.max_speed,
            "min_distance_m": self._rule.min_distance,
            "settle_seconds": self._rule.settle // 1_000_000,
        }


class Jumps(_Partings):
    """A ``jump`` rule."""

    def __init__(self, ruled: Ruled, names: Names, rule: JumpRule) -> None:
        super().__init__(ruled, names, rule)
        self._after = rule.resolve_after
        self._last: dict[int, tuple[int, int, int]] = {}  # of alerts: received, time of the last jump; how many

    def drop(self, transponder: int) -> None:
        super().drop(transponder)
        self._last.pop(transponder, None)

    def take_up(self, state: RuleState) -> bool:
        if last := (state.state or {}).get("last"):
            received, time, count = last
            self._last[state.subject_id] = received, time, count
        return super().take_up(state)

    def _follow(self, fix: Fix, parted: _Parting, kinds: Kinds, out: Outcome) -> None:
        name = fix.transponder
        side = self._side(parted, fix)
        if parted.both and fix.time - min(parted.a.time, parted.b.time) > self._rule.over_after:
            del self._parted[name]  # one of the two is gone, and which of them it was nobody knows
        elif side is parted.a:
            if parted.b.fixes == 1:
                del self._parted[name]  # an outlier
            elif fix.time - side.time < _STEP and parted.both:
                return
            else:
                parted.both = True
                side.move(fix)
        elif side is parted.b:
            if parted.both and fix.time - side.time < _STEP:
                return
            side.move(fix)
            if not parted.both and fix.time - parted.since >= self._rule.settle:
                del self._parted[name]
                self._jumped(fix, parted, kinds, out)
        self._remember(name, out)

    def _jumped(self, fix: Fix, parted: _Parting, kinds: Kinds, out: Outcome) -> None:
        name = fix.transponder
        if name in self._alerts:
            _, _, count = self._last[name]
            self._last[name] = fix.received, fix.time, count + 1
            return
        meant = kinds.matches(self._rule.scope, name, parted.since, message=fix.message)
        if not self.ruled.in_force(fix.time) or not meant:
            return
        away = metres(*parted.origin[1:], *parted.landing[1:])
        speed = knots(away, parted.landing[0] - parted.origin[0])
        subject = self.subject(name, parted.since)
        details = {
            "last_fix": messages.fix(*parted.origin),
            "jumped_to": messages.fix(*parted.landing),
            "confirmed_by": messages.fix(fix.time, fix.lon, fix.lat),
            "distance_m": round(away),
            "implied_speed_kn": round(speed, 1),
        }
        text = messages.jumped(self.rule, subject.name, parted.since, away, speed)
        alert = self.teller.fire(
            out,
            When.of(fix),
            subject,
            "",
            parted.since,
            fix.time,
            text,
            details | self._thresholds(),
            place=parted.landing[1:],
            value=round(speed, 1),
        )
        self._last[name] = fix.received, fix.time, 1
        self._tell(name, alert)

    def _due(self, transponder: int) -> int:
        return self._last[transponder][0] + self._after

    def _quiet(self, transponder: int, tick: int, out: Outcome) -> None:
        alert = self._alerts.get(transponder)
        if alert is None or (due := self._due(transponder)) >= tick:
            return
        at = self._last[transponder][1] + self._after
        self.over(transponder, alert, When.due(due, transponder), at, "quiet", out)
        del self._alerts[transponder], self._last[transponder]
        self._remember(transponder, out)

    def _more(self, transponder: int) -> dict[str, Any]:
        last = self._last.get(transponder)
        return {"last": list(last) if last else None}


class Clashes(_Partings):
    """An ``identity_clash`` rule."""

    def __init__(self, ruled: Ruled, names: Names, rule: IdentityClashRule) -> None:
        super().__init__(ruled, names, rule)
        self._least, self._after = rule.min_fixes, rule.over_after

    def _follow(self, fix: Fix, parted: _Parting, kinds: Kinds, out: Outcome) -> None:
        name, alert = fix.transponder, self._alerts.get(fix.transponder)
        side = self._side(parted, fix)
        if side is not None and alert is not None and fix.time - side.time < _STEP:
            return
        if side is parted.b and alert is None and is_ais(name) and fix.time - side.time > _CHAIN:
            parted.b.fixes, parted.turns = 0, 0
            parted.since, parted.landing = fix.time, (fix.time, fix.lon, fix.lat)
        if side is not None:
            parted.turns += parted.on_a is not (side is parted.a)
            parted.on_a = side is parted.a
            side.move(fix)
        if fix.time - min(parted.a.time, parted.b.time) > self._after:
            del self._parted[name]
            if alert is not None:
                self._ended(fix, parted, alert, out)
        elif alert is None and min(parted.a.fixes, parted.b.fixes) >= self._least and parted.turns >= _TURNS:
            self._clashed(fix, parted, kinds, out)
        self._remember(name, out)

    def _clashed(self, fix: Fix, parted: _Parting, kinds: Kinds, out: Outcome) -> None:
        name = fix.transponder
        meant = kinds.matches(self._rule.scope, name, parted.since, message=fix.message)
        if not self.ruled.in_force(fix.time) or not meant:
            return
        subject = self.subject(name, parted.since)
        away = metres(parted.a.lon, parted.a.lat, parted.b.lon, parted.b.lat)
        details = {
            "parted_at": messages.fix(*parted.origin),
            "tracks": {"A": parted.a.told(), "B": parted.b.told()},
            "distance_m": round(away),
            "min_fixes": self._least,
        }
        text = messages.clashed(self.rule, subject.name, parted.since, away)
        place = fix.lon, fix.lat
        alert = self.teller.fire(
            out, When.of(fix), subject, "", parted.since, fix.time, text, details | self._thresholds(), place=place
        )
        self._tell(name, alert)

    def _due(self, transponder: int) -> int:
        parted = self._parted.get(transponder)
        return _FAR if parted is None else max(parted.a.received, parted.b.received) + self._after

    def _ended(self, fix: Fix, parted: _Parting, alert: Alert, out: Outcome) -> None:
        subject = self.subject(fix.transponder, alert.started_at)
        details = {"reason": "one_track_left", "tracks": {"A": parted.a.told(), "B": parted.b.told()}}
        text = messages.clash_over(self.rule, subject.name, fix.time)
        self.teller.change(
            out, When.of(fix), subject, "", alert, Event.RESOLVED, fix.time, text, details, place=(fix.lon, fix.lat)
        )
        del self._alerts[fix.transponder]

    def _quiet(self, transponder: int, tick: int, out: Outcome) -> None:
        alert, parted = self._alerts.get(transponder), self._parted.get(transponder)
        if alert is None or parted is None or (due := self._due(transponder)) >= tick:
            return
        at = max(parted.a.time, parted.b.time) + self._after
        self.over(transponder, alert, When.due(due, transponder), at, "quiet", out)
        self.drop(transponder)
        self.keep(transponder, None, out)
