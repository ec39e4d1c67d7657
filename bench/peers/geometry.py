"""Points in polygons by Shapely 2: (point, polygon) index pairs, an edge counting as inside.

``polygons`` is an array of prepared geometries, ``tree`` an STRtree over them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
    Geometries = NDArray[np.object_]


def tree_bulk(tree: shapely.STRtree, polygons: Geometries, lon: Floats, lat: Floats) -> Pairs:  # noqa: ARG001
    """All points in one query of the tree, with the predicate in it."""
    point, polygon = tree.query(shapely.points(lon, lat), predicate="intersects")
    return point, polygon


def tree_per_point(tree: shapely.STRtree, polygons: Geometries, lon: Floats, lat: Floats) -> Pairs:  # noqa: ARG001
    """A query for each point as it comes."""
    found = [tree.query(shapely.Point(x, y), predicate="intersects") for x, y in zip(lon, lat, strict=True)]
    return np.repeat(np.arange(len(lon)), [len(f) for f in found]), np.concatenate(found)


def boxes_and_prepared(tree: shapely.STRtree, polygons: Geometries, lon: Floats, lat: Floats) -> Pairs:
    """Candidates by bounding box, then the exact test on prepared polygons, all in C."""
    point, polygon = tree.query(shapely.points(lon, lat))
    hit = shapely.intersects_xy(polygons[polygon], lon[point], lat[point])
    return point[hit], polygon[hit]
