"""Migration files are read as PostgreSQL reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.script import packaged, parse, statements

# Pieces of a statement in which a semicolon may stand without ending it.
PIECES = st.sampled_from(
    [
        "SELECT 1",
        "'a;b'",
        "'it''s; fine'",
        "E'\\';'",
        '"odd;""name"',
        "$$ BEGIN; END; $$",
        "$body$ x; $$ y; $body$",
        "/* one; /* two; */ three; */",
        "-- a line; with 'quotes\n",
        "a.b",
        "$1",
    ]
)
STATEMENT = st.lists(PIECES, min_size=1, max_size=5).map(lambda pieces: " ".join(["DO", *pieces]).strip())


@given(st.lists(STATEMENT, max_size=6))
def test_only_a_bare_semicolon_ends_a_statement(expected: list[str]) -> None:
    assert statements("\n;\n".join(expected)) == [s.strip() for s in expected]


@pytest.mark.parametrize("text", ["", "  \n", "-- only; a comment", "/* ; */", ";;"])
def test_comments_and_blanks_are_no_statement(text: str) -> None:
    assert statements(text) == []


def test_an_unclosed_quote_runs_to_the_end() -> None:
    assert statements("SELECT $$ a; b") == ["SELECT $$ a; b"]
    assert statements("SELECT 1 /* a; b") == ["SELECT 1 /* a; b"]


def test_directives_stand_in_the_leading_comments_only() -> None:
    found = parse("0007_some_thing.sql", "-- requires: tsl\n-- transaction: none\nSELECT 1;\n-- requires: plain\n")
    assert (found.version, found.name, found.requires, found.transactional) == (7, "some_thing", "tsl", False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("1_x.sql", ""),
        ("0001_X.sql", ""),
        ("0001_x.sql", "-- requires: oracle\n"),
        ("0001_x.sql", "-- transaction: some\n"),
    ],
)
def test_a_wrong_name_or_directive_is_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"000|1_x"):
        parse(name, text)


def test_packaged_migrations_are_numbered_without_gaps() -> None:
    assert [m.version for m in packaged()] == list(range(1, len(packaged()) + 1))


def test_files_outside_a_transaction_can_be_run_again() -> None:
    for migration in packaged():
        if not migration.transactional:
            assert all(
                any(word in s for word in ("IF NOT EXISTS", "if_not_exists", "DO $$", "ALTER TABLE", "COMMENT ON"))
                for s in statements(migration.text)
            )
