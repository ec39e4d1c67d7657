"""Rules about what vessels do: silence, impossible tracks, distress, meetings, idling, port calls, fishing.

Defaults are published definitions, named beside them; where a definition leaves a number open it is a choice, and the
comment says so. Every one can be set. Speeds are knots, distances metres.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import Field, model_validator

from alerting.model import Severity, SubjectKind
from alerting.rules.base import BaseRule, Duration, Model, Positive, Slug, Text
from alerting.rules.scope import ScopedRule
from decoders.identity import MmsiClass, mmsi_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from alerting.registry.register import Registry, Vessel
    from alerting.rules.base import Fault
    from decoders.catalogue import Metric
    from geofence.zones import Zone

_MINUTE: Final = 60_000_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

Metres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Close = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]  # metres
Knots = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Zones = Annotated[tuple[Slug, ...], Field(strict=False)]
Globs = Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]


class VesselRule(ScopedRule):
    """A rule about what transponders on vessels do. Its ``scope`` must match when an alert is to fire.

    The registry is asked for the time at which began what the alert tells of.
    """

    def faults(self, metrics: Mapping[str, Metric], zones: Mapping[str, Zone]) -> list[Fault]:  # noqa: ARG002
        spoken = ((key, zone) for key in ("ports", "away_from") for zone in getattr(self, key, ()))
        return [((key,), f"unknown zone {zone!r}") for key, zone in spoken if zone not in zones]

    def unsaid(self) -> Iterator[Fault]:
        for key in ("ports", "away_from"):
            if key not in type(self).model_fields or key in self.model_fields_set:
                continue
            yield (), f"{key!r} is not said, so the quay counts as the sea; {key} = [] says that it is meant so"


class PortRule(VesselRule):
    """A rule to which it matters whether a vessel is in port: within ``port_distance`` of any of the zones."""

    ports: Zones = ()
    port_distance: Metres = 3000.0  # Global Fishing Watch, anchorages and voyages: in port within 3 km


class TiedRule(VesselRule):
    """A rule on the stretches from one fix to the next, along each of which the place is known at any time.

    It is not after a silence longer than ``longest_stretch``, nor over more than ``believable_distance`` that would
    have taken more than ``believable_speed``. A stretch at least ``measurable`` long says how fast the vessel was; over
    a shorter one errors of position would.
    """

    longest_stretch: Positive = 12 * _HOUR  # a choice: six VMS intervals (2 h: Decree 37/2024)
    believable_speed: Knots = 60.0  # a choice: a fifth above what `jump` calls impossible
    believable_distance: Metres = 2000.0  # a choice, as `min_distance` of `jump`
    measurable: Positive = 5 * _MINUTE  # a choice: at 2 kn 300 m, some ten times the error of a position


class Learning(Model):
    """From what it is learned how likely a vessel is heard somewhere (``alerting.vessels.coverage``).

    A vessel under way that transmits is heard in every interval. It has been missed in those between two fixes, if they
    are no more than ``longest`` apart, at ``min_distance`` or more, and not too far for ``max_speed``. Of a place
    nothing is said before ``enough`` intervals were seen there.
    """

    interval: Positive = 10 * _MINUTE  # three of AIS's longest interval, 3 min at anchor (ITU-R M.1371-5)
    vms_interval: Positive = 3 * _HOUR  # 2 h (Decree 37/2024), and a reserve
    longest: Positive = 6 * _HOUR  # a choice, as are all others
    vms_longest: Positive = _DAY
    min_distance: Metres = 500.0
    max_speed: Knots = 60.0
    enough: Annotated[int, Field(ge=1)] = 6


class GapStep(Model):
    """From when on a silence at sea is more severe."""

    after: Positive
    severity: Annotated[Severity, Field(strict=False)]


class GapRule(PortRule):
    """Nothing heard of a vessel for too long; the alert is open while that lasts.

    ``after`` counts at sea, ``after_in_port`` in port; for devices of a vessel monitoring system ``vms_after`` and
    ``vms_after_in_port``, if given. Only vessels followed for ``known_for`` before are missed. With
    ``min_probability``, a vessel is not missed where it would not have been heard (``alerting.vessels.coverage``).
    ``any_beacon``: a vessel is not missed while any transponder is heard that it carries by the registry; without, each
    transponder is missed by itself.
    """

    kind: Literal["gap"]
    after: Positive = 6 * _HOUR  # Decree 26/2019 Art. 44 (report every 6 h once lost); Global Fishing Watch, gaps
    after_in_port: Positive | None = 60 * _HOUR  # monitorfish, beacon malfunctions: 4 h at sea, 60 h in port
    vms_after: Positive | None = None
    vms_after_in_port: Positive | None = None
    known_for: Duration = _HOUR  # a choice
    min_probability: Share | None = None
    any_beacon: bool = True
    coverage: Learning = Learning()
    steps: Annotated[tuple[GapStep, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _steps_rise(self) -> GapRule:
        first = max(self.after, self.vms_after or 0)
        waits = [first, *(step.after for step in self.steps)]
        ranks = [self.severity.rank, *(step.severity.rank for step in self.steps)]
        for number, ((a, b), (less, more)) in enumerate(zip(pairwise(waits), pairwise(ranks), strict=True), 1):
            if b <= a:
                raise ValueError(f"step {number}: steps must come after `after`, each after the one before")
            if more < less:
                raise ValueError(f"step {number}: steps must not become less severe")
        return self

    def limit(self, *, vms: bool, in_port: bool) -> int | None:
        """How long a silence may last, microseconds; None: for ever."""
        if in_port:
            return (self.vms_after_in_port if vms else None) or self.after_in_port
        return (self.vms_after if vms else None) or self.after

    @property
    def shortest(self) -> int:
        """A time within which no silence is too long."""
        limits = (self.after, self.after_in_port, self.vms_after, self.vms_after_in_port)
        return min(limit for limit in limits if limit is not None)


class FeedSilentRule(BaseRule):
    """Nothing from a source by which several vessels were heard: one incident, and no gap of any of them.

    While the source is silent the silence of vessels last heard by it does not count (``gap``), nor in the first
    ``grace`` after it is back.
    """

    subject: ClassVar[SubjectKind] = SubjectKind.SOURCE

    kind: Literal["feed_silent"]
    sources: Globs = ("*",)
    after: Positive = 30 * _MINUTE  # a choice, as are the next two
    min_vessels: Annotated[int, Field(ge=1)] = 3  # heard by it last within `heard_within` before it fell silent
    heard_within: Positive = 3 * _HOUR
    grace: Duration = 30 * _MINUTE


class TrackRule(VesselRule):
    """What two rules on impossible tracks share: when two fixes cannot be of one vessel."""

    max_speed: Knots = 50.0  # domain page 2.11: impossible speed between fixes, as Global Fishing Watch filters
    min_distance: Metres = 2000.0  # a choice: below it, positioning and time stamps may be to blame
    settle: Duration = 10 * _MINUTE  # a choice: three of the longest AIS reporting intervals (ITU-R M.1371-5, 3 min)
    over_after: Positive = 6 * _HOUR  # a choice: three VMS intervals; of two tracks one is gone


class JumpRule(TrackRule):
    """A vessel is where it cannot have come to, and goes on from there.

    Told when a later fix agrees with the new place, ``settle`` or more after the jump, and none came from the old one.
    A single outlier is told of by nobody.
    """

    kind: Literal["jump"]
    resolve_after: Positive = _HOUR


class IdentityClashRule(TrackRule):
    """Two vessels under one identity: fixes go to and fro between two tracks that no one vessel can sail.

    Told once each track has ``min_fixes`` fixes since they parted, in turns; over when one of them is not heard for
    ``over_after``.
    """

    kind: Literal["identity_clash"]
    min_fixes: Annotated[int, Field(ge=2)] = 3  # a choice


class DistressRule(VesselRule):
    """AIS-SART, MOB and EPIRB-AIS transmitters, navigational status 14, and safety messages that speak of distress.

    A test of such a device is told with ``test_severity``. Keywords are found whatever their case, as whole words.
    """

    kind: Literal["distress"]
    keywords: Annotated[tuple[Text, ...], Field(strict=False)] = (
        "SART ACTIVE",  # IEC 61097-14; MOB and EPIRB likewise: ITU-R M.1371-5, Annex 9
        "MOB ACTIVE",
        "EPIRB ACTIVE",
        "MAYDAY",
        "SOS",
        "SINKING",
        "MAN OVERBOARD",
        "CAP CUU",
    )
    test_keywords: Annotated[tuple[Text, ...], Field(strict=False)] = ("SART TEST", "MOB TEST", "EPIRB TEST")
    test_severity: Annotated[Severity, Field(strict=False)] = Severity.INFO
    resolve_after: Positive = _HOUR  # a choice

    def watches(self, transponder: int, ship_type: int | None, vessel: Vessel | None, time: int) -> bool | None:
        """Whether it is about who sent something; those that are no vessels are, unless they are taken out."""
        if mmsi_class(transponder) in (MmsiClass.SHIP, MmsiClass.UNKNOWN):
            return self.scope.matches(transponder, ship_type, vessel, time)
        out = self.scope.exclude
        return out is None or out.selects(transponder, None, vessel, time) is False

    def dropped(self, transponder: int, registry: Registry, time: int) -> bool:
        vessel = registry.vessel(transponder, time) if self.scope.asks_registry else None
        return self.scope.asks_registry and self.watches(transponder, None, vessel, time) is False


class EncounterRule(PortRule, TiedRule):
    """Vessels close together and slow for long, away from ports: a meeting at sea.

    Global Fishing Watch, encounters (Miller et al. 2018): within 500 m, for 2 h, both below 2 kn, 10 km from a coastal
    anchorage. Transponders on one hull by the registry do not meet. ``mixed``: nor does an AIS transponder with a VMS
    device of which the registry does not say on whose hull they are, unless this is set. MMSIs of a form that is
    nobody's, as net buoys have, are passed over unless ``scope`` lists them.
    """

    kind: Literal["encounter"]
    port_distance: Metres = 10_000.0
    distance: Close = 500.0
    for_: Positive = Field(default=2 * _HOUR, alias="for")
    max_speed: Knots = 2.0
    max_gap: Positive = 5 * _HOUR  # a choice: two VMS intervals and a reserve
    min_fixes: Annotated[int, Field(ge=2)] = 3  # a choice: times at which both places are known
    mixed: bool = False


class LoiteringRule(TiedRule):
    """A vessel that idles far out: blocks of an hour, each with a mean speed below the limit.

    Global Fishing Watch, loitering: hourly blocks below 2 kn, 20 nm from shore; 4 h for carriers in RFMO reports. The
    distance is measured from the zones of ``away_from``. A block's way is that between its fixes, or what the reported
    speeds come to if that is more.
    """

    kind: Literal["loitering"]
    away_from: Zones = ()
    distance: Metres = 37_040.0  # 20 nm
    max_speed: Knots = 2.0
    block: Positive = _HOUR
    for_: Positive = Field(default=4 * _HOUR, alias="for")
    max_gap: Positive = 5 * _HOUR  # a choice


class PortVisitRule(VesselRule):
    """A vessel came to one of the ports, and stopped there or was not heard for a while.

    Global Fishing Watch, anchorages and voyages: in within 3 km, out beyond 4 km, stopped below 0.2 kn until above
    0.5 kn, or a gap of more than 4 h.
    """

    kind: Literal["port_visit"]
    ports: Annotated[Zones, Field(min_length=1)]
    enter: Metres = 3000.0
    exit: Metres = 4000.0
    stop_speed: Knots = 0.2
    start_speed: Knots = 0.5
    gap: Positive = 4 * _HOUR
    measurable: Positive = 5 * _MINUTE  # a choice: over a shorter stretch errors of position would be its speed

    @model_validator(mode="after")
    def _hysteresis(self) -> PortVisitRule:
        if self.exit < self.enter or self.start_speed < self.stop_speed:
            raise ValueError("exit must not be less than enter, nor start_speed less than stop_speed")
        return self


class CarriedBeaconsRule(PortRule, TiedRule):
    """Several identities that move as one body while under way: beacons of other vessels carried on one hull.

    No published definition; every number is a choice. ``tolerance`` is between two positions at one time, ``path``
    and ``for`` what they must have kept within it over. ``mixed``: see ``encounter``. Who tows is passed over by ship
    type (31, 32, 52; ITU-R M.1371-5, table 53), unless ``scope`` names types, and by navigational status 11 and 12.
    """

    kind: Literal["carried_beacons"]
    tolerance: Close = 100.0
    path: Metres = 9260.0  # 5 nm
    for_: Positive = Field(default=2 * _HOUR, alias="for")
    min_speed: Knots = 2.0
    min_fixes: Annotated[int, Field(ge=2)] = 3
    max_gap: Positive = 5 * _HOUR
    mixed: bool = False


class FishingRule(PortRule, TiedRule):
    """A vessel that is likely fishing: it says so (navigational status 7), or moves as with gear out.

    What it says counts below ``said_below``.
    Global Fishing Watch, fishing events: consecutive fishing fixes; split over 10 km or 2 h, joined within 1 h and
    2 km; dropped under 20 min, with 5 fixes or fewer, under 0.5 km, or at a mean speed of 10 kn or more. With intervals
    of an hour or more the number of fixes says little: ``min_fixes_slow`` counts instead.
    """

    kind: Literal["fishing"]
    min_speed: Annotated[float, Field(ge=0)] = 0.5  # the range is a choice: trawls, seines and longlines
    max_speed: Knots = 5.0
    said_below: Knots = 6.0  # a choice: status 7 is left set by many that steam
    min_turning: Annotated[float, Field(ge=0, le=180)] = 15.0  # degrees a fix, mean: a choice
    split_distance: Metres = 10_000.0
    split_after: Positive = 2 * _HOUR + 10 * _MINUTE  # 2 h, and a reserve for VMS that reports every 2 h
    join_after: Positive = _HOUR
    join_distance: Metres = 2000.0
    for_: Positive = Field(default=20 * _MINUTE, alias="for")
    min_fixes: Annotated[int, Field(ge=2)] = 6
    min_fixes_slow: Annotated[int, Field(ge=2)] = 3
    min_path: Metres = 500.0
    max_mean_speed: Knots = 10.0


#: Every kind of rule that a detector judges by.
DetectorRule = (
    GapRule
    | FeedSilentRule
    | JumpRule
    | IdentityClashRule
    | DistressRule
    | EncounterRule
    | CarriedBeaconsRule
    | LoiteringRule
    | PortVisitRule
    | FishingRule
)
