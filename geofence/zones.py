"""Zones: named areas of the sea or of land, read from GeoJSON (RFC 7946) and written back to it.

What is read is checked before anything else sees it: a zone in memory is always a valid polygon or multipolygon in
WGS 84 longitude and latitude within [-180, 180] x [-90, 90]. An area that crosses the 180th meridian may be drawn with
longitudes beyond 180 (170 to 190), with a jump (179 to -179), or already cut in two; it is kept cut in two.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
import shapely
from shapely.affinity import translate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    Ring = NDArray[np.float64]  # [n, 2]: longitude, latitude

#: Vertices one feature may have: some hundred times the most detailed zone known, and still indexed in a second.
MAX_VERTICES: Final = 100_000
#: Vertices all features of a file may have: ten thousand zones of 160 and a reserve, some 60 bytes of memory each.
MAX_FILE_VERTICES: Final = 2_000_000

_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
_WGS84: Final = re.compile(r"(CRS:?84|EPSG:*4326)$", re.IGNORECASE)


class ZoneError(ValueError):
    """A zone file that cannot be used. ``str()`` is one line: file, feature number (from 1) and name, reason."""

    def __init__(self, reason: str, *, file: str = "", feature: int = 0, name: str = "") -> None:
        self.reason = reason
        self.file = file
        self.feature = feature
        self.name = name
        where = [file] if file else []
        if feature:
            where.append(f"feature {feature} ({name})" if name else f"feature {feature}")
        super().__init__(": ".join([*where, reason]))


@dataclass(slots=True, frozen=True)
class Zone:
    """One area. ``valid_from`` and ``valid_to`` are the first and the last day it is in force; None is unbounded."""

    id: str
    name_en: str
    name_vi: str
    kind: str
    geometry: shapely.Polygon | shapely.MultiPolygon
    source: str = ""
    note: str = ""
    valid_from: date | None = None
    valid_to: date | None = None

    @property
    def version(self) -> str:
        """Twelve hex digits that change when anything about the zone does."""
        text = json.dumps(to_feature(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return sha256(text.encode()).hexdigest()[:12]


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


def to_feature(zone: Zone) -> dict[str, Any]:
    """The zone as a GeoJSON Feature that ``read_zones`` reads back to an equal zone."""
    properties: dict[str, Any] = {
        "name": {"en": zone.name_en, "vi": zone.name_vi},
        "kind": zone.kind,
        "source": zone.source,
        "note": zone.note,
        "valid_from": zone.valid_from and zone.valid_from.isoformat(),
        "valid_to": zone.valid_to and zone.valid_to.isoformat(),
    }
    return {
        "type": "Feature",
        "id": zone.id,
        "properties": {key: value for key, value in properties.items() if value},
        "geometry": _geometry_to_json(zone.geometry),
    }


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
            raise ZoneError(f"expected a FeatureCollection or Feature, found {_shown(other)}", file=file)
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


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def _check_crs(document: Mapping[str, Any], file: str) -> None:
    """GeoJSON before RFC 7946 could name another coordinate system: its numbers read as WGS 84 would be misplaced."""
    crs = document.get("crs")
    if crs is None:
        return
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    if not isinstance(name, str) or not _WGS84.search(name):
        raise ZoneError(f"crs: only WGS 84 longitude and latitude can be read, found {_shown(name or crs)}", file=file)


def _zone(feature: object) -> Zone:
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
    return Zone(
        id=_id(feature.get("id", properties.get("id")), name_en or name_vi),
        name_en=name_en or name_vi,
        name_vi=name_vi or name_en,
        kind=_text(properties, "kind") or "zone",
        geometry=_geometry(feature.get("geometry")),
        source=_text(properties, "source"),
        note=_text(properties, "note"),
        valid_from=valid_from,
        valid_to=valid_to,
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
        raise ZoneError(f"{key}: expected text, found {_shown(value)}")
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


def _geometry(value: object) -> shapely.Polygon | shapely.MultiPolygon:
    if value is None:
        raise ZoneError("no geometry")
    if not isinstance(value, dict):
        raise ZoneError("geometry: expected an object")
    kind, coordinates = value.get("type"), value.get("coordinates")
    match kind:
        case "Polygon":
            bodies = [coordinates]
        case "MultiPolygon":
            if not isinstance(coordinates, list):
                raise ZoneError("coordinates: expected an array")
            bodies = coordinates
        case _:
            raise ZoneError(f"geometry: expected Polygon or MultiPolygon, found {_shown(kind)}")
    if not bodies:
        raise ZoneError("the geometry is empty")
    _cap_vertices(bodies)
    drawn = [_polygon(body, f"polygon {n}, " if len(bodies) > 1 else "") for n, body in enumerate(bodies, 1)]
    # The parts are judged together as drawn, before any is cut: overlapping parts of one zone are a mistake of drawing.
    whole = drawn[0] if kind == "Polygon" else shapely.MultiPolygon(drawn)
    if not shapely.is_valid(whole):
        raise ZoneError(_why_invalid(whole))
    pieces = [piece for polygon in drawn for piece in _cut(polygon)]
    return pieces[0] if len(pieces) == 1 and kind == "Polygon" else shapely.MultiPolygon(pieces)


def _cap_vertices(bodies: list[Any]) -> None:
    count = sum(len(ring) for body in bodies if isinstance(body, list) for ring in body if isinstance(ring, list))
    if count > MAX_VERTICES:
        raise ZoneError(f"{count} vertices; at most {MAX_VERTICES} are taken")


def _polygon(rings: object, where: str) -> shapely.Polygon:
    if not isinstance(rings, list):
        raise ZoneError(f"{where}coordinates: expected an array of rings")
    if not rings:
        raise ZoneError(f"{where}the geometry is empty")
    shell, *holes = (_ring(ring, f"{where}ring {number}") for number, ring in enumerate(rings, 1))
    centre = (shell[:, 0].min() + shell[:, 0].max()) / 2
    return shapely.Polygon(shell, [_beside(hole, centre) for hole in holes])


def _plain(points: list[Any]) -> Ring | None:
    """A ring of pairs of numbers in range, closed, and nowhere near the 180th meridian: almost all are."""
    if len(points) < 4 or points[0] != points[-1]:
        return None
    if set(map(type, points)) != {list} or set(map(len, points)) != {2}:
        return None
    if not set(map(type, chain.from_iterable(points))) <= {float, int}:
        return None
    try:
        ring = np.array(points, dtype=np.float64)
    except OverflowError:
        return None
    lon, lat = ring[:, 0], ring[:, 1]
    plain = lon.max() - lon.min() < 180 and abs(lon).max() <= 180 and abs(lat).max() <= 90
    return ring if plain else None


def _ring(points: object, where: str) -> Ring:
    """A closed ring with longitudes that run on without a jump (so they may pass 180)."""
    if not isinstance(points, list):
        raise ZoneError(f"{where}: expected an array of positions")
    if (plain := _plain(points)) is not None:
        return plain
    ring = [_position(point, f"{where}, point {number}") for number, point in enumerate(points, 1)]
    if len(ring) < 4:
        raise ZoneError(f"{where}: {len(ring)} points; a ring needs 4 or more, the last equal to the first")
    if ring[0] != ring[-1]:
        raise ZoneError(f"{where}: not closed, it starts at {_at(ring[0])} and ends at {_at(ring[-1])}")
    longitudes = [lon for lon, _ in ring]
    beyond = [lon for lon in longitudes if abs(lon) > 180]
    if beyond and all(abs(lon) >= 180 for lon in longitudes):
        raise ZoneError(f"{where}: longitude {beyond[0]:g} is outside -180..180")
    out, shift = [ring[0]], 0.0
    for (before, _), (lon, lat) in pairwise(ring):
        # An edge over more than half the globe is an edge the other way round; one over all of it is the edge of a
        # map of the world, and means what it says.
        if 180 < abs(lon - before) < 360:
            shift -= math.copysign(360, lon - before)
        out.append((lon + shift, lat))
    if shift:
        raise ZoneError(f"{where}: encloses a pole, which longitude and latitude cannot show as a polygon")
    return np.array(out)


def _position(value: object, where: str) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) < 2:
        raise ZoneError(f"{where}: expected [longitude, latitude]")
    for number in value:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ZoneError(f"{where}: expected numbers, found {_shown(number)}")
        if not -1e9 < number < 1e9:
            raise ZoneError(f"{where}: {_shown(number)} is no coordinate")
    lon, lat = map(float, value[:2])
    if abs(lat) > 90:
        swapped = "; longitude and latitude look swapped" if abs(lon) <= 90 and abs(lat) <= 180 else ""
        raise ZoneError(f"{where}: latitude {lat:g} is outside -90..90{swapped}")
    if abs(lon) > 360:
        raise ZoneError(f"{where}: longitude {lon:g} is outside -180..180")
    return lon, lat


def _beside(hole: Ring, centre: float) -> Ring:
    """The hole moved by whole turns to the side of the 180th meridian where its shell was drawn."""
    middle = (hole[:, 0].min() + hole[:, 0].max()) / 2
    turns = 360 * round((centre - middle) / 360)
    return np.add(hole, (turns, 0)) if turns else hole


def _cut(polygon: shapely.Polygon) -> list[shapely.Polygon]:
    """The polygon as pieces within [-180, 180]."""
    west, _, east, _ = polygon.bounds
    if west >= -180 and east <= 180:
        return [polygon]
    if east - west > 360:
        raise ZoneError(f"spans {east - west:g} degrees of longitude; the globe has 360")
    pieces: list[shapely.Polygon] = []
    for turn in range(-2, 3):
        # Only areas: where the polygon merely touches the meridian, the cut leaves a line or a point.
        part = shapely.intersection(polygon, shapely.box(-180 + 360 * turn, -90, 180 + 360 * turn, 90))
        moved = translate(part, xoff=-360.0 * turn)
        pieces += [p for p in shapely.get_parts(moved).tolist() if isinstance(p, shapely.Polygon) and not p.is_empty]
    return pieces


def _why_invalid(geometry: shapely.Polygon | shapely.MultiPolygon) -> str:
    """GEOS's own reason, "Self-intersection[107.5 16.6]", as a sentence with the place."""
    reason = str(shapely.is_valid_reason(geometry))
    found = re.fullmatch(r"(.+?)\s*\[(\S+) (\S+)\]", reason)
    if found is None:
        return reason.lower()
    return f"{found[1].lower()} at {_at((float(found[2]), float(found[3])))}"


def _at(point: tuple[float, float]) -> str:
    return f"[{point[0]:.9g}, {point[1]:.9g}]"


def _geometry_to_json(geometry: shapely.Polygon | shapely.MultiPolygon) -> dict[str, Any]:
    polygons = [
        [[[x, y] for x, y in shapely.get_coordinates(ring).tolist()] for ring in (part.exterior, *part.interiors)]
        for part in shapely.get_parts(geometry).tolist()
    ]
    if isinstance(geometry, shapely.Polygon):
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}
