"""What is known of vessels and devices beside what they send: who carries a transponder, and where a device stands.

Data, without I/O: ``storage.registry`` reads it from the database, and an engine judges by one registry all its life.
Times are event times in microseconds UTC, from the first up to, not including, the second; ``BEGINNING`` and ``END``
where a span is open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from unicodedata import normalize

from alerting.model import SubjectKind
from decoders.identity import transponder_id
from decoders.times import iso_time, to_iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from alerting.model import Subject

#: The bounds of a span that is open.
BEGINNING: Final = -(2**62)
END: Final = 2**62

Span = tuple[int, int]


def fold(word: str) -> str:
    """What two words of the registry have in common that are the same but for their case, and how it is encoded."""
    return (word if word.isascii() else normalize("NFC", word)).casefold()


class Licence(StrEnum):
    """How a vessel's licence to fish stands at a time."""

    VALID = "valid"
    EXPIRED = "expired"
    NONE = "none"  # the registry has none, or one that begins later


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
    licensed: Span | None = None
    licence_zone: str | None = None
    lists: frozenset[str] = frozenset()

    @property
    def label(self) -> str | None:
        """What people call it: by its registration number, or else by its name."""
        return self.registration_no or self.name

    def licence(self, time: int) -> Licence:
        """How its licence stands at an event time."""
        if self.licensed is None or time < self.licensed[0]:
            return Licence.NONE
        return Licence.VALID if time < self.licensed[1] else Licence.EXPIRED


@dataclass(slots=True, frozen=True)
class Carried:
    """A vessel that carries a transponder from an event time up to, not including, another."""

    vessel: Vessel
    since: int
    until: int

    def told(self) -> dict[str, Any]:
        """JSON-ready: all by which rules judge, so that an alert says what it was judged with."""
        vessel = self.vessel
        said = {name: getattr(vessel, name) for name in _TOLD}
        said["lists"] = sorted(vessel.lists)
        said["licensed"] = vessel.licensed and _span(vessel.licensed)
        said["carried"] = _span((self.since, self.until))
        return {name: value for name, value in said.items() if value not in (None, [])}

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Carried:
        """What ``told`` made.

        Raises:
            KeyError, TypeError, ValueError: it is not of that form.
        """
        licensed = said.get("licensed")
        vessel = Vessel(
            **{name: said.get(name) for name in _TOLD if name != "id"},
            id=said["id"],
            licensed=None if licensed is None else _from_span(licensed),
            lists=frozenset(said.get("lists", ())),
        )
        return cls(vessel, *_from_span(said["carried"]))


_TOLD: Final = (
    *("id", "name", "registration_no", "flag", "kind", "length_m", "gear", "home_port"),
    *("licence_no", "licence_zone"),
)


@dataclass(slots=True, frozen=True)
class Fitted:
    """A transponder that a vessel carries, by what it is called on the wire.

    ``kind`` is "ais", and ``identifier`` an MMSI; or "device", and "gateway/device" as in the topic of its positions.
    """

    kind: str
    identifier: str
    since: int = BEGINNING
    until: int = END

    @property
    def id(self) -> int:
        """Of the transponder (``decoders.identity``)."""
        return int(self.identifier) if self.kind == "ais" else transponder_id(self.kind, self.identifier)


@dataclass(slots=True, frozen=True)
class VesselEntry:
    """A vessel as it is entered in the registry."""

    vessel: Vessel
    fitted: tuple[Fitted, ...] = ()
    owner: str | None = None


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

    def told(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"lon": self.lon, "lat": self.lat, "groups": sorted(self.groups)}

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Site:
        """What ``told`` made.

        Raises:
            KeyError, TypeError: it is not of that form.
        """
        return cls(said["lon"], said["lat"], frozenset(said["groups"]))


@dataclass(slots=True, frozen=True)
class DeviceEntry:
    """A device as it is entered in the registry."""

    gateway: str
    device: str
    site: Site


@dataclass(slots=True, frozen=True)
class Registry:
    """Vessels by the transponders they carry, and devices by name ("gateway/device")."""

    carried: Mapping[int, Sequence[Carried]] = field(default_factory=dict)
    sites: Mapping[str, Site] = field(default_factory=dict)
    version: str = ""  # changes when anything in it does

    def carrier(self, transponder: int, time: int) -> Carried | None:
        """Who carries a transponder at an event time; of several the one who has had it for the shortest."""
        found = None
        for carried in self.carried.get(transponder, ()):
            if carried.since <= time < carried.until and (found is None or carried.since > found.since):
                found = carried
        return found

    def vessel(self, transponder: int, time: int) -> Vessel | None:
        """The vessel that carries a transponder at an event time (``carrier``)."""
        found = self.carrier(transponder, time)
        return None if found is None else found.vessel

    def site(self, device: str) -> Site | None:
        """What is known of a device by name; None: it is not in the registry."""
        return self.sites.get(device)

    def of(self, transponders: Iterable[int], devices: Iterable[str]) -> Registry:
        """Of these transponders and devices alone."""
        carried = {id_: self.carried[id_] for id_ in sorted(transponders) if id_ in self.carried}
        return Registry(carried, {name: self.sites[name] for name in sorted(devices) if name in self.sites})

    def as_told(self, subject: Subject, time: int, details: Mapping[str, Any]) -> Registry:
        """As it was when an alert about what began at an event time was judged, by what the alert says of its subject.

        Raises:
            KeyError, TypeError, ValueError: the details are not those of an alert.
        """
        carried, sites = dict(self.carried), dict(self.sites)
        if subject.kind is SubjectKind.DEVICE:
            sites.pop(subject.name, None)
            if "site" in details:
                sites[subject.name] = Site.of(details["site"])
        elif subject.kind is SubjectKind.TRANSPONDER:
            others = [one for one in self.carried.get(subject.id, ()) if not one.since <= time < one.until]
            carried[subject.id] = others + ([Carried.of(details["vessel"])] if "vessel" in details else [])
        return Registry(carried, sites)

    def told(self) -> dict[str, Any]:
        """JSON-ready."""
        vessels = [{"transponder": id_, **one.told()} for id_, some in sorted(self.carried.items()) for one in some]
        return {"vessels": vessels, "devices": {name: site.told() for name, site in sorted(self.sites.items())}}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Registry:
        """What ``told`` made.

        Raises:
            KeyError, TypeError, ValueError: it is not of that form.
        """
        carried: dict[int, list[Carried]] = {}
        for one in said["vessels"]:
            carried.setdefault(one["transponder"], []).append(Carried.of(one))
        return cls(carried, {name: Site.of(site) for name, site in said["devices"].items()})

    @property
    def vessels(self) -> Iterable[Vessel]:
        """Every vessel that carries a transponder, each as often as it does."""
        return (each.vessel for some in self.carried.values() for each in some)

    def words(self) -> dict[str, frozenset[str]]:
        """What vessels with a transponder are said to be, by attribute, and the ``groups`` of devices; folded."""
        vessels = list(self.vessels)
        found: dict[str, frozenset[str]] = {
            name: frozenset(fold(word) for word in {getattr(vessel, name) for vessel in vessels} if word is not None)
            for name in ("kind", "flag", "gear", "home_port")
        }
        found["lists"] = frozenset(fold(word) for vessel in vessels for word in vessel.lists)
        found["groups"] = frozenset(fold(word) for site in self.sites.values() for word in site.groups)
        return found

    def edges(self, *, licences: bool) -> set[int]:
        """Event times at which another vessel carries a transponder, or (``licences``) a licence begins or ends."""
        spans = {(each.since, each.until) for some in self.carried.values() for each in some}
        if licences:
            spans |= {vessel.licensed for vessel in self.vessels if vessel.licensed is not None}
        return {edge for span in spans for edge in span} - {BEGINNING, END}


def _span(span: Span) -> list[str | None]:
    return [None if edge in (BEGINNING, END) else to_iso(edge) for edge in span]


def _from_span(said: Sequence[str | None]) -> Span:
    since, until = (None if text is None else iso_time(text) for text in said)
    if not isinstance(since, int | None) or not isinstance(until, int | None):
        raise ValueError(f"not a span of time: {said!r}")  # noqa: TRY004  # of text, which may be any
    return BEGINNING if since is None else since, END if until is None else until


#: Of a database in which nobody has registered anything.
UNREGISTERED: Final = Registry()
