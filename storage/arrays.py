"""NumPy columns as PostgreSQL array parameters, in the binary format (``array_recv`` in PostgreSQL's source).

``INSERT ... SELECT ... FROM unnest(...)`` over one such array a column writes thousands of rows by one statement, and
one row by the same.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from psycopg.adapt import Dumper, PyFormat
from psycopg.pq import Format

from storage.columns import FIXED, POSTGRES_EPOCH, null, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from psycopg.abc import AdaptContext

    from storage.columns import Column

#: Object ids of a type and of arrays of it (``pg_type.dat`` in PostgreSQL's source; they never change).
_OIDS: Final = {
    "boolean": (16, 1000),
    "bigint": (20, 1016),
    "smallint": (21, 1005),
    "integer": (23, 1007),
    "text": (25, 1009),
    "real": (700, 1021),
    "double precision": (701, 1022),
    "timestamptz": (1184, 1185),
    "jsonb": (3802, 3807),
}


#: Up to so many values are packed one by one.
_FEW: Final = 8
_PACK: Final = {
    type_: (
        struct.Struct("!i" + format_.char.replace("l", "q")).pack,  # l: eight bytes to NumPy, four to struct
        format_.itemsize,
    )
    for type_, format_ in FIXED.items()
}


@dataclass(slots=True, frozen=True)
class Array:
    """A parameter: an array of elements of ``type``."""

    type: str
    data: bytes


def column_array(column: Column, values: Sequence[Any] | NDArray[Any]) -> Array:
    """The values of a column; what stands for NULL becomes NULL (``storage.columns.Column``).

    Raises:
        UnicodeEncodeError: a text holds a lone surrogate.
    """
    if not column.fixed:
        parts = texts(column, values)
        return _array(column.type, len(parts), b"".join(parts), nulls=any(v is None for v in values))
    data = np.asarray(values)
    if len(data) <= _FEW:
        return _few(column, data)
    mask = null(data) if column.nullable else None
    if mask is None or not mask.any():
        return fixed_array(column.type, data)
    elements = _elements(column.type, data)
    size = elements.dtype.itemsize
    elements["length"][mask] = -1
    kept = np.ones((len(data), size), dtype=np.bool_)
    kept[:, 4:] = ~mask[:, np.newaxis]
    body = elements.view(np.uint8).reshape(len(data), size)[kept].tobytes()
    return _array(column.type, len(data), body, nulls=True)


def _few(column: Column, data: NDArray[Any]) -> Array:
    """As NumPy would do it, which costs more to set to work than these few values."""
    pack, size = _PACK[column.type]
    least = -1 << 8 * data.dtype.itemsize - 1 if column.nullable and data.dtype.kind == "i" else None
    body, nulls = b"", False
    for value in _shifted(column.type, data).tolist():
        if value == least or (column.nullable and value != value):  # noqa: PLR0124  # NaN
            body += b"\xff\xff\xff\xff"
            nulls = True
        else:
            body += pack(size, value)
    return _array(column.type, len(data), body, nulls=nulls)


def fixed_array(type_: str, values: NDArray[Any]) -> Array:
    """Values of a type of fixed width, none of them NULL; ``timestamptz`` from microseconds since 1970-01-01."""
    return _array(type_, len(values), _elements(type_, values).tobytes(), nulls=False)


def _elements(type_: str, values: NDArray[Any]) -> NDArray[np.void]:
    elements = np.empty(len(values), dtype=[("length", ">i4"), ("value", FIXED[type_])])
    elements["length"] = FIXED[type_].itemsize
    elements["value"] = _shifted(type_, values)
    return elements


def _shifted(type_: str, values: NDArray[Any]) -> NDArray[Any]:
    return values - POSTGRES_EPOCH if type_ == "timestamptz" else values


def _array(type_: str, length: int, body: bytes, *, nulls: bool) -> Array:
    dimensions = (1, int(nulls), _OIDS[type_][0], length, 1) if length else (0, 0, _OIDS[type_][0])
    return Array(type_, struct.pack(f"!{len(dimensions)}i", *dimensions) + body)


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj.data

    def get_key(self, obj: Array, format: PyFormat) -> Any:  # noqa: A002  # the name is psycopg's
        del format
        return self.cls, obj.type

    def upgrade(self, obj: Array, format: PyFormat) -> _ArrayDumper:  # noqa: A002  # likewise
        del format
        dumper = type(self)(self.cls)
        dumper.oid = _OIDS[obj.type][1]
        return dumper


def register(context: AdaptContext) -> None:
    """Let a connection take these as parameters."""
    context.adapters.register_dumper(Array, _ArrayDumper)
