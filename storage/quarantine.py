"""Quarantine rows: what could not be taken, ready for the database."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from storage.times import iso

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from decoders.records import Reject

#: Of a refused message, as many bytes are kept, beside its full size and the SHA-256 of all that was held of it.
RAW_LIMIT: Final = 64 * 1024

#: Refused bytes sent in one statement, about: PostgreSQL takes no parameter over 1 GB, and no JSON string over 256 MB.
_SLICE: Final = 8 * 1024 * 1024

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


@dataclass(slots=True, frozen=True)
class Refusal:
    """One row of ``quarantine``."""

    id: UUID
    values: dict[str, Any]  # column -> JSON value; raw and sha256 in hexadecimal

    @property
    def weight(self) -> int:
        """About how many bytes it takes on the way to the database."""
        return len(self.values["raw"]) + 500


def refusal(reject: Reject) -> Refusal:
    """The row of a reject. Equal source, origin, reason and bytes give an equal id."""
    size = max(reject.size, len(reject.raw))
    identity = refusal_id(reject.source, reject.origin, reject.reason, reject.raw, size)
    return Refusal(
        identity,
        {
            "id": str(identity),
            "received_at": iso(reject.received_at),
            "source_id": reject.source,
            "origin": clean(reject.origin),
            "reason": str(reject.reason),
            "detail": clean(reject.detail),
            "line": reject.line,
            "raw": reject.raw[:RAW_LIMIT].hex(),
            "size": size,
            "sha256": sha256(reject.raw).hexdigest(),
        },
    )


def refusal_id(source: int, origin: str, reason: str, raw: bytes, size: int) -> UUID:
    """A 128-bit keyed hash; every part is preceded by its length, so that no two inputs run into one."""
    state = blake2b(digest_size=16, person=b"quarantine")
    parts = [str(source).encode(), origin.encode("utf-8", "surrogatepass"), reason.encode(), raw]
    if size > len(raw):  # two that begin alike are not one
        parts.append(str(size).encode())
    for part in parts:
        state.update(len(part).to_bytes(8))
        state.update(part)
    return UUID(bytes=state.digest())


def clean(text: str) -> str:
    """Text that PostgreSQL takes: NUL and lone surrogates become U+FFFD. Quarantine itself must never refuse a row."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def sliced(refusals: Sequence[Refusal]) -> list[list[Refusal]]:
    """In parts small enough for one parameter; within the whole, each id once."""
    parts: list[list[Refusal]] = []
    weight = _SLICE
    for one in {r.id: r for r in reversed(refusals)}.values():
        if weight + one.weight > _SLICE:
            parts.append([])
            weight = 0
        parts[-1].append(one)
        weight += one.weight
    return parts


def first_of(refusals: Sequence[Refusal], new: set[Any]) -> NDArray[np.bool_]:
    """True for the first refusal of each id that is new."""
    left = set(new)
    flags = np.zeros(len(refusals), dtype=np.bool_)
    for n, one in enumerate(refusals):
        if one.id in left:
            left.remove(one.id)
            flags[n] = True
    return flags
