"""Columns become the rows that PostgreSQL reads, nulls included, byte for byte as a naive encoder writes them."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.arrays import column_array, register
from storage.columns import POSTGRES_EPOCH, SIGNATURE, TRAILER, Column, decode, encode
from storage.tables import POSITIONS, STATICS
from tests.storage.samples import positions, statics

COLUMNS = (
    Column("a", "timestamptz", "time"),
    Column("b", "bigint", "digest"),
    Column("c", "double precision", "sog", nullable=True),
    Column("d", "real", "rot", nullable=True),
    Column("e", "integer", "imo", nullable=True),
    Column("f", "smallint", "heading", nullable=True),
    Column("g", "smallint", "nav_status", nullable=True),
    Column("h", "boolean", "flag"),
    Column("i", "text", "name", nullable=True),
    Column("j", "jsonb", "fields", nullable=True),
)
DTYPE = np.dtype(
    [
        ("time", "i8"),
        ("digest", "i8"),
        ("sog", "f8"),
        ("rot", "f4"),
        ("imo", "i4"),
        ("heading", "i2"),
        ("nav_status", "i1"),
        ("flag", "?"),
        ("name", "O"),
        ("fields", "O"),
    ]
)


def integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
ROWS = st.lists(
    st.tuples(
        st.integers(-62_000_000_000_000_000, 250_000_000_000_000_000),
        integers(64),
        st.floats(),
        st.floats(width=32),
        integers(32),
        integers(16),
        integers(8),
        st.booleans(),
        st.none() | TEXT,
        st.none() | st.sampled_from(['{"a": [1, null]}', "3", '"\u0111"']),
    ),
    max_size=20,
)


def naive(rows: list[tuple[Any, ...]]) -> bytes:
    """The format written down value by value, after PostgreSQL's manual."""

    def field(data: bytes | None) -> bytes:
        return struct.pack("!i", -1) if data is None else struct.pack("!i", len(data)) + data

    out = [b"PGCOPY\n\xff\r\n\0", struct.pack("!ii", 0, 0)]
    for time, digest, sog, rot, imo, heading, status, flag, name, fields in rows:
        out += [
            struct.pack("!h", 10),
            field(struct.pack("!q", time - POSTGRES_EPOCH)),
            field(struct.pack("!q", digest)),
            field(None if math.isnan(sog) else struct.pack("!d", sog)),
            field(None if math.isnan(rot) else struct.pack("!f", rot)),
            field(None if imo == -(2**31) else struct.pack("!i", imo)),
            field(None if heading == -(2**15) else struct.pack("!h", heading)),
            field(None if status == -128 else struct.pack("!h", status)),
            field(struct.pack("!?", flag)),
            field(None if name is None else name.encode()),
            field(None if fields is None else b"\x01" + fields.encode()),
        ]
    return b"".join([*out, struct.pack("!h", -1)])


@given(ROWS)
def test_bytes_are_those_of_a_naive_encoder(rows: list[tuple[Any, ...]]) -> None:
    assert encode(COLUMNS, np.array(rows, DTYPE), len(rows)) == naive(rows)


#: What stands for NULL in each column; None: nothing but None.
NULLS = (None, None, math.nan, math.nan, -(2**31), -(2**15), -128, None, None)


def read_back(value: Any, null: Any) -> Any:
    if isinstance(null, float):
        return None if math.isnan(value) else value
    return None if null is not None and value == null else value


def test_postgres_reads_back_what_went_in(any_database: str) -> None:
    with psycopg.connect(any_database) as connection:
        columns = ", ".join(f"{c.name} {c.type}" for c in COLUMNS)
        connection.execute(f"CREATE TEMPORARY TABLE t ({columns}, n serial)".encode())

        @settings(max_examples=50)
        @given(ROWS)
        def check(rows: list[tuple[Any, ...]]) -> None:
            connection.execute("TRUNCATE t")
            with (
                connection.cursor() as cursor,
                cursor.copy("COPY t (a,b,c,d,e,f,g,h,i,j) FROM STDIN (FORMAT BINARY)") as c,
            ):
                c.write(encode(COLUMNS, np.array(rows, DTYPE), len(rows)))
            found = connection.execute(
                "SELECT (extract(epoch FROM a) * 1000000)::bigint, b, c, d::double precision, e, f, g, h, i, j IS NULL"
                " FROM t ORDER BY n"
            ).fetchall()
            expected = [(*map(read_back, row[:9], NULLS), row[9] is None) for row in rows]
            assert found == expected

        check()


def test_postgres_reads_arrays_as_what_went_in(any_database: str) -> None:
    with psycopg.connect(any_database) as connection:
        register(connection)
        arrays = ", ".join(f"%s::{column.type}[]" for column in COLUMNS)
        query = (
            "SELECT (extract(epoch FROM a) * 1000000)::bigint, b, c, d::double precision, e, f, g, h, i, j IS NULL"
            f" FROM unnest({arrays}) WITH ORDINALITY AS u (a, b, c, d, e, f, g, h, i, j, n) ORDER BY n"
        ).encode()

        @settings(max_examples=100)
        @given(ROWS)
        def check(rows: list[tuple[Any, ...]]) -> None:
            table = np.array(rows, DTYPE)
            found = connection.execute(query, [column_array(c, table[c.field]) for c in COLUMNS]).fetchall()
            assert found == [(*map(read_back, row[:9], NULLS), row[9] is None) for row in rows]

        check()


@given(ROWS.filter(bool), st.sampled_from(range(len(COLUMNS))), st.integers(1, 20))
def test_few_values_are_packed_like_many(rows: list[tuple[Any, ...]], number: int, times: int) -> None:
    column, values = COLUMNS[number], np.array(rows, DTYPE)[COLUMNS[number].field]
    one, many = column_array(column, values), column_array(column, np.tile(values, 10 * times))
    header = 20
    assert many.data[header:] == one.data[header:] * 10 * times
    assert many.data[:12] == one.data[:12]


@given(st.integers(0, 2**8 - 1), st.integers(1, 30))
def test_any_mixture_of_nulls_keeps_every_other_value(pattern: int, rows: int) -> None:
    table = positions(*[{"sog": 5.0, "cog": 90.0, "rot": 1.0, "heading": 9, "nav_status": 3} for _ in range(rows)])
    nullable = ("sog", "cog", "rot", "heading", "nav_status")
    for bit, name in enumerate(nullable):
        if pattern >> bit & 1:
            table[name][pattern % rows] = np.nan if table.dtype[name].kind == "f" else np.iinfo(table.dtype[name]).min
    whole = encode(POSITIONS.columns, table, rows)
    parts = b"".join(
        encode(POSITIONS.columns, table[i : i + 1], 1)[len(SIGNATURE) : -len(TRAILER)] for i in range(rows)
    )
    assert whole == SIGNATURE + parts + TRAILER


@given(ROWS)
def test_decode_undoes_encode_where_nothing_is_null(rows: list[tuple[Any, ...]]) -> None:
    fixed = tuple(Column(c.name, c.type, c.field) for c in COLUMNS if c.fixed)
    dtype = np.dtype([(c.field, DTYPE[c.field]) for c in fixed])
    table = np.array([row[: len(fixed)] for row in rows], dtype)
    found = decode(fixed, encode(fixed, table, len(rows)), dtype)
    assert all(np.array_equal(found[n], table[n], equal_nan=n in ("sog", "rot")) for n in dtype.names or ())


@pytest.mark.parametrize("damage", [lambda b: b[1:], lambda b: b[:-1], lambda b: b[:-2] + b"\0" + b[-2:]])
def test_decode_refuses_what_is_not_such_a_copy(damage: Any) -> None:
    fixed = (Column("a", "bigint", "digest"),)
    data = encode(fixed, {"digest": np.array([1, 2])}, 2)
    with pytest.raises(ValueError, match="not a binary COPY"):
        decode(fixed, damage(data), np.dtype([("digest", "i8")]))


def test_decode_refuses_null() -> None:
    nullable = (Column("a", "integer", "imo", nullable=True),)
    data = encode(nullable, {"imo": np.array([-(2**31)] * 3 + [5], "i4")}, 4)
    with pytest.raises(ValueError, match=r"not a binary COPY|is NULL"):
        decode(nullable, data, np.dtype([("imo", "i4")]))


def test_text_columns_must_come_last() -> None:
    with pytest.raises(ValueError, match="fixed width come first"):
        encode((Column("n", "text", "name"), Column("i", "integer", "imo")), statics({}), 1)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode(STATICS.columns, statics({"name": "\ud800"}), 1)
