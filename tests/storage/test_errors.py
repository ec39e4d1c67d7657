"""Every error of the server has one meaning, decided on purpose."""

from __future__ import annotations

import psycopg
import psycopg_pool
import pytest
from psycopg import errors

from storage.errors import (
    ConfigurationError,
    DatabaseAway,
    RowRefused,
    SchemaMismatch,
    StorageError,
    TransactionConflict,
    classify,
    translated,
)

#: Every class of SQLSTATE there is (PostgreSQL's manual, Appendix A), and what it means; None: a bug of ours.
CLASSES: dict[str, type[StorageError] | None] = {
    "02": None,
    "03": None,
    "08": DatabaseAway,
    "09": None,
    "0A": None,
    "0B": None,
    "0F": None,
    "0L": None,
    "0P": None,
    "0Z": None,
    "10": None,
    "20": None,
    "21": RowRefused,
    "22": RowRefused,
    "23": RowRefused,
    "24": None,
    "25": None,
    "26": None,
    "27": None,
    "28": ConfigurationError,
    "2B": None,
    "2D": None,
    "2F": None,
    "34": None,
    "38": None,
    "39": None,
    "3B": None,
    "3D": ConfigurationError,
    "3F": SchemaMismatch,
    "40": TransactionConflict,
    "42": None,
    "44": None,
    "53": DatabaseAway,
    "54": RowRefused,
    "55": None,
    "57": DatabaseAway,
    "58": DatabaseAway,
    "72": None,
    "F0": None,
    "HV": None,
    "P0": None,
    "XX": None,
}
EXCEPTIONS: dict[str, type[StorageError]] = {
    "25006": DatabaseAway,
    "25P03": DatabaseAway,
    "40003": DatabaseAway,
    "42501": ConfigurationError,
    "42703": SchemaMismatch,
    "42704": SchemaMismatch,
    "42883": SchemaMismatch,
    "42P01": SchemaMismatch,
    "42P10": SchemaMismatch,
    "55P03": TransactionConflict,
}


def known() -> list[type[psycopg.Error]]:
    found = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, psycopg.Error)]
    return [e for e in found if e.sqlstate is not None]


@pytest.mark.parametrize("error", known(), ids=lambda e: f"{e.sqlstate} {e.__name__}")
def test_every_sqlstate_has_the_meaning_decided_for_it(error: type[psycopg.Error]) -> None:
    state = error.sqlstate
    assert state is not None
    assert state[:2] in CLASSES, "a class of errors that nobody has thought about"
    assert classify(error("x")) is EXCEPTIONS.get(state, CLASSES[state[:2]])


def test_the_list_is_of_all_errors_psycopg_knows() -> None:
    assert len(known()) > 200


@pytest.mark.parametrize(
    "error",
    [
        psycopg_pool.PoolTimeout("x"),
        psycopg_pool.TooManyRequests("x"),
        psycopg.OperationalError("server closed the connection unexpectedly"),
        errors.ConnectionTimeout("x"),
    ],
)
def test_a_connection_that_is_not_there_can_be_waited_for(error: Exception) -> None:
    assert classify(error) is DatabaseAway


@pytest.mark.parametrize(
    "error",
    [
        psycopg_pool.PoolClosed("x"),
        ValueError("x"),
        KeyError("x"),
        psycopg.InterfaceError("x"),
        psycopg.ProgrammingError("the query has 1 placeholder"),
    ],
)
def test_bugs_pass_unchanged(error: Exception) -> None:
    assert classify(error) is None
    with pytest.raises(type(error)) as caught, translated():
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"dbname": "no_such_database"}, ConfigurationError),
        ({"user": "no_such_user", "password": "x"}, ConfigurationError),
        ({"port": "1"}, DatabaseAway),
        ({"host": "no-such-host.invalid"}, DatabaseAway),
    ],
)
def test_a_connection_that_never_came_up_is_told_by_its_message(
    database: str, change: dict[str, str], expected: type[StorageError]
) -> None:
    with pytest.raises(expected) as caught, translated():
        psycopg.connect(psycopg.conninfo.make_conninfo(database, **change), connect_timeout=5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dsn", ["bogus=1", "hello world", "postgresql://[::1/x"])
def test_a_dsn_that_is_none_is_refused(dsn: str) -> None:
    with pytest.raises(ConfigurationError), translated():
        psycopg.connect(dsn)
