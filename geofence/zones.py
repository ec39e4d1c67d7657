"""Zones: named areas of the sea or of land, read from GeoJSON (RFC 7946) and written back to it.

What is read is checked before anything else sees it: a zone in memory is always a valid polygon or multipolygon, or a
line, in WGS 84 longitude and latitude within [-180, 180] x [-90, 90]. What crosses the 180th meridian may be drawn with
longitudes beyond 180 (170 to 190), with a jump (179 to -179), or already cut in two; it is kept cut in two.

GeoJSON knows neither circles nor corridors: a Point with the property ``radius_m`` is a circle, a LineString with
``width_m`` a corridor (``geofence.shapes``), and a LineString without is a line, which can only be crossed.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson
import shapely

from geofence.geometries import Drawn, Geometry, ZoneError, read_geometry, shown, to_geojson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Vertices all features of a file may have: ten thousand zones of 160 and a reserve, some 60 bytes of memory each.
MAX_FILE_VERTICES: Final = 2_000_000

_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
#: Where the features of a collection begin, and the next of them.
_FEATURES: Final = re.compile(r'"features"\s*:\s*\[')
_FEATURE: Final = re.compile(r"\{|\]")
_WGS84: Final = re.compile(r"(CRS:?84|EPSG:*4326)$", re.IGNORECASE)


@dataclass(slots=True, frozen=True)
class Zone:
    """One area, or one line.

    ``valid_from`` and ``valid_to`` are the first and the last day it is in force; None is unbounded. ``drawn``: what
    its author drew, where that is not its geometry.
    """

    id: str
    name_en: str
    name_vi: str
    kind: str
    geometry: Geometry
    source: str = ""
    note: str = ""
    valid_from: date | None = None
    valid_to: date | None = None
    drawn: Drawn | None = None
    _version: list[str] = field(default_factory=list, init=False, repr=False, compare=False)  # once it was asked for

    @property
    def is_line(self) -> bool:
        """Whether it can only be crossed: nothing is inside it."""
        return isinstance(self.geometry, shapely.LineString | shapely.MultiLineString)

    @property
    def version(self) -> str:
        """Twelve hex digits that change when anything about the zone does."""
        if not self._version:
            said = orjson.dumps([self.id, _properties(self)], option=orjson.OPT_SORT_KEYS)
            drawn = self.geometry if self.drawn is None else self.drawn.geometry
            self._version.append(sha256(said + shapely.to_wkb(drawn, byte_order=1)).hexdigest()[:12])
        return self._version[0]


def slug(text: str) -> str:
    """An id from a name: Vietnamese and other diacritics folded, the rest as words joined by hyphens."""
    folded = unicodedata.normalize("NFKD", text.replace("đ", "d").replace("Đ", "D"))
    plain = "".join(c for c in folded if not unicodedata.combining(c)).lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:80].strip("-")


def read_zones(data: bytes | str, *, file: str = "") -> list[Zone]:
    """The zones of a GeoJSON FeatureCollection or Feature.

    Raises:
        ZoneError: the text is not GeoJSON, a geometry is invalid, two zones share an id, or there are too many
            vertices in one or in all.
    """
    features = _features(_document(data, file), file)
    zones: list[Zone] = []
    taken: dict[str, int] = {}
    room = MAX_FILE_VERTICES
    for number, feature in enumerate(features, 1):
        name = _label(feature)
        try:
            zone = _zone(feature)
            if zone.id in taken:
                raise ZoneError(f"the id {zone.id!r} is already that of feature {taken[zone.id]}")  # noqa: TRY301
            room -= int(shapely.get_num_coordinates(zone.geometry))
            if room < 0:
                raise ZoneError(f"more than {MAX_FILE_VERTICES} vertices up to here, in all")  # noqa: TRY301
        except ZoneError as error:
            raise ZoneError(error.reason, file=file, feature=number, name=name) from error
        taken[zone.id] = number
        zones.append(zone)
    return zones


def of_shapes(rows: Iterable[tuple[str, str, Mapping[str, Any], bytes]]) -> list[Zone]:
    """Zones that were read before: id, version, properties of the feature, and what ``shape`` gave of the zone.

    Raises:
        ZoneError: a shape is none, or the properties are those of no zone.
    """
    zones: list[Zone] = []
    for id_, version, properties, shape in rows:
        try:
            zone = _zone({"type": "Feature", "id": id_, "properties": properties}, shapely.from_wkb(shape))
        except (ZoneError, shapely.errors.GEOSException) as error:
            raise ZoneError(str(error), name=id_) from error
        zone._version.append(version)  # noqa: SLF001  # of this module
        zones.append(zone)
    return zones


def shape(zone: Zone) -> bytes | None:
    """The area of a zone as WKB, for ``of_shapes``; None of one that is drawn as a circle, a corridor or a line."""
    return shapely.to_wkb(zone.geometry) if zone.drawn is None else None


def feature_lines(text: str) -> list[int]:
    """The line, from 1, on which each feature of a text begins that ``read_zones`` reads."""
    found = _FEATURES.search(text)
    if found is None:
        return [1]
    decoder, at, lines = json.JSONDecoder(), found.end(), list[int]()
    while (start := _FEATURE.search(text, at)) is not None and start[0] != "]":
        lines.append(text.count("\n", 0, start.start()) + 1)
        _, at = decoder.raw_decode(text, start.start())
    return lines


def to_feature(zone: Zone) -> dict[str, Any]:
    """The zone as a GeoJSON Feature that ``read_zones`` reads back to an equal zone."""
    return {
        "type": "Feature",
        "id": zone.id,
        "properties": _properties(zone),
        "geometry": to_geojson(zone.geometry if zone.drawn is None else zone.drawn.geometry),
    }


def _properties(zone: Zone) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "name": {"en": zone.name_en, "vi": zone.name_vi},
        "kind": zone.kind,
        "source": zone.source,
        "note": zone.note,
        "valid_from": zone.valid_from and zone.valid_from.isoformat(),
        "valid_to": zone.valid_to and zone.valid_to.isoformat(),
    }
    drawn = zone.drawn
    if drawn is not None and drawn.size is not None:
        properties["radius_m" if isinstance(drawn.geometry, shapely.Point) else "width_m"] = drawn.size
    return {key: value for key, value in properties.items() if value}


def to_feature_collection(zones: Iterable[Zone]) -> dict[str, Any]:
    """The zones as a GeoJSON FeatureCollection."""
    return {"type": "FeatureCollection", "features": [to_feature(zone) for zone in zones]}


def _document(data: bytes | str, file: str) -> dict[str, Any]:
    try:
        document = _parsed(data)
    except UnicodeDecodeError as error:
        raise ZoneError(f"not UTF-8: byte {error.start}", file=file) from error
    except json.JSONDecodeError as error:
        raise ZoneError(f"line {error.lineno}: not JSON: {error.msg}", file=file) from error
    except ValueError as error:  # a number of more digits than Python reads
        raise ZoneError(f"not JSON: {error}".splitlines()[0], file=file) from error
    except RecursionError as error:
        raise ZoneError("nested too deep", file=file) from error
    if not isinstance(document, dict):
        raise ZoneError("expected a GeoJSON FeatureCollection or Feature", file=file)
    return document


def _parsed(data: bytes | str) -> Any:
    """JSON, by the quick reader; what it does not read is read again by the one that says more about it."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


def _features(document: dict[str, Any], file: str) -> list[Any]:
    _check_crs(document, file)
    match document.get("type"):
        case "FeatureCollection":
            features = document.get("features")
        case "Feature":
            features = [document]
        case other:
            raise ZoneError(f"expected a FeatureCollection or Feature, found {shown(other)}", file=file)
    if not isinstance(features, list):
        raise ZoneError("features: expected an array", file=file)
    if not features:
        raise ZoneError("no features", file=file)
    return features


def _label(feature: object) -> str:
    """What to call a feature in an error, as far as it can be told."""
    if not isinstance(feature, dict):
        return ""
    properties = feature.get("properties")
    name = properties.get("name") if isinstance(properties, dict) else None
    if isinstance(name, dict):
        name = name.get("en") or name.get("vi")
    found = name if isinstance(name, str) and name else feature.get("id")
    return " ".join(str(found).split())[:60] if isinstance(found, str | int) else ""


def _check_crs(document: Mapping[str, Any], file: str) -> None:
    """GeoJSON before RFC 7946 could name another coordinate system: its numbers read as WGS 84 would be misplaced."""
    crs = document.get("crs")
    if crs is None:
        return
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str) or not _WGS84.search(name):
        raise ZoneError(f"crs: only WGS 84 longitude and latitude can be read, found {shown(name or crs)}", file=file)


def _zone(feature: object, area: Any = None) -> Zone:
    """The zone of a feature; ``area``: its geometry, where that is known already."""
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise ZoneError("expected a GeoJSON Feature")
    properties = feature.get("properties")
    if properties is None:
        properties = {}
    if not isinstance(properties, dict):
        raise ZoneError("properties: expected an object")
    name_en, name_vi = _names(properties)
    valid_from, valid_to = _date(properties, "valid_from"), _date(properties, "valid_to")
    if valid_from and valid_to and valid_to < valid_from:
        raise ZoneError(f"valid_to {valid_to} is before valid_from {valid_from}")
    geometry, drawn = read_geometry(feature.get("geometry"), properties) if area is None else (area, None)
    return Zone(
        id=_id(feature.get("id", properties.get("id")), name_en or name_vi),
        name_en=name_en or name_vi,
        name_vi=name_vi or name_en,
        kind=_text(properties, "kind") or "zone",
        geometry=geometry,
        source=_text(properties, "source"),
        note=_text(properties, "note"),
        valid_from=valid_from,
        valid_to=valid_to,
        drawn=drawn,
    )


def _names(properties: Mapping[str, Any]) -> tuple[str, str]:
    name = properties.get("name")
    if isinstance(name, dict):
        found = _text(name, "en"), _text(name, "vi")
    else:
        found = _text(properties, "name_en") or _text(properties, "name"), _text(properties, "name_vi")
    if not any(found):
        raise ZoneError("properties.name: a zone needs a name")
    return found


def _id(value: object, name: str) -> str:
    """The slug of the id given, or of the name where none is."""
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise ZoneError("id: expected text or a whole number")
    text = str(value) if value is not None else name
    made = text if _ID.fullmatch(text) else slug(text)
    if not made:
        raise ZoneError("id: no letters or digits to make one from")
    return made


def _text(properties: Mapping[str, Any], key: str) -> str:
    value = properties.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ZoneError(f"{key}: expected text, found {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ZoneError(f"{key}: text with a lone surrogate") from error
    if "\0" in value:
        raise ZoneError(f"{key}: text with a NUL")
    return value.strip()


def _date(properties: Mapping[str, Any], key: str) -> date | None:
    text = _text(properties, key)
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ZoneError(f"{key}: expected a date such as 2026-01-31, found {text!r}") from error
