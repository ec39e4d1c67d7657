"""Columns to rows and back, in PostgreSQL's binary COPY format, without a Python object per value.

The format (PostgreSQL's manual, COPY, "Binary Format"): a signature, two ``int32`` that are zero here, then for each
row the number of its fields as ``int16`` and each field as an ``int32`` length and that many bytes, all big-endian;
length -1 and no bytes is NULL; a row of -1 fields ends it. Rows whose columns all have a fixed width are thus a packed
array, written column by column; where some values are NULL their bytes are masked out of it afterwards.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

#: timestamptz counts microseconds from 2000-01-01; this is that day in microseconds since 1970-01-01.
POSTGRES_EPOCH: Final = 946_684_800_000_000

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
TRAILER: Final = struct.pack("!h", -1)

#: The types of fixed width, as they are sent.
FIXED: Final[dict[str, np.dtype[Any]]] = {
    "bigint": np.dtype(">i8"),
    "timestamptz": np.dtype(">i8"),
    "integer": np.dtype(">i4"),
    "smallint": np.dtype(">i2"),
    "double precision": np.dtype(">f8"),
    "real": np.dtype(">f4"),
    "boolean": np.dtype("?"),
}
_TEXT: Final = {"text": b"", "jsonb": b"\x01"}  # what comes before the UTF-8 text; jsonb says its version


@dataclass(slots=True, frozen=True)
class Column:
    """One column of a table in the database and the field of a NumPy table it is filled from.

    A nullable one has NaN, or the least value of its field's integer type, for NULL (``decoders.records``); in a text
    column None is NULL.
    """

    name: str
    type: str
    field: str
    nullable: bool = False

    @property
    def fixed(self) -> bool:
        return self.type in FIXED


def encode(columns: Sequence[Column], table: Mapping[str, NDArray[Any]] | NDArray[Any], rows: int) -> bytes:
    """The rows as one binary COPY, signature and trailer included.

    Columns of fixed width must come before those of text.

    Args:
        columns: in the order of the COPY statement.
        table: a structured array, or a mapping of field name to array, all ``rows`` long.
        rows: how many.

    Raises:
        UnicodeEncodeError: a text holds a lone surrogate.
        ValueError: a text column comes before one of fixed width.
    """
    fixed = [column for column in columns if column.fixed]
    rest = columns[len(fixed) :]
    if any(column.fixed for column in rest):
        raise ValueError("columns of fixed width come first")
    packed, lengths = _pack(fixed, table, rows, len(columns))
    if rest:
        packed = _interleave(packed, lengths, [texts(column, table[column.field]) for column in rest])
    return b"".join((SIGNATURE, packed, TRAILER))


def _pack(
    columns: Sequence[Column], table: Mapping[str, NDArray[Any]] | NDArray[Any], rows: int, fields: int
) -> tuple[bytes, NDArray[np.int64]]:
    """The fixed columns of every row, field count first, and the length of each row's part."""
    values: dict[int, NDArray[Any]] = {}
    nulls: dict[int, NDArray[np.bool_]] = {}
    layout: list[tuple[str, np.dtype[Any]]] = [("fields", np.dtype(">i2"))]
    for number, column in enumerate(columns):
        data = table[column.field]
        mask = null(data) if column.nullable else None
        layout.append((f"length{number}", np.dtype(">i4")))
        if mask is not None and mask.any():
            nulls[number] = mask
            if mask.all():
                continue  # nothing but the length is sent
        values[number] = data - POSTGRES_EPOCH if column.type == "timestamptz" else data
        layout.append((f"value{number}", FIXED[column.type]))
    packed = np.empty(rows, dtype=np.dtype(layout))
    packed["fields"] = fields
    for number, column in enumerate(columns):
        packed[f"length{number}"] = FIXED[column.type].itemsize
        if number in values:
            packed[f"value{number}"] = values[number]
        if number in nulls:
            packed[f"length{number}"][nulls[number]] = -1
    stride = packed.dtype.itemsize
    some = [number for number in nulls if number in values]
    if not some:
        return packed.tobytes(), np.full(rows, stride, dtype=np.int64)
    kept = np.ones((rows, stride), dtype=np.bool_)
    offsets = packed.dtype.fields
    assert offsets is not None  # it is structured
    for number in some:
        kind, offset = offsets[f"value{number}"][:2]
        kept[:, offset : offset + kind.itemsize] = ~nulls[number][:, np.newaxis]
    matrix = packed.view(np.uint8).reshape(rows, stride)
    return matrix[kept].tobytes(), np.count_nonzero(kept, axis=1)


def null(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the values of a nullable column of fixed width stand for NULL."""
    found: NDArray[np.bool_] = np.isnan(data) if data.dtype.kind == "f" else data == np.iinfo(data.dtype).min
    return found


def texts(column: Column, data: Sequence[Any] | NDArray[Any]) -> list[bytes]:
    """The values of a column of text, each with its length before it.

    Raises:
        UnicodeEncodeError: a text holds a lone surrogate.
    """
    before = _TEXT[column.type]
    size = len(before)
    fields = []
    for value in data:
        if value is None:
            fields.append(b"\xff\xff\xff\xff")
        else:
            encoded = value if isinstance(value, bytes) else value.encode()
            fields.append(struct.pack("!i", size + len(encoded)) + before + encoded)
    return fields


def _interleave(packed: bytes, lengths: NDArray[np.int64], texts: Sequence[Sequence[bytes]]) -> bytes:
    ends = np.cumsum(lengths).tolist()
    starts = [0, *ends][: len(ends)]
    parts: list[bytes] = []
    for start, end, *fields in zip(starts, ends, *texts, strict=True):
        parts.append(packed[start:end])
        parts.extend(fields)
    return b"".join(parts)


def stride(columns: Sequence[Column]) -> int:
    """Bytes of one row of columns of fixed width without NULL."""
    return 2 + sum(4 + FIXED[column.type].itemsize for column in columns)


def decode(columns: Sequence[Column], data: bytes, dtype: np.dtype[Any]) -> NDArray[np.void]:
    """A table of ``dtype`` from one binary COPY of columns of fixed width without NULL; other fields are zero.

    Raises:
        ValueError: the bytes are not such a COPY.
    """
    layout: list[tuple[str, np.dtype[Any]]] = [("fields", np.dtype(">i2"))]
    for number, column in enumerate(columns):
        layout += [(f"length{number}", np.dtype(">i4")), (f"value{number}", FIXED[column.type])]
    packed_type = np.dtype(layout)
    body = len(data) - len(SIGNATURE) - len(TRAILER)
    if not data.startswith(SIGNATURE) or not data.endswith(TRAILER) or body % packed_type.itemsize:
        raise ValueError("not a binary COPY of columns of fixed width without NULL")
    packed = np.frombuffer(data, dtype=packed_type, offset=len(SIGNATURE), count=body // packed_type.itemsize)
    table = np.zeros(len(packed), dtype=dtype)
    for number, column in enumerate(columns):
        if (packed[f"length{number}"] != FIXED[column.type].itemsize).any():
            raise ValueError(f"column {column.name} is NULL or of another type")
        shift = POSTGRES_EPOCH if column.type == "timestamptz" else 0
        table[column.field] = packed[f"value{number}"] + shift if shift else packed[f"value{number}"]
    return table
