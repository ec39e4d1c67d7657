"""What is known of vessels and devices beside what they send: who carries a transponder, and where a device stands.

Data, without I/O: ``storage.registry`` reads it from the database, and an engine judges by one registry all its life.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(slots=True, frozen=True)
class Vessel:
    """One hull, as the registry has it. None: the registry does not say."""

    id: str
    name: str | None = None
    registration_no: str | None = None
    flag: str | None = None  # ISO 3166-1 alpha-2
    kind: str | None = None  # such as "fishing" or "logistics"
    length_m: float | None = None  # greatest length (Lmax), metres
    gear: str | None = None
    home_port: str | None = None
    licence_no: str | None = None
    licensed: tuple[int, int] | None = None  # from, up to and not including: event times, microseconds
    licence_zone: str | None = None
    lists: frozenset[str] = frozenset()


@dataclass(slots=True, frozen=True)
class Carried:
    """A vessel that carries a transponder from an event time up to, not including, another; microseconds."""

    vessel: Vessel
    since: int
    until: int


@dataclass(slots=True, frozen=True)
class Site:
    """Where a device stands (degrees, WGS 84), if that is known, and the groups it is in."""

    lon: float | None = None
    lat: float | None = None
    groups: frozenset[str] = frozenset()

    @property
    def place(self) -> tuple[float, float] | None:
        """Longitude and latitude; None if it is not known."""
        return None if self.lon is None or self.lat is None else (self.lon, self.lat)


@dataclass(slots=True, frozen=True)
class Registry:
    """Vessels by the transponders they carry, and devices by name ("gateway/device")."""

    carried: Mapping[int, Sequence[Carried]] = field(default_factory=dict)
    sites: Mapping[str, Site] = field(default_factory=dict)
    version: str = ""  # changes when anything in it does

    def vessel(self, transponder: int, time: int) -> Vessel | None:
        """Who carries a transponder at an event time, microseconds; the one who has it for the shortest, of several."""
        found = None
        for carried in self.carried.get(transponder, ()):
            if carried.since <= time < carried.until and (found is None or carried.since > found.since):
                found = carried
        return None if found is None else found.vessel

    def site(self, device: str) -> Site | None:
        """What is known of a device by name; None: it is not in the registry."""
        return self.sites.get(device)


#: Of a database in which nobody has registered anything.
UNREGISTERED: Final = Registry()
