"""Deterministic ids: the same name has the same 64-bit id in every process, on every machine, after every crash.

An AIS transponder's id is its MMSI, so ``WHERE transponder_id = 574123456`` reads as it should. Everything else
gets a keyed BLAKE2b hash with bit 62 set, which no MMSI reaches; at a million names the chance of any two sharing
an id is about 1 in 9,000,000.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from typing import Final

_TOP = 1 << 62


class MmsiClass(StrEnum):
    """Who transmits, by the form of the MMSI (ITU-R M.585-9, Annex 1)."""

    SHIP = "ship"  # MIDxxxxxx, first digit 2..7
    GROUP = "group"  # 0MIDxxxxx
    BASE_STATION = "base_station"  # 00MIDxxxx
    SAR_AIRCRAFT = "sar_aircraft"  # 111MIDxxx
    HANDHELD = "handheld"  # 8MIDxxxxx
    SART = "sart"  # 970xxyyyy
    MOB = "mob"  # 972xxyyyy
    EPIRB = "epirb"  # 974xxyyyy
    CRAFT = "craft"  # 98MIDxxxx, craft associated with a parent ship
    ATON = "aton"  # 99MIDxxxx
    UNKNOWN = "unknown"


#: Form of an MMSI by its first digits; the longest that matches counts.
_FORMS: Final = {
    "111": MmsiClass.SAR_AIRCRAFT,
    "970": MmsiClass.SART,
    "972": MmsiClass.MOB,
    "974": MmsiClass.EPIRB,
    "00": MmsiClass.BASE_STATION,
    "98": MmsiClass.CRAFT,
    "99": MmsiClass.ATON,
    "0": MmsiClass.GROUP,
    "8": MmsiClass.HANDHELD,
    **dict.fromkeys("234567", MmsiClass.SHIP),
}


def mmsi_class(mmsi: int) -> MmsiClass:
    """The class of a nine-digit MMSI; ``UNKNOWN`` for a form the standard does not assign."""
    text = f"{mmsi:09d}"
    return next((found for length in (3, 2, 1) if (found := _FORMS.get(text[:length]))), MmsiClass.UNKNOWN)


def mid(mmsi: int) -> int | None:
    """The Maritime Identification Digits (574 is Viet Nam) within an MMSI, or None where its form has none."""
    text = f"{mmsi:09d}"
    at = {
        MmsiClass.SHIP: 0,
        MmsiClass.GROUP: 1,
        MmsiClass.HANDHELD: 1,
        MmsiClass.BASE_STATION: 2,
        MmsiClass.CRAFT: 2,
        MmsiClass.ATON: 2,
        MmsiClass.SAR_AIRCRAFT: 3,
    }.get(mmsi_class(mmsi))
    if at is None or not "2" <= text[at] <= "7":
        return None
    return int(text[at : at + 3])


def _hash(kind: str, name: str) -> int:
    found = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, person=kind.encode())
    return int.from_bytes(found.digest()) >> 2 | _TOP


def source_id(name: str) -> int:
    return _hash("source", name)


def device_id(gateway: str, device: str) -> int:
    return _hash("device", f"{gateway}/{device}")


def metric_id(name: str) -> int:
    return _hash("metric", name)


def transponder_id(kind: str, identifier: str) -> int:
    """The id of a transponder that is not AIS, such as ``("vms", "HUE-0012")``."""
    return _hash("transponder", f"{kind}:{identifier}")


def digest(payload: bytes) -> int:
    """A signed 64-bit digest of what was transmitted; equal bytes, equal digest."""
    return int.from_bytes(blake2b(payload, digest_size=8).digest(), signed=True)
