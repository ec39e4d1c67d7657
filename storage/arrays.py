"""NumPy columns as PostgreSQL array parameters, in the binary format (``array_recv`` in PostgreSQL's source)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from psycopg.adapt import Dumper
from psycopg.pq import Format

from storage.columns import POSTGRES_EPOCH

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from psycopg.abc import AdaptContext

_ELEMENT: Final = np.dtype([("length", ">i4"), ("value", ">i8")])


@dataclass(slots=True, frozen=True)
class BigintArray:
    """A parameter of type ``bigint[]``."""

    values: NDArray[np.int64]


@dataclass(slots=True, frozen=True)
class TimestampArray:
    """A parameter of type ``timestamptz[]``, from microseconds since 1970-01-01."""

    values: NDArray[np.int64]


class _ArrayDumper(Dumper):
    format = Format.BINARY
    element_oid: ClassVar[int]
    shift: ClassVar[int] = 0

    def dump(self, obj: BigintArray | TimestampArray) -> bytes:
        elements = np.empty(len(obj.values), dtype=_ELEMENT)
        elements["length"] = 8
        elements["value"] = obj.values - self.shift
        dimensions = (1, 0, self.element_oid, len(elements), 1) if len(elements) else (0, 0, self.element_oid)
        return struct.pack(f"!{len(dimensions)}i", *dimensions) + elements.tobytes()


class _BigintArrayDumper(_ArrayDumper):
    oid = 1016  # bigint[]
    element_oid = 20


class _TimestampArrayDumper(_ArrayDumper):
    oid = 1185  # timestamptz[]
    element_oid = 1184
    shift = POSTGRES_EPOCH


def register(context: AdaptContext) -> None:
    """Let a connection take these as parameters."""
    context.adapters.register_dumper(BigintArray, _BigintArrayDumper)
    context.adapters.register_dumper(TimestampArray, _TimestampArrayDumper)
