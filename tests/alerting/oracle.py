"""The engine's oracle: one row after another, plain dictionaries, no arrays, no batches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from alerting.model import Event
from alerting.registry.register import UNREGISTERED, Registry
from alerting.rules import AHEAD, Condition, NoDataRule, Rule, ThresholdRule, ZoneRule, window
from geofence.sphere import KNOT, metres

if TYPE_CHECKING:
    from geofence.zones import Zone

#: (rule id, subject id, key, what happened, at, started_at, value)
Told = tuple[str, int, str, str, int, int, float | None]


def happened(event: str, severity: str) -> str:
    """What a transition is, in one word, or two where it is about anything but a warning."""
    return str(event) if severity == "warning" else f"{event} {severity}"


def _between(first: str, text: str, end: str, *, last: bool) -> bool:
    """Whether a text lies in a span of such texts that may run over its end, which belongs to it or not."""
    before_end = text <= end if last else text < end
    return first <= text and before_end if first <= end else first <= text or before_end


@dataclass(frozen=True)
class Item:
    """One row on the wire. ``subject`` is a device or transponder; ``what`` a metric name or a ship type.

    Or, as "deaf", that nothing could be heard from ``time`` to ``received``.
    """

    kind: str  # "reading" | "position" | "static" | "deaf"
    time: int
    received: int
    subject: int
    what: Any = None
    value: float = 0.0
    lon: float = 0.0
    lat: float = 0.0
    sog: float | None = None
    cog: float | None = None


@dataclass
class Oracle:
    rules: list[Rule]
    zones: list[Zone]
    devices: dict[int, str]
    registry: Registry = UNREGISTERED
    told: list[Told] = field(default_factory=list)
    late: int = 0
    last_time: dict[Any, int] = field(default_factory=dict)
    heard: dict[Any, int] = field(default_factory=dict)
    levels: dict[Any, dict[str, Any]] = field(default_factory=dict)
    silent: dict[Any, tuple[int, int]] = field(default_factory=dict)
    patience: dict[tuple[int, int], int] = field(default_factory=dict)  # (rule, device) -> deadline
    fixes: dict[int, tuple[int, float, float]] = field(default_factory=dict)
    types: dict[int, tuple[int, int]] = field(default_factory=dict)
    intervals: dict[Any, list[tuple[int, int]]] = field(default_factory=dict)
    deaf: list[tuple[int, int]] = field(default_factory=list)
    visits: dict[Any, dict[str, Any]] = field(default_factory=dict)
    sides: dict[Any, tuple[bool | None, list[Item]]] = field(default_factory=dict)  # counts as in; fixes against it
    touches: dict[Any, tuple[int, int | None]] = field(default_factory=dict)  # on a line: from which side, since when

    def feed(self, item: Item) -> None:
        if item.kind == "deaf":
            self._deaf(item.time, item.received)
            return
        self.tick(item.received)
        found: list[tuple[Any, Told]] = []
        {"reading": self._reading, "position": self._position, "static": self._static}[item.kind](item, found)
        self.told += [t for _, t in sorted(found, key=lambda f: f[0])]

    def _deaf(self, since: int, until: int) -> None:
        """Stop the clocks that are running."""
        if until - since <= 60_000_000:
            return
        for (n, _), ladder in self.levels.items():
            rule = self.rules[n]
            assert isinstance(rule, ThresholdRule)
            for level in ladder["levels"].values():
                level["due"] = self._later(level["due"], rule.for_, since, until)
        for place, due in self.patience.items():
            rule = self.rules[place[0]]
            assert isinstance(rule, NoDataRule)
            self.patience[place] = self._later(due, self._waits(rule, place[1]), since, until)
        self.deaf.append((since, until))

    def _waits(self, rule: NoDataRule, device: int) -> int:
        """How long a silence of a device may be: of the longest of two days, the third, rounded up and multiplied."""
        if isinstance(rule.after, int):
            return rule.after
        assert rule.at_least
        assert rule.at_most
        days: dict[int, list[int]] = {}
        for since, until in self.intervals.get((device, rule.metric), []):
            heard_through = all(end <= since or start >= until for start, end in self.deaf)
            if until - since <= rule.at_most and heard_through:
                days.setdefault(until // 86_400_000_000, []).append(until - since)
        longest = sorted((i for day in sorted(days)[-2:] for i in sorted(days[day])[-3:]), reverse=True)
        if len(longest) < 3:
            return rule.at_most
        seconds = 1.0
        while round(1_000_000 * seconds) < longest[2]:
            seconds *= 1.25
        return min(max(round(rule.factor * round(1_000_000 * seconds)), rule.at_least), rule.at_most)

    def _later(self, due: int, duration: int, since: int, until: int) -> int:
        return due if due < since else max(due + until - since, until + min(duration, 600_000_000))

    def tick(self, now: int) -> None:
        """Everything whose deadline lies before ``now``, in order."""
        found: list[tuple[Any, Told]] = []
        self._levels_due(now, found)
        for (device, metric), heard in self.heard.items():
            for n, rule in enumerate(self.rules):
                if not isinstance(rule, NoDataRule) or (n, device) in self.silent or rule.metric != metric:
                    continue
                due = self.patience.get((n, device), now)
                while due < now and not self._in_force(rule, due):
                    due = (due // 60_000_000 + 1) * 60_000_000
                if rule.applies_to(self.devices[device]) and due < now:
                    self.silent[n, device] = (heard, due)
                    told = (rule.id, device, metric, "firing", due, heard, None)
                    found.append(((due, 2, device, n, metric, 1), told))
        for (n, ship, zone), visit in list(self.visits.items()):
            rule = self.rules[n]
            assert isinstance(rule, ZoneRule)
            if rule.condition in {Condition.LEFT, Condition.CROSSED} and visit["received"] + rule.resolve_after < now:
                due = visit["received"] + rule.resolve_after
                at = visit["last"] + rule.resolve_after
                told = (rule.id, ship, zone, "resolved", at, visit["start"], None)
                found.append(((due, 1, ship, n, zone, 0), told))
                del self.visits[n, ship, zone]
        self.told += [t for _, t in sorted(found, key=lambda f: f[0])]

    def _levels_due(self, now: int, found: list[Any]) -> None:
        """Levels that nothing has contradicted for long enough."""
        for (n, device), ladder in list(self.levels.items()):
            rule = self.rules[n]
            assert isinstance(rule, ThresholdRule)
            waiting = [level for level in ladder["levels"].values() if not level["on"]]
            for due in sorted({level["due"] for level in waiting if level["due"] < now}):
                for step, level in list(ladder["levels"].items()):
                    if level["due"] == due and not level["on"]:
                        level["on"] = self._in_force(rule, level["since"] + rule.for_)
                        value = level["value"]
                        if not level["on"]:
                            del ladder["levels"][step]
                self._alert(n, device, 0, value, (due, 2, device, n, rule.metric, 0), found)

    def _in_force(self, rule: Rule, time: int) -> bool:
        start, end = rule.window
        sign = -1 if rule.utc_offset[0] == "-" else 1
        east = sign * timedelta(hours=int(rule.utc_offset[1:3]), minutes=int(rule.utc_offset[4:]))
        there = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time) + east
        day, clock = there.strftime("%m-%d"), there.strftime("%H:%M")
        return (
            start <= time < end
            and (rule.months is None or there.month in rule.months)
            and (rule.season is None or _between(rule.season.from_, day, rule.season.to, last=True))
            and (rule.hours is None or any(_between(h[:5], clock, h[6:], last=False) for h in rule.hours))
        )

    # --- readings

    def _reading(self, item: Item, found: list[Any]) -> None:
        key = (item.subject, item.what)
        if key in self.last_time and item.time <= self.last_time[key]:
            self.late += 1
            return
        self.last_time[key] = item.time
        if key in self.heard:
            self.intervals.setdefault(key, []).append((self.heard[key], item.received))
        self.heard[key] = item.received
        for n, rule in enumerate(self.rules):
            if not isinstance(rule, ThresholdRule | NoDataRule) or rule.metric != item.what:
                continue
            if not rule.applies_to(self.devices[item.subject]):
                continue
            if isinstance(rule, NoDataRule):
                self.patience[n, item.subject] = item.received + self._waits(rule, item.subject)
            if isinstance(rule, ThresholdRule):
                self._level(n, rule, item, found)
            elif (n, item.subject) in self.silent:
                heard, _ = self.silent.pop((n, item.subject))
                told = (rule.id, item.subject, rule.metric, "resolved", item.received, heard, None)
                found.append(((n, rule.metric, 0), told))

    def _level(self, n: int, rule: ThresholdRule, item: Item, found: list[Any]) -> None:
        above = rule.direction.value == "above"
        in_force = self._in_force(rule, item.time)
        ladder = self.levels.setdefault((n, item.subject), {"levels": {}, "alert": None})
        for step, rung in enumerate(rule.rungs):
            beyond = item.value > rung.raise_ if above else item.value < rung.raise_
            holds = in_force and (beyond or (rule.inclusive and item.value == rung.raise_))
            over = not holds
            if in_force and rung.clear is not None:
                over = item.value <= rung.clear if above else item.value >= rung.clear
            level = ladder["levels"].get(step)
            if level is None:
                if holds:
                    level = {"since": item.time, "received": item.received, "value": item.value, "on": not rule.for_}
                    level |= {"due": item.received + rule.for_, "held": item.time}
                    ladder["levels"][step] = level
            elif not in_force or (not level["on"] and not holds):
                del ladder["levels"][step]
            elif not over:
                level["on"] = level["on"] or item.time - level["since"] >= rule.for_
                level["held"] = item.time
            elif item.time - level["held"] >= rule.keep_firing_for:
                del ladder["levels"][step]
        self._alert(n, item.subject, item.time, item.value, (n, rule.metric, 0), found)

    def _alert(self, n: int, device: int, time: int, value: float, order: Any, found: list[Any]) -> None:
        """Have the alert follow its levels: as severe as the worst that is on."""
        rule, ladder = self.rules[n], self.levels[n, device]
        assert isinstance(rule, ThresholdRule)
        on = [step for step, level in ladder["levels"].items() if level["on"]]
        alert = ladder["alert"]
        if alert is None:
            if not on:
                return
            start = min(ladder["levels"][step]["since"] for step in on)
            alert = {"start": start, "at": start + rule.for_, "step": max(on)}
            ladder["alert"], what = alert, "firing"
        elif not on:
            alert["at"], what = max(alert["at"], time), "resolved"
            ladder["alert"] = None
        elif max(on) == alert["step"]:
            return
        else:
            up = max(on) > alert["step"]
            what = "escalated" if up else "deescalated"
            alert["step"] = max(on)
            alert["at"] = max(alert["at"], ladder["levels"][max(on)]["since"] + rule.for_ if up else time)
        said = happened(what, rule.rungs[alert["step"]].severity)
        found.append((order, (rule.id, device, rule.metric, said, alert["at"], alert["start"], value)))

    # --- zones

    def _around(self, lon: float, lat: float) -> set[str]:
        return {z.id for z in self.zones if not z.is_line and z.geometry.intersects(shapely.Point(lon, lat))}

    def _fences(self, *conditions: Condition) -> list[tuple[int, ZoneRule, Zone]]:
        return [
            (n, rule, zone)
            for n, rule in enumerate(self.rules)
            if isinstance(rule, ZoneRule) and rule.condition in conditions
            for zone in self.zones
            if zone.id in rule.zones
        ]

    def _zone_in_force(self, rule: ZoneRule, zone: Zone, time: int) -> bool:
        start, end = window(zone.valid_from, zone.valid_to, rule.utc_offset)
        return self._in_force(rule, time) and start <= time < end

    def _type(self, ship: int) -> int | None:
        return self.types.get(ship, (0, 0))[1] or None

    def _about(self, rule: ZoneRule, ship: int, began: int) -> bool | None:
        """Whether a rule is about who carried a transponder then: of those who did, the last to get it."""
        there = [one for one in self.registry.carried.get(ship, ()) if one.since <= began < one.until]
        vessel = max(there, key=lambda one: one.since).vessel if there else None
        return rule.scope.matches(ship, self._type(ship), vessel, began)

    def _visit(
        self, n: int, rule: ZoneRule, zone: Zone, ship: int, start: int, at: int, found: list[Any], step: int = 0
    ) -> None:
        self.visits[n, ship, zone.id] = {"start": start, "at": at, "step": step}
        severity = rule.severities[step] if rule.condition is Condition.APPROACHING else rule.severity
        told = (rule.id, ship, zone.id, happened(Event.FIRING, severity), at, start, None)
        found.append(((n, zone.id, 1), told))

    def _static(self, item: Item, found: list[Any]) -> None:
        newest, known = self.types.get(item.subject, (item.time, 0))
        if item.time < newest:
            return
        self.types[item.subject] = (item.time, known if item.what is None else item.what)
        if item.what is None or item.what == known:
            return
        ship = item.subject
        last = self.fixes.get(ship)
        for n, rule, zone in self._fences(*Condition):
            key = (n, ship, zone.id)
            visit = self.visits.get(key)
            _, streak = self.sides.get(key, (None, []))
            matches = self._about(rule, ship, visit["start"] if visit else streak[0].time if streak else item.time)
            if visit is None or visit["at"] is None:
                if matches is False:
                    self.sides.pop(key, None)
                    self.visits.pop(key, None)
                    self.touches.pop(key, None)
                elif matches and visit is not None:
                    self._awaited(key, rule, zone, item, last, found)
            if last is not None and rule.condition in {Condition.INSIDE, Condition.DWELL}:
                self._is_in(key, rule, zone, item, last, found)

    def _is_in(self, key: Any, rule: ZoneRule, zone: Zone, item: Item, last: Any, found: list[Any]) -> None:
        """The ship type is known now: what of where it was last?"""
        matches = self._about(rule, item.subject, last[0])
        side, _ = self.sides.get(key, (zone.id in self._around(*last[1:]), []))
        if key in self.visits or not side or matches is False or not self._zone_in_force(rule, zone, last[0]):
            return
        if rule.condition is Condition.DWELL:
            self.visits[key] = {"start": last[0], "at": None}
        elif matches:
            self._visit(key[0], rule, zone, item.subject, last[0], max(last[0], item.time), found)

    def _awaited(self, key: Any, rule: ZoneRule, zone: Zone, item: Item, last: Any, found: list[Any]) -> None:
        """A visit that waited has found its ship type."""
        start = self.visits[key]["start"]
        if rule.condition is Condition.ENTERED:
            self._visit(key[0], rule, zone, item.subject, start, max(start, item.time), found)
        elif last is not None and last[0] - start >= rule.for_ and not any(self._outs(key, rule, zone)):
            self._visit(key[0], rule, zone, item.subject, start, max(start + rule.for_, item.time), found)

    def _outs(self, key: Any, rule: ZoneRule, zone: Zone) -> list[bool]:
        """Of fixes against the side, which are out."""
        _, streak = self.sides.get(key, (None, []))
        return [self._says(rule, zone, fix, None) == "out" for fix in streak]

    def _says(self, rule: ZoneRule, zone: Zone, item: Item, old: Any) -> str:
        if not zone.geometry.intersects(shapely.Point(item.lon, item.lat)):
            near = rule.exit_buffer_m > 0 and _metres(zone.geometry, item.lon, item.lat) <= rule.exit_buffer_m
            return "between" if near else "out"
        if rule.condition is not Condition.SPEED:
            return "in"
        sog = item.sog
        if sog is None and old is not None and item.time - old[0] <= 6 * 3600_000_000:
            sog = metres(old[1], old[2], item.lon, item.lat) / KNOT / ((item.time - old[0]) / 1e6)
        if sog is None:
            return "between"
        slow = rule.min_sog is not None and sog < rule.min_sog
        return "out" if slow or (rule.max_sog is not None and sog > rule.max_sog) else "in"

    def _position(self, item: Item, found: list[Any]) -> None:
        ship, old = item.subject, self.fixes.get(item.subject)
        if old is not None and item.time <= old[0]:
            self.late += 1
            return
        self.fixes[ship] = (item.time, item.lon, item.lat)
        for n, rule, zone in self._fences(*(set(Condition) - {Condition.CROSSED, *AHEAD})):
            self._fence(n, rule, zone, item, old, found)
        for n, rule, zone in self._fences(Condition.APPROACHING):
            self._approach(n, rule, zone, item, old, found)
        if old is None:
            return
        self._crosses(item, old, found)

    def _fence(self, n: int, rule: ZoneRule, zone: Zone, item: Item, old: Any, found: list[Any]) -> None:
        key = (n, item.subject, zone.id)
        visit, matches = self.visits.get(key), self._about(rule, item.subject, item.time)
        lasting = rule.condition is not Condition.LEFT
        if not self._zone_in_force(rule, zone, item.time):
            self.sides.pop(key, None)
            if lasting:
                self._over(key, rule, item, found)
            return
        side, streak = self.sides.get(key) or (self._where(rule, zone, old), [])
        if lasting and visit is not None:
            side = True
        if matches is False and visit is None:
            self.sides.pop(key, None)
            return
        was, says = side, self._says(rule, zone, item, old)
        streak = [] if says in {"between", "in" if side else "out"} else [*streak, item]
        enough = rule.settle is None and rule.settle_fixes is None
        enough |= rule.settle is not None and bool(streak) and item.time - streak[0].time >= rule.settle
        enough |= rule.settle_fixes is not None and len(streak) >= rule.settle_fixes
        since, before = item.time, streak
        if streak and enough:
            side, since, streak = not side, streak[0].time, []
        # None is kept only while nothing is known but fixes on one side.
        self.sides[key] = (side if side is not None or streak else False, streak)
        if was and not side:
            if lasting:
                self._over(key, rule, item, found)
            else:
                self._happened(n, rule, zone, item, since, found, at=item.time)
        elif side and lasting:
            self._in(key, rule, zone, item, since, came=not was and was is not None, fixes=before, found=found)

    def _where(self, rule: ZoneRule, zone: Zone, old: Any) -> bool | None:
        if old is None:
            return None
        return rule.condition is not Condition.SPEED and zone.id in self._around(*old[1:])

    def _in(
        self,
        key: Any,
        rule: ZoneRule,
        zone: Zone,
        item: Item,
        since: int,
        *,
        came: bool,
        fixes: list[Item],
        found: list[Any],
    ) -> None:
        """It counts as in after this fix."""
        n, ship, _ = key
        waits = rule.condition in {Condition.DWELL, Condition.SPEED}
        matches = self._about(rule, ship, self.visits[key]["start"] if key in self.visits else since)
        if key not in self.visits:
            if matches is False or (rule.condition is Condition.ENTERED and not came):
                return
            if rule.condition is Condition.INSIDE and not matches:
                return
            if matches and not waits:
                self._visit(n, rule, zone, ship, since, item.time, found)
                return
            self.visits[key] = {"start": since, "at": None}
            fixes = []
        visit = self.visits[key]
        ripe = waits and visit["at"] is None and not fixes and item.time - visit["start"] >= rule.for_
        if ripe and matches:
            self._visit(n, rule, zone, ship, visit["start"], visit["start"] + rule.for_, found)

    def _approach(self, n: int, rule: ZoneRule, zone: Zone, item: Item, old: Any, found: list[Any]) -> None:
        key, within = (n, item.subject, zone.id), zone.id in self._around(item.lon, item.lat)
        visit, knot = self.visits.get(key), old is None or old[0] // 30_000_000 != item.time // 30_000_000
        if not self._zone_in_force(rule, zone, item.time):
            self._over(key, rule, item, found)
            return
        assert rule.within
        step, says = 2, "in"
        if not within:
            if visit is not None and visit["step"] == 2:
                near = rule.exit_buffer_m > 0 and _metres(zone.geometry, item.lon, item.lat) <= rule.exit_buffer_m
                says = "between" if near else "out"
            elif not knot:
                return
            else:
                due = _due(rule.within * 1.5, zone, item, old, rule.min_sog or 1.0)
                soon = (rule.imminent or 0) * (1.5 if visit is not None and visit["step"] == 1 else 1)
                step = int(due is not None and due <= soon)
                says = "between" if due is None else "in" if due <= rule.within else "between" if due < FAR else "out"
        if visit is None:
            came = within and old is not None and zone.id not in self._around(*old[1:])
            starts = says == "in" and (came or not within)
            if starts and self._about(rule, item.subject, item.time):
                self._visit(n, rule, zone, item.subject, item.time, item.time, found, step)
            return
        _, streak = self.sides.get(key, (True, []))
        streak = [*streak, item] if says == "out" else []
        self.sides[key] = (True, streak)
        if streak and (rule.settle is None or item.time - streak[0].time >= rule.settle):
            self._over(key, rule, item, found)
        elif says == "in" and step != visit["step"]:
            ranks = [severity.rank for severity in rule.severities]
            change = ranks[step] - ranks[visit["step"]]
            visit["step"] = step
            if change:
                event = Event.ESCALATED if change > 0 else Event.DEESCALATED
                said = happened(event, rule.severities[step])
                found.append(((n, zone.id, 1), (rule.id, item.subject, zone.id, said, item.time, visit["start"], None)))

    def _over(self, key: Any, rule: ZoneRule, item: Item, found: list[Any]) -> None:
        visit = self.visits.pop(key, None)
        self.sides.pop(key, None)
        if visit is not None and visit["at"] is not None:
            approach = rule.condition is Condition.APPROACHING
            said = happened(Event.RESOLVED, rule.severities[visit["step"]] if approach else rule.severity)
            told = (rule.id, key[1], key[2], said, max(item.time, visit["at"]), visit["start"], None)
            found.append(((key[0], key[2], 0), told))

    def _crosses(self, item: Item, old: tuple[int, float, float], found: list[Any]) -> None:
        seconds = (item.time - old[0]) / 1e6
        here, there = old[1:], (item.lon, item.lat)
        was, now = self._around(*here), self._around(*there)
        if seconds > 6 * 3600 or metres(*here, *there) > 60 * KNOT * seconds:
            for key in [key for key in self.touches if key[1] == item.subject]:
                del self.touches[key]
            return
        for n, rule, zone in self._fences(Condition.CROSSED):
            if zone.is_line:
                self._goes_over(n, rule, zone, item, old, found)
        if here == there:
            return
        line = shapely.LineString([here, there])
        for n, rule, zone in self._fences(Condition.CROSSED):
            if not zone.is_line and zone.id not in was | now and zone.geometry.intersects(line):
                corners = shapely.get_coordinates(zone.geometry.intersection(line)).tolist()
                along = min(line.project(shapely.Point(corner), normalized=True) for corner in corners)
                self._happened(n, rule, zone, item, old[0] + round(along * (item.time - old[0])), found)

    def _goes_over(self, n: int, rule: ZoneRule, zone: Zone, item: Item, old: Any, found: list[Any]) -> None:
        """Over a line that runs due east, farther than anyone goes: what is north of it is left."""
        key, height = (n, item.subject, zone.id), zone.geometry.bounds[1]
        came, since = (old[2] > height) - (old[2] < height), None
        if came == 0:
            came, since = self.touches.pop(key, (0, None))
        went = (item.lat > height) - (item.lat < height)
        if came in {0, went}:
            return
        if since is None:
            since = old[0] + round((height - old[2]) / (item.lat - old[2]) * (item.time - old[0]))
        if went == 0:
            if self._about(rule, item.subject, item.time) is not False:
                self.touches[key] = (came, since)
        elif rule.direction.value in {"either", "left" if went > 0 else "right"}:
            self._happened(n, rule, zone, item, since, found)

    def _happened(
        self, n: int, rule: ZoneRule, zone: Zone, item: Item, time: int, found: list[Any], *, at: int | None = None
    ) -> None:
        if not self._zone_in_force(rule, zone, time) or not self._about(rule, item.subject, time):
            return
        visit = self.visits.get((n, item.subject, zone.id))
        if visit is None:
            self._visit(n, rule, zone, item.subject, time, at or time, found)
            visit = self.visits[n, item.subject, zone.id]
        visit["last"], visit["received"] = at or time, item.received


FAR = 1e300


def _due(far: float, zone: Zone, item: Item, old: Any, slow: float) -> float | None:
    """Microseconds to the zone at the present course and speed; FAR if more than ``far``; None if it is not known."""
    sog, cog = item.sog, item.cog
    if old is not None and item.time - old[0] <= 6 * 3600_000_000:
        if sog is None:
            sog = metres(old[1], old[2], item.lon, item.lat) / KNOT / ((item.time - old[0]) / 1e6)
        if cog is None and old[1:] != (item.lon, item.lat):
            # The course of the great circle where it arrives: straight on from a point just before.
            a, b = _unit(*old[1:]), _unit(item.lon, item.lat)
            onward = b * (a @ b) - a
            north, east = np.cross(b, np.cross([0, 0, 1], b)), np.cross([0, 0, 1], b)
            cog = math.degrees(math.atan2(onward @ east, onward @ north)) % 360
    if sog is None or cog is None:
        return None
    if sog < slow:
        return FAR
    b = _unit(item.lon, item.lat)
    east = np.cross([0, 0, 1], b) / np.linalg.norm(np.cross([0, 0, 1], b))
    ahead = math.cos(math.radians(cog)) * np.cross(b, east) + math.sin(math.radians(cog)) * east
    angle = sog * KNOT * far / 1e6 / 6_371_008.8
    end = b * math.cos(angle) + ahead * math.sin(angle)
    way = shapely.LineString(
        [(item.lon, item.lat), (math.degrees(math.atan2(end[1], end[0])), math.degrees(math.asin(end[2])))]
    )
    if not way.length or not way.intersects(zone.geometry):
        return FAR
    meeting = shapely.get_coordinates(way.intersection(zone.geometry)).tolist()
    return min(way.project(shapely.Point(place), normalized=True) for place in meeting) * far


def _unit(lon: float, lat: float) -> Any:
    x, y = math.radians(lon), math.radians(lat)
    return np.array([math.cos(y) * math.cos(x), math.cos(y) * math.sin(x), math.sin(y)])


@cache
def _metres(area: shapely.Polygon, lon: float, lat: float) -> float:
    """To the nearest of many places along the boundary."""
    return min(metres(lon, lat, x, y) for x, y in shapely.get_coordinates(area.boundary.segmentize(0.002)).tolist())
