"""How fast and which way a vessel goes: by its own report, or by where it was before. On a sphere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from geofence.moves import HOUR
from geofence.sphere import EARTH_RADIUS, KNOT, all_metres, knots, metres

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geofence.moves import Move, Stretch

    Floats = NDArray[np.float64]

#: Microseconds between two fixes beyond which they say nothing about the speed now.
MAX_GAP: Final = 6 * HOUR


def sog(move: Move, report: np.void) -> float | None:
    """Knots: as reported, else what the way from the fix before takes; None where neither is to be had."""
    reported = float(report["sog"])
    return reported if math.isfinite(reported) else implied_sog(move)


def implied_sog(move: Move) -> float | None:
    """Knots, from the great circle between a fix and the one before."""
    before, after = move.before, move.after
    if before is None or after.time - before.time > MAX_GAP:
        return None
    return knots(metres(before.lon, before.lat, after.lon, after.lat), after.time - before.time)


def motions(stretch: Stretch, positions: NDArray[np.void]) -> tuple[Floats, Floats]:
    """Speed (knots) and course (degrees true) at every row of a stretch: reported, else implied, else NaN."""
    sog, cog = positions["sog"][stretch.row].copy(), positions["cog"][stretch.row].copy()
    asked = np.flatnonzero((np.isnan(sog) | np.isnan(cog)) & (stretch.row >= 0))
    asked = asked[(asked > 0) & (stretch.transponder[asked] == stretch.transponder[asked - 1])]
    taken = stretch.time[asked] - stretch.time[asked - 1]
    asked = asked[taken <= MAX_GAP]
    before = asked - 1
    ends = stretch.lon[before], stretch.lat[before], stretch.lon[asked], stretch.lat[asked]
    speed, course = _implied(ends, stretch.time[asked] - stretch.time[before])
    sog[asked] = np.where(np.isnan(sog[asked]), speed, sog[asked])
    cog[asked] = np.where(np.isnan(cog[asked]), course, cog[asked])
    return sog, cog


def motion(move: Move, report: np.void) -> tuple[float, float]:
    """The same of one move."""
    sog, cog, before, after = float(report["sog"]), float(report["cog"]), move.before, move.after
    if before is not None and after.time - before.time <= MAX_GAP and (math.isnan(sog) or math.isnan(cog)):
        ends = np.array([before.lon]), np.array([before.lat]), np.array([after.lon]), np.array([after.lat])
        speed, course = _implied(ends, np.array([after.time - before.time]))
        sog, cog = float(speed[0]) if math.isnan(sog) else sog, float(course[0]) if math.isnan(cog) else cog
    return sog, cog


def _implied(ends: tuple[Floats, Floats, Floats, Floats], taken: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Of the great circle between two places: speed, and the course at the second; NaN where there is none."""
    lon0, lat0, lon1, lat1 = ends
    speed = all_metres(lon0, lat0, lon1, lat1) / (taken / 1e6) / KNOT
    # The way back, turned round.
    x0, y0, x1, y1 = map(np.radians, ends)
    back = np.arctan2(np.sin(x0 - x1) * np.cos(y0), np.cos(y1) * np.sin(y0) - np.sin(y1) * np.cos(y0) * np.cos(x0 - x1))
    moved = (lon0 != lon1) | (lat0 != lat1)
    return speed, np.where(moved, (np.degrees(back) + 180.0) % 360.0, np.nan)


def ahead(lon: Floats, lat: Floats, sog: Floats, cog: Floats, duration: int) -> tuple[Floats, Floats]:
    """Where the great circle of a course leads in ``duration`` microseconds."""
    away, course, y = sog * KNOT * (duration / 1e6) / EARTH_RADIUS, np.radians(cog), np.radians(lat)
    north = np.arcsin(np.sin(y) * np.cos(away) + np.cos(y) * np.sin(away) * np.cos(course))
    east = np.arctan2(np.sin(course) * np.sin(away) * np.cos(y), np.cos(away) - np.sin(y) * np.sin(north))
    out = lon + np.degrees(east)
    return out - 360.0 * ((out > 180.0).astype(float) - (out < -180.0)), np.degrees(north)
