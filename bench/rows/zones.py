"""Which zones is each point in?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import shapely

from bench import inputs
from bench.harness import OURS, Contestant, Measure, Row, Sample, Target, timed
from bench.peers import geometry
from geofence.index import ZoneIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from geofence.zones import Zone

    Floats = NDArray[np.float64]

BATCH = 1_000
_BULK = "STRtree.query bulk"
_TEN = Target(least=10)


class Zones(Row):
    name = "zones"
    title = "Zones: points in polygons of 160 vertices on average, batches of 1,000 points"
    measures = (
        Measure("points/s, 1,000 zones", "1/s", {_BULK: _TEN}),
        Measure("points/s, 10 zones", "1/s"),
        Measure("points/s, 10,000 zones", "1/s"),
        Measure("points/s, 1,000 zones, met for the first time", "1/s"),
        Measure("index of 1,000 zones", "s"),
        Measure("one zone of 1,000 edited", "s"),
    )

    def prepare(self) -> None:
        sizes = {"1,000": self.size(1_000, 50), "10": 10, "10,000": self.size(10_000, 200)}
        self._sets = {name: inputs.zones(count) for name, count in sizes.items()}
        self._polygons: dict[str, NDArray[np.object_]] = {}
        self._indexes: dict[str, ZoneIndex] = {}
        for name, zones in self._sets.items():
            self._polygons[name] = np.array([zone.geometry for zone in zones], dtype=object)
            shapely.prepare(self._polygons[name])
            self._indexes[name] = ZoneIndex(zones)
        self._trees = {name: shapely.STRtree(polygons) for name, polygons in self._polygons.items()}
        self._points = inputs.points(self.size(100_000, 2_000))
        for index in self._indexes.values():  # a service meets its zones once, and its points all day
            self._rate(index.locate, 1)
        per_point = sum(len(self._indexes["1,000"].zone_set(n)) for n in self._located().tolist()) / BATCH
        self.notes.append(f"{per_point:.1f} of the 1,000 zones hold a point on average")

    def _located(self) -> NDArray[np.int32]:
        lon, lat = self._points
        return self._indexes["1,000"].locate(lon[:BATCH], lat[:BATCH])

    def contestants(self) -> Sequence[Contestant]:
        return [
            Contestant(OURS, self._ours),
            Contestant(_BULK, lambda: self._peer(geometry.tree_bulk, 1, tuple(self._sets), builds=True)),
            Contestant("STRtree per point", lambda: self._peer(geometry.tree_per_point, 10)),
            Contestant("boxes + prepared", lambda: self._peer(geometry.boxes_and_prepared, 1)),
        ]

    def _ours(self) -> Sample:
        values, spent = {}, 0.0
        for name, index in self._indexes.items():
            values[f"points/s, {name} zones"], cpu = self._rate(index.locate, 1)
            spent += cpu
        with timed() as watch:
            fresh = ZoneIndex(self._sets["1,000"])
        values["index of 1,000 zones"] = watch.wall
        values["points/s, 1,000 zones, met for the first time"], _ = self._rate(fresh.locate, 1)
        edited = _edited(self._sets["1,000"])
        with timed() as watch:
            ZoneIndex(edited)
        values["one zone of 1,000 edited"] = watch.wall
        return Sample(values, spent)

    def _peer(
        self,
        work: Callable[..., object],
        share: int,
        sets: tuple[str, ...] = ("1,000",),
        *,
        builds: bool = False,
    ) -> Sample:
        """``share``: one of so many batches is enough for one that slow."""
        values, spent = {}, 0.0
        for name in sets:
            tree, polygons = self._trees[name], self._polygons[name]

            def asked(lon: Floats, lat: Floats, tree: object = tree, polygons: object = polygons) -> object:
                return work(tree, polygons, lon, lat)

            values[f"points/s, {name} zones"], cpu = self._rate(asked, share)
            spent += cpu
        if builds:
            with timed() as watch:
                fresh = np.array([zone.geometry for zone in self._sets["1,000"]], dtype=object)
                shapely.prepare(fresh)
                shapely.STRtree(fresh)
            values["index of 1,000 zones"] = values["one zone of 1,000 edited"] = watch.wall
        return Sample(values, spent)

    def _rate(self, work: Callable[[Floats, Floats], object], share: int) -> tuple[float, float]:
        """Points per second, and the CPU seconds of it."""
        lon, lat = self._points
        count = max(BATCH, len(lon) // share // BATCH * BATCH)
        with timed() as watch:
            for start in range(0, count, BATCH):
                work(lon[start : start + BATCH], lat[start : start + BATCH])
        return count / watch.wall, watch.cpu


def _edited(zones: Sequence[Zone]) -> list[Zone]:
    """The zones, one of them a little larger."""
    first, *others = zones
    return [replace(first, geometry=first.geometry.buffer(0.001)), *others]
