"""Zones are read from GeoJSON or refused with one line that says why and where."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geofence import zones
from geofence.geometries import MAX_VERTICES, ZoneError
from geofence.zones import Zone, of_shapes, read_zones, shape, slug, to_feature, to_feature_collection

SQUARE = [[107.0, 16.0], [107.2, 16.0], [107.2, 16.2], [107.0, 16.2], [107.0, 16.0]]
HOLE = [[107.05, 16.05], [107.1, 16.05], [107.1, 16.1], [107.05, 16.05]]


def feature(coordinates: Any = None, shape: str = "Polygon", **properties: Any) -> dict[str, Any]:
    geometry = {"type": shape, "coordinates": [SQUARE] if coordinates is None else coordinates}
    return {"type": "Feature", "properties": {"name": "Vùng Mê", **properties}, "geometry": geometry}


def read(*features: dict[str, Any]) -> list[Zone]:
    return read_zones(json.dumps({"type": "FeatureCollection", "features": features}), file="zones.geojson")


def test_names_dates_source_and_holes_are_read() -> None:
    [zone] = read(
        feature(
            [SQUARE, HOLE],
            name={"en": "Vung Me", "vi": "Vùng Mê"},
            kind="protection-core",
            source="annex",
            note="check",
            valid_from="2026-01-01",
            valid_to="2026-12-31",
        )
    )
    assert (zone.id, zone.name_en, zone.name_vi, zone.kind) == ("vung-me", "Vung Me", "Vùng Mê", "protection-core")
    assert (zone.source, zone.note) == ("annex", "check")
    assert (zone.valid_from, zone.valid_to) == (date(2026, 1, 1), date(2026, 12, 31))
    assert len(zone.geometry.interiors) == 1  # type: ignore[union-attr]


def test_a_lone_feature_and_altitudes_are_taken() -> None:
    lone = feature([[[*point, 12.0] for point in SQUARE]])
    [zone] = read_zones(json.dumps(lone).encode())
    assert zone.geometry.equals(shapely.box(107.0, 16.0, 107.2, 16.2))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"id": "Core_1"}, "core-1"),
        ({"id": "core_1"}, "core_1"),
        ({"id": 7}, "7"),
        ({"properties": {"id": "from-properties", "name": "x"}}, "from-properties"),
        ({"properties": {"name": "Đầm Phá Tam Giang / Cầu Hai"}}, "dam-pha-tam-giang-cau-hai"),
    ],
)
def test_the_id_is_the_feature_s_or_the_property_s_or_made_of_the_name(changes: dict[str, Any], expected: str) -> None:
    assert read({**feature(), **changes})[0].id == expected


@given(st.text())
def test_a_slug_is_empty_or_fit_for_an_id(text: str) -> None:
    made = slug(text)
    assert made == slug(made)
    assert all(c.isascii() and (c.isalnum() or c == "-") for c in made)


BOWTIE = [[107.0, 16.0], [107.2, 16.2], [107.2, 16.0], [107.0, 16.2], [107.0, 16.0]]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (feature([BOWTIE]), "self-intersection at [107.1, 16.1]"),
        (feature([SQUARE[:-1]]), "ring 1: not closed, it starts at [107, 16] and ends at [107, 16.2]"),
        (feature([SQUARE[:2] + SQUARE[:1]]), "ring 1: 3 points; a ring needs 4 or more, the last equal to the first"),
        (feature([[[16.0, 107.0]] * 4]), "latitude 107 is outside -90..90; longitude and latitude look swapped"),
        (feature([[[500, 16]] * 4]), "longitude 500 is outside"),
        (feature([[[190, 16], [191, 16], [191, 17], [190, 16]]]), "longitude 190 is outside -180..180"),
        (feature([[[107, float("nan")]] * 4]), "NaN is no coordinate"),
        (feature([[[107, float("inf")]] * 4]), "Infinity is no coordinate"),
        (feature([[[107, 10**400]] * 4]), "is no coordinate"),
        (feature([[[107, "16"]] * 4]), 'expected numbers, found "16"'),
        (feature([[[107, True]] * 4]), "expected numbers, found true"),
        (feature([[[107]] * 4]), "expected [longitude, latitude]"),
        (feature([[[107, 16]] * 4]), "at [107, 16]"),
        (feature([]), "the geometry is empty"),
        (feature([], "MultiPolygon"), "the geometry is empty"),
        (feature([[SQUARE], [SQUARE]], "MultiPolygon"), "at [107"),
        (feature([SQUARE, [[0, 0], [1, 0], [1, 1], [0, 0]]]), "hole lies outside shell"),
        (feature([0, 0], "Square"), 'expected Polygon, MultiPolygon, Point or LineString, found "Square"'),
        (feature("x"), "expected an array of rings"),
        ({**feature(), "geometry": None}, "no geometry"),
        ({**feature(), "type": "Polygon"}, "expected a GeoJSON Feature"),
        ({**feature(), "id": True}, "id: expected text or a whole number"),
        ({**feature(), "properties": {}}, "a zone needs a name"),
        (feature(name="!!!"), "id: no letters or digits"),
        (feature(kind=3), "kind: expected text, found 3"),
        (feature(note="\ud800"), "lone surrogate"),
        (feature(note="\0"), "NUL"),
        (feature(valid_from="yesterday"), "expected a date such as 2026-01-31, found 'yesterday'"),
        (feature(valid_from="2026-02-01", valid_to="2026-01-01"), "valid_to 2026-01-01 is before valid_from"),
        (feature([[[-180, 80], [-90, 80], [0, 80], [90, 80], [-180, 80]]]), "encloses a pole"),
        (feature([[[107 + i * 1e-6, 16] for i in range(MAX_VERTICES + 1)]]), "at most 100000 are taken"),
    ],
)
def test_bad_features_are_refused_with_place_and_reason_in_one_line(bad: dict[str, Any], reason: str) -> None:
    with pytest.raises(ZoneError) as caught:
        read(feature(name="first"), bad)
    text = str(caught.value)
    assert text.startswith("zones.geojson: feature 2")
    assert reason in text
    assert "\n" not in text
    assert caught.value.feature == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "line 1: not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[1]", "expected a GeoJSON FeatureCollection or Feature"),
        (b'{"type":"Topology"}', 'found "Topology"'),
        (b'{"type":"FeatureCollection"}', "features: expected an array"),
        (b'{"type":"FeatureCollection","features":[]}', "no features"),
        (b'{"type":"FeatureCollection","crs":{"properties":{"name":"EPSG:3405"}},"features":[1]}', "only WGS 84"),
        (b"[" * 100_000, "nested too deep"),
        (b"9" * 5000, "not JSON"),
    ],
)
def test_what_is_no_geojson_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(ZoneError, match=r"zones\.geojson: ") as caught:
        read_zones(text, file="zones.geojson")
    assert reason in str(caught.value)


def test_two_features_with_one_id_are_refused() -> None:
    with pytest.raises(ZoneError, match=r"feature 2 \(Vung me\): the id 'vung-me' is already that of feature 1"):
        read(feature(), feature(name="Vung me"))


@pytest.mark.parametrize(
    "drawn",
    [
        [[170, 0], [190, 0], [190, 10], [170, 10], [170, 0]],
        [[-190, 0], [-170, 0], [-170, 10], [-190, 10], [-190, 0]],
        [[170, 0], [-170, 0], [-170, 10], [170, 10], [170, 0]],
        [[-170, 10], [170, 10], [170, 0], [-170, 0], [-170, 10]],
    ],
)
def test_a_zone_across_the_180th_meridian_is_cut_in_two_however_it_is_drawn(drawn: list[list[float]]) -> None:
    hole = [[-179, 4], [-178, 4], [-178, 5], [-179, 4]]
    [zone] = read(feature([drawn, hole]))
    assert zone.geometry.bounds == (-180, 0, 180, 10)
    assert zone.geometry.area == pytest.approx(200 - 0.5)
    assert not zone.geometry.contains(shapely.Point(-178.2, 4.2))
    assert zone.geometry.contains(shapely.Point(-179.5, 4.2))
    assert read(to_feature(zone)) == [zone]


def test_the_edge_of_a_map_of_the_world_means_what_it_says() -> None:
    [zone] = read(feature([[[-180, -60], [180, -60], [180, 60], [-180, 60], [-180, -60]]]))
    assert zone.geometry.area == 360 * 120


def test_what_is_written_is_read_back_equal() -> None:
    zones = read(
        feature([SQUARE, HOLE], source="s", valid_from="2026-01-01"),
        feature([[SQUARE], [[[1, 1], [2, 1], [2, 2], [1, 1]]]], "MultiPolygon", name="two"),
    )
    again = read_zones(json.dumps(to_feature_collection(zones)))
    assert again == zones
    assert [z.version for z in again] == [z.version for z in zones]
    assert zones[0].version != zones[1].version


def test_what_is_kept_as_a_shape_is_read_back_equal() -> None:
    zones = read(
        feature([SQUARE, HOLE], source="s", note="n", valid_from="2026-01-01"),
        feature([[SQUARE], [[[1, 1], [2, 1], [2, 2], [1, 1]]]], "MultiPolygon", name="two"),
        feature([[[170, 0], [-170, 0], [-170, 10], [170, 10], [170, 0]]], name="over the 180th meridian"),
    )
    kept = [(z.id, z.version, to_feature(z)["properties"], made) for z in zones if (made := shape(z)) is not None]
    again = of_shapes(kept)
    assert again == zones
    assert [zone.version for zone in again] == [zone.version for zone in zones]
    assert [replace(zone, note="other").version for zone in again] != [zone.version for zone in zones]
    drawn = read(feature([107.6, 16.5], "Point", radius_m=3000.0), feature(SQUARE, "LineString", name="line"))
    assert [shape(zone) for zone in drawn] == [None, None]


@pytest.mark.parametrize("broken", [b"", b"no WKB", shapely.to_wkb(shapely.box(0, 0, 1, 1))[:-1]])
def test_what_is_no_shape_is_refused_in_one_line(broken: bytes) -> None:
    with pytest.raises(ZoneError, match=r"^[^\n]+$") as raised:
        of_shapes([("core", "0123456789ab", {"name": "Core"}, broken)])
    assert raised.value.name == "core"


def test_real_zone_files_are_read() -> None:
    folder = Path(__file__).parents[3] / "shared" / "data" / "geo"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    cores = read_zones((folder / "fishery_protection_core_zones.geojson").read_bytes())
    assert [zone.id for zone in cores] == ["dien-hai-core", "vung-me-core"]


def test_a_file_of_too_many_vertices_is_refused_where_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones, "MAX_FILE_VERTICES", 12)
    squares = [Zone(f"z{i}", f"Z{i}", f"Z{i}", "t", shapely.box(i, 0, i + 0.5, 1)) for i in range(3)]
    assert len(read_zones(json.dumps(to_feature_collection(squares[:2])))) == 2
    with pytest.raises(ZoneError, match=r"^big\.geojson: feature 3 \(Z2\): more than 12 vertices up to here, in all$"):
        read_zones(json.dumps(to_feature_collection(squares)), file="big.geojson")
