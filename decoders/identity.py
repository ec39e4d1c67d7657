"""Deterministic ids: the same name has the same 64-bit id in every process, on every machine, after every crash.

An AIS transponder's id is its MMSI, so ``WHERE transponder_id = 574123456`` reads as it should. Everything else
gets a keyed BLAKE2b hash with bit 62 set, which no MMSI reaches; at a million names the chance of any two sharing
an id is about 1 in 9,000,000.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache, lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, overload

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_TOP = 1 << 62
#: MMSIs of ships begin with the digits 2 to 7 (``MmsiClass.SHIP``).
_PAST_MMSIS: Final = 1_000_000_000
_FIRST_SHIP: Final = 200_000_000
_PAST_SHIPS: Final = 800_000_000


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


def _by_first_digits() -> list[MmsiClass]:
    found = (
        next((form for length in (3, 2, 1) if (form := _FORMS.get(f"{digits:03d}"[:length]))), MmsiClass.UNKNOWN)
        for digits in range(1000)
    )
    return list(found)


#: By the first three digits.
_CLASSES: Final = _by_first_digits()
_PLACES: Final = np.array([list(MmsiClass).index(form) for form in _CLASSES], np.int16)


def mmsi_class(mmsi: int) -> MmsiClass:
    """The class of a nine-digit MMSI; ``UNKNOWN`` for a form the standard does not assign, and for what is no MMSI."""
    return _CLASSES[mmsi // 1_000_000] if mmsi < _PAST_MMSIS else MmsiClass.UNKNOWN


def mmsi_classes(mmsi: NDArray[np.int64]) -> NDArray[np.int16]:
    """The place of the class of each nine-digit MMSI in ``MmsiClass``, from 0."""
    return _PLACES[mmsi // 1_000_000]


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


@lru_cache(maxsize=1024)
def source_id(name: str) -> int:
    return _hash("source", name)


@lru_cache(maxsize=65_536)
def gateway_id(name: str) -> int:
    return _hash("gateway", name)


def device_id(gateway: str, device: str) -> int:
    return _hash("device", f"{gateway}/{device}")


def metric_id(name: str) -> int:
    return _hash("metric", name)


@overload
def is_ais(transponder: int) -> bool: ...
@overload
def is_ais(transponder: NDArray[np.int64]) -> NDArray[np.bool_]: ...
def is_ais(transponder: int | NDArray[np.int64]) -> bool | NDArray[np.bool_]:
    """Whether a transponder, by its id, is an AIS one; of many, which are."""
    return transponder < _TOP


@overload
def is_vessel(transponder: int) -> bool: ...
@overload
def is_vessel(transponder: NDArray[np.int64]) -> NDArray[np.bool_]: ...
def is_vessel(transponder: int | NDArray[np.int64]) -> bool | NDArray[np.bool_]:
    """Whether a transponder, by its id, is one that vessels carry: an AIS one of the class SHIP, or none of AIS."""
    return (transponder >= _TOP) | ((transponder >= _FIRST_SHIP) & (transponder < _PAST_SHIPS))


def transponder_id(kind: str, identifier: str) -> int:
    """The id of a transponder that is not AIS, such as ``("vms", "HUE-0012")``."""
    return _hash("transponder", f"{kind}:{identifier}")


def digest(payload: bytes) -> int:
    """A signed 64-bit digest of what was published; equal bytes, equal digest."""
    return int.from_bytes(blake2b(payload, digest_size=8).digest(), signed=True)


# Digests of AIS transmissions are taken of whole batches at once, so they are made of 64-bit multiplications, shifts
# and additions alone. Every 48-bit word of the message is multiplied by an odd number of its place and mixed as
# MurmurHash3 finishes (a permutation in which each bit in changes each bit out about every second time); the sum of
# all, with the length, is mixed once more. Of unlike messages, two share a digest about once in 2**64: as rarely as
# with BLAKE2b. Unlike that it can be run backwards: who transmits may craft a message with the digest of another. That
# gains nothing: only messages of one MMSI within seconds are compared, and a false one can as well be sent under it.

_MIX: Final = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
_LENGTH: Final = 0x9E3779B97F4A7C15
_ALL: Final = (1 << 64) - 1


@cache
def _factor(place: int) -> int:
    """The odd factor of a word: SplitMix64's output for its place."""
    value = (place + 1) * _LENGTH & _ALL
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _ALL
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _ALL
    return value ^ value >> 31 | 1


def _mixed(value: int) -> int:
    for factor in _MIX:
        value = (value ^ value >> 33) * factor & _ALL
    return value ^ value >> 33


def ais_digest(words: Sequence[int], characters: int, fill: int) -> int:
    """A signed 64-bit digest of an AIS message as transmitted; equal messages, equal digests.

    Args:
        words: its bits, 48 a word (``decoders.armour``), those of the last character that are no data included; words
            of zeros at the end change nothing.
        characters: of its armoured payload.
        fill: bits of the last character that are no data.
    """
    total = sum(_mixed(word * _factor(place) & _ALL) for place, word in enumerate(words))
    value = _mixed(total + (8 * characters + fill) * _LENGTH & _ALL)
    return value - (1 << 64) if value >> 63 else value


def ais_digests(words: NDArray[np.uint64], characters: NDArray[np.int64], fill: NDArray[np.int64]) -> NDArray[np.int64]:
    """``ais_digest`` of many messages; ``words`` has a row for each word and a column for each message."""
    total = (8 * characters + fill).view(np.uint64) * np.uint64(_LENGTH)
    for place, row in enumerate(words):
        total += _mix(row * np.uint64(_factor(place)))
    return _mix(total).view(np.int64)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """``_mixed`` of each, in place."""
    for factor in _MIX:
        value ^= value >> np.uint64(33)
        value *= np.uint64(factor)
    value ^= value >> np.uint64(33)
    return value
