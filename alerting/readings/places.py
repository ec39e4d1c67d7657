"""Where devices stand by the registry, and in which groups they are: what rules on devices ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alerting.registry.register import fold
from geofence.index import ZoneIndex
from geofence.sets import NOWHERE
from geofence.sphere import metres

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alerting.registry.register import Registry
    from alerting.rules.devices import OnDevices
    from geofence.zones import Zone


class Places:
    """A registry, and the zones that rules may speak of."""

    def __init__(self, registry: Registry, zones: Sequence[Zone]) -> None:
        self._registry = registry
        self._zones = {zone.id: zone for zone in zones if not zone.is_line}
        self._inside: dict[tuple[str, ...], frozenset[str]] = {}

    def asked(self, rule: OnDevices) -> Callable[[str], bool]:
        """Whether a device, named "gateway/device", is in the groups and at the place that a rule asks for.

        Raises:
            ValueError: the rule speaks of a zone that is not there.
        """
        groups = None if rule.groups is None else frozenset(map(fold, rule.groups))
        inside = None if rule.in_zones is None else self._in(rule.in_zones)
        near = rule.near

        def stands(device: str) -> bool:
            site = self._registry.site(device)
            if site is None or (inside is not None and device not in inside):
                return False
            if groups is not None and groups.isdisjoint(map(fold, site.groups)):
                return False
            if near is None:
                return True
            return site.place is not None and metres(*site.place, near.lon, near.lat) <= near.within_m

        return stands

    def _in(self, zones: tuple[str, ...]) -> frozenset[str]:
        """The registered devices that stand in any of these zones."""
        if zones not in self._inside:
            if missing := sorted(set(zones) - self._zones.keys()):
                raise ValueError(f"rules speak of unknown zones: {', '.join(missing)}")
            sites = [(name, *site.place) for name, site in self._registry.sites.items() if site.place is not None]
            index = ZoneIndex([self._zones[zone] for zone in dict.fromkeys(zones)])
            lon, lat = (np.array([site[place] for site in sites], np.float64) for place in (1, 2))
            found = index.locate(lon, lat)
            self._inside[zones] = frozenset(sites[i][0] for i in np.flatnonzero(found != NOWHERE).tolist())
        return self._inside[zones]
