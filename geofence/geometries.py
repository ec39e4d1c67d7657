"""Geometries of zones, read from GeoJSON (RFC 7946) and written back to it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import shapely
from shapely.affinity import translate

from geofence import shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Ring = NDArray[np.float64]  # [n, 2]: longitude, latitude

#: Vertices one feature may have: some hundred times the most detailed zone known, and still indexed in a second.
MAX_VERTICES: Final = 100_000

_Piece = TypeVar("_Piece", shapely.Polygon, shapely.LineString)


Geometry = shapely.Polygon | shapely.MultiPolygon | shapely.LineString | shapely.MultiLineString


@dataclass(slots=True, frozen=True)
class Drawn:
    """What a geometry was made of: a point or line as drawn, and its size in metres.

    ``size`` is the radius of a circle or the width of a corridor; None for a line.
    """

    geometry: shapely.Point | shapely.LineString
    size: float | None = None


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


def shown(value: object) -> str:
    """A JSON value, shortened, for an error."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def read_geometry(value: object, properties: Mapping[str, Any]) -> tuple[Geometry, Drawn | None]:
    """A GeoJSON geometry object, with the size that the properties of its feature give it.

    Raises:
        ZoneError: it is not one, or of a kind or size that no zone has.
    """
    if value is None:
        raise ZoneError("no geometry")
    if not isinstance(value, dict):
        raise ZoneError("geometry: expected an object")
    radius, width = _size(properties, "radius_m"), _size(properties, "width_m")
    kind, coordinates = value.get("type"), value.get("coordinates")
    if radius is not None and kind != "Point":
        raise ZoneError(f"radius_m is of circles, whose geometry is a Point; found {shown(kind)}")
    if width is not None and kind != "LineString":
        raise ZoneError(f"width_m is of corridors, whose geometry is a LineString; found {shown(kind)}")
    if kind == "Point":
        return _circle(coordinates, radius)
    if kind == "LineString":
        return _line(coordinates, width)
    return _area(kind, coordinates), None


def _size(properties: Mapping[str, Any], key: str) -> float | None:
    value = properties.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise ZoneError(f"{key}: expected metres, more than 0 and less than 1e9, found {shown(value)}")
    return float(value)


def _circle(coordinates: object, radius: float | None) -> tuple[Geometry, Drawn]:
    if radius is None:
        raise ZoneError("a Point is the centre of a circle: it needs the property radius_m")
    lon, lat = _position(coordinates, "coordinates")
    lon -= 360.0 * round(lon / 360.0) if abs(lon) > 180 else 0.0
    try:
        area = shapely.Polygon(shapes.circle(lon, lat, radius))
    except ValueError as error:
        raise ZoneError(f"circle: {error}") from error
    return _in_one(_cut(area)), Drawn(shapely.Point(lon, lat), radius)


def _line(coordinates: object, width: float | None) -> tuple[Geometry, Drawn]:
    if not isinstance(coordinates, list):
        raise ZoneError("coordinates: expected an array of positions")
    if len(coordinates) > MAX_VERTICES:
        raise ZoneError(f"{len(coordinates)} vertices; at most {MAX_VERTICES} are taken")
    points = [_position(point, f"point {number}") for number, point in enumerate(coordinates, 1)]
    if len({*points}) < 2:
        raise ZoneError(f"{len({*points})} different points; a line needs 2 or more")
    xy = _running_on(points)[0]
    line = shapely.LineString(xy)
    if width is None:
        return _in_one(_cut(line)), Drawn(line)
    try:
        area = shapes.corridor(xy, width)
    except ValueError as error:
        raise ZoneError(f"corridor: {error}") from error
    return _in_one(_cut(area)), Drawn(line, width)


def _in_one(pieces: list[Any]) -> Geometry:
    if len(pieces) == 1:
        return pieces[0]  # type: ignore[no-any-return]
    return shapely.MultiPolygon(pieces) if isinstance(pieces[0], shapely.Polygon) else shapely.MultiLineString(pieces)


def _area(kind: object, coordinates: Any) -> shapely.Polygon | shapely.MultiPolygon:
    match kind:
        case "Polygon":
            bodies = [coordinates]
        case "MultiPolygon":
            if not isinstance(coordinates, list):
                raise ZoneError("coordinates: expected an array")
            bodies = coordinates
        case _:
            raise ZoneError(f"geometry: expected Polygon, MultiPolygon, Point or LineString, found {shown(kind)}")
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
    if not holes:
        return shapely.Polygon(shell)
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
        ring = np.fromiter(chain.from_iterable(points), np.float64, 2 * len(points)).reshape(-1, 2)
    except OverflowError:
        return None
    (west, south), (east, north) = ring.min(axis=0).tolist(), ring.max(axis=0).tolist()
    plain = east - west < 180 and west >= -180 and east <= 180 and south >= -90 and north <= 90
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
    out, shift = _running_on(ring)
    if shift:
        raise ZoneError(f"{where}: encloses a pole, which longitude and latitude cannot show as a polygon")
    return out


def _running_on(points: list[tuple[float, float]]) -> tuple[Ring, float]:
    """Points with longitudes that run on without a jump, and by how many degrees the last was shifted for that."""
    out, shift = [points[0]], 0.0
    for (before, _), (lon, lat) in pairwise(points):
        # An edge over more than half the globe is an edge the other way round; one over all of it is the edge of a
        # map of the world, and means what it says.
        if 180 < abs(lon - before) < 360:
            shift -= math.copysign(360, lon - before)
        out.append((lon + shift, lat))
    return np.array(out), shift


def _position(value: object, where: str) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) < 2:
        raise ZoneError(f"{where}: expected [longitude, latitude]")
    for number in value:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ZoneError(f"{where}: expected numbers, found {shown(number)}")
        if not -1e9 < number < 1e9:
            raise ZoneError(f"{where}: {shown(number)} is no coordinate")
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


def _cut(polygon: _Piece) -> list[_Piece]:
    """The polygon or line as pieces within [-180, 180]."""
    west, _, east, _ = polygon.bounds
    if west >= -180 and east <= 180:
        return [polygon]
    if east - west > 360:
        raise ZoneError(f"spans {east - west:g} degrees of longitude; the globe has 360")
    pieces: list[_Piece] = []
    for turn in range(-2, 3):
        # Only what is of its kind: where the polygon merely touches the meridian, the cut leaves a line or a point.
        part = shapely.intersection(polygon, shapely.box(-180 + 360 * turn, -90, 180 + 360 * turn, 90))
        moved = translate(part, xoff=-360.0 * turn)
        pieces += [p for p in shapely.get_parts(moved).tolist() if isinstance(p, type(polygon)) and not p.is_empty]
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


def to_geojson(geometry: Geometry | shapely.Point) -> dict[str, Any]:
    """The GeoJSON geometry object that ``read_geometry`` reads back to an equal one."""
    match geometry:
        case shapely.Point():
            return {"type": "Point", "coordinates": [geometry.x, geometry.y]}
        case shapely.LineString():
            return {"type": "LineString", "coordinates": shapely.get_coordinates(geometry).tolist()}
        case shapely.MultiLineString():
            raise TypeError("a line that was cut goes by what was drawn")
    polygons = [
        [[[x, y] for x, y in shapely.get_coordinates(ring).tolist()] for ring in (part.exterior, *part.interiors)]
        for part in shapely.get_parts(geometry).tolist()
    ]
    if isinstance(geometry, shapely.Polygon):
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}
