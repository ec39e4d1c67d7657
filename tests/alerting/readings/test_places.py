"""Rules on devices by group and place: who stands where by the registry, and nobody who is not in it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from alerting.readings.places import Places
from alerting.readings.watchers import Watchers
from alerting.registry.register import Registry, Site
from alerting.rules import RULE, ThresholdRule
from decoders.identity import metric_id
from geofence.zones import Zone

ZONES = [
    Zone("lagoon", "L", "L", "t", shapely.box(107.5, 16.3, 107.7, 16.5)),
    Zone("sea", "S", "S", "t", shapely.box(107.7, 16.3, 109.0, 18.0)),
    Zone("line", "X", "X", "t", shapely.LineString([(107.0, 16.0), (108.0, 17.0)])),
]
GROUPS = ["river", "RIVER", "sea", "air"]
places = st.tuples(st.sampled_from([107.4, 107.5, 107.6, 107.7, 108.2]), st.sampled_from([16.2, 16.3, 16.4, 16.5]))


def rule(**fields: Any) -> ThresholdRule:
    base = {"id": "r", "title": {"en": "T", "vi": "T"}, "severity": "info", "source": "s", "kind": "threshold"}
    made = RULE.validate_python(base | {"metric": "ph", "unit": "1", "raise": 9.0} | fields)
    assert isinstance(made, ThresholdRule)
    return made


@given(
    st.none() | st.lists(st.sampled_from(GROUPS), min_size=1),
    st.none() | st.tuples(places, st.sampled_from([1.0, 12_000.0, 300_000.0])),
    st.none() | st.lists(st.sampled_from(["lagoon", "sea"]), min_size=1),
    st.sampled_from([["*"], ["a*"], ["b"]]),
    st.none() | st.builds(Site, groups=st.frozensets(st.sampled_from(GROUPS))),
    st.none() | places,
)
def test_a_device_must_be_in_a_group_and_at_a_place_that_is_asked_for(
    groups: list[str] | None,
    near: tuple[tuple[float, float], float] | None,
    zones: list[str] | None,
    devices: list[str],
    site: Site | None,
    place: tuple[float, float] | None,
) -> None:
    said: dict[str, Any] = {"devices": devices}
    expected = devices != ["b"]
    if site is not None and place is not None:
        site = Site(*place, site.groups)
    if groups is not None:
        said["groups"] = groups
        mine = set() if site is None else {group.lower() for group in site.groups}
        expected &= bool(mine & {group.lower() for group in groups})
    if near is not None:
        (lon, lat), within = near
        said["near"] = {"lon": lon, "lat": lat, "within_m": within}
        expected &= site is not None and site.place is not None and _metres(site.place, (lon, lat)) <= within
    if zones is not None:
        said["in_zones"] = zones
        there = site is not None and site.place is not None
        here = shapely.Point(site.place) if site is not None and site.place is not None else shapely.Point()
        expected &= there and any(z.geometry.intersects(here) for z in ZONES if z.id in zones)
    made = rule(**said)
    watchers = Watchers([made], Places(Registry(sites={} if site is None else {"gw/a1": site}), ZONES))
    assert watchers.of(metric_id("ph"), "gw/a1") == ((0,) if expected else ())
    assert (watchers.always(metric_id("ph")) is not None) == (devices == ["*"] and not made.placed)


def _metres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """By the angle between the two as vectors."""
    x, y = ((math.radians(lon), math.radians(lat)) for lon, lat in (a, b))
    u, v = ((math.cos(la) * math.cos(lo), math.cos(la) * math.sin(lo), math.sin(la)) for lo, la in (x, y))
    cross = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
    return 6_371_008.8 * math.atan2(math.hypot(*cross), sum(p * q for p, q in zip(u, v, strict=True)))


def test_zones_that_are_not_there_and_lines_are_faults_with_their_key() -> None:
    zones = {zone.id: zone for zone in ZONES}
    faults = rule(in_zones=["lagoon", "gone", "line"]).faults({}, zones)
    assert faults[:2] == [
        (("in_zones",), "unknown zone 'gone'"),
        (("in_zones",), "'line' is a line: nothing stands in it"),
    ]
    with pytest.raises(ValueError, match="unknown zones: gone"):
        Watchers([rule(in_zones=["gone"])], Places(Registry(), ZONES))


def test_a_group_that_nobody_is_in_is_doubted() -> None:
    known = Registry(sites={"gw/a": Site(groups=frozenset({"River"}))}).words()
    assert list(rule(groups=["river"]).doubts(known)) == []
    assert list(rule(groups=["lake", "RIVER"]).doubts(known)) == [
        (("groups",), "groups: nobody in the registry has 'lake'")
    ]
