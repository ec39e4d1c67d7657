"""What can go wrong with the database, and what to do about each.

::

    StorageError
     ├─ DatabaseAway            hold the batch and try again: nothing was written
     │   └─ TransactionConflict     another transaction was in the way (at once is soon enough)
     ├─ CommitUnknown           the answer to COMMIT was lost: ask resolve() before anything else
     ├─ RowRefused              halve the batch until the culprit is alone, quarantine it
     ├─ ConfigurationError      will not heal by waiting: refuse to start (exit code 2)
     │   └─ SchemaMismatch          the tables are not those of this program
     └─ RequestRefused          what a person asked for cannot be done: no such alert, resolved already

Anything else is a bug of ours and passes through unchanged. ``classify`` maps every SQLSTATE of PostgreSQL (Appendix A
of its manual) by class, with the exceptions below; libpq gives no SQLSTATE for a connection that never came up, so
those are told by the server's message.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg
import psycopg_pool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from storage.batch import Committed


class StorageError(Exception):
    """Base of all."""


class DatabaseAway(StorageError):  # noqa: N818  # named for the state, not the fault: the caller waits it out
    """The database cannot serve now; nothing was written. Hold what you have and try again."""


class TransactionConflict(DatabaseAway):
    """Serialisation failure, deadlock or lock time-out: nothing was written, try again."""


class CommitUnknown(StorageError):  # noqa: N818  # as above
    """The connection was lost between COMMIT and its answer.

    ``token`` is the transaction's; ``Store.resolve(token)`` says whether it committed, ``committed`` what it then did.
    """

    def __init__(self, token: UUID, committed: Committed) -> None:
        super().__init__("connection lost while committing")
        self.token = token
        self.committed = committed


class RowRefused(StorageError):  # noqa: N818  # as above
    """The database (or the encoding for it) refuses the data; nothing was written."""


class ConfigurationError(StorageError):  # as above
    """Wrong DSN, credentials, rights or database: waiting will not help."""


class SchemaMismatch(ConfigurationError):  # noqa: N818  # as above
    """Migrations are missing, were changed after they were applied, or are newer than this program."""


class RequestRefused(StorageError):  # noqa: N818  # as above
    """There is no such row, or it is not in the state for what was asked. ``str()`` says so in one line."""


#: SQLSTATE, or its first two characters -> what it means here. The longest match wins.
_BY_SQLSTATE: Final[dict[str, type[StorageError]]] = {
    "08": DatabaseAway,  # connection exception
    "21": RowRefused,  # cardinality violation: two rows of one batch claim one key
    "22": RowRefused,  # data exception
    "23": RowRefused,  # integrity constraint violation
    "25006": DatabaseAway,  # read-only transaction: a standby, or a fail-over under way
    "25P03": DatabaseAway,  # idle-in-transaction time-out: this process was stopped for a while
    "28": ConfigurationError,  # invalid authorisation
    "3D": ConfigurationError,  # no such database
    "3F": SchemaMismatch,  # no such schema
    "40": TransactionConflict,  # serialisation failure, deadlock
    "40003": DatabaseAway,  # statement completion unknown
    "42501": ConfigurationError,  # insufficient privilege
    "42703": SchemaMismatch,  # undefined column
    "42704": SchemaMismatch,  # undefined object
    "42883": SchemaMismatch,  # undefined function
    "42P01": SchemaMismatch,  # undefined table
    "42P10": SchemaMismatch,  # no unique key for ON CONFLICT
    "53": DatabaseAway,  # insufficient resources: disk full, out of memory, too many connections
    "54": RowRefused,  # program limit exceeded: a value too long for its index
    "55P03": TransactionConflict,  # lock not available
    "57": DatabaseAway,  # operator intervention: shut-down, crash, cancelled
    "58": DatabaseAway,  # system error: input/output
}

_REFUSED_AT_CONNECT: Final = re.compile(
    r"password authentication failed|authentication failed for|no password supplied|no pg_hba\.conf entry"
    r"|role \".*\" does not exist|database \".*\" does not exist|is not permitted to log in"
    r"|permission denied for database|root certificate file|certificate verify failed|server does not support SSL"
)
_STARTING_OR_FULL: Final = re.compile(
    r"starting up|shutting down|in recovery|too many clients|remaining connection slots"
)


#: libpq could not read the DSN, or read it otherwise than it was meant, and quotes the part where it stopped: which may
#: be part of a password.
_UNREADABLE_DSN: Final = re.compile(
    r"connection option|connection info string|missing \"=\"|URI|percent-encoded|%00|failed to resolve host '[^']*@"
)
_SAY_DSN: Final = (
    "the DSN cannot be read: it should be postgresql://user:password@host:port/name, with characters such as"
    " @ : / ? # % of a password written as %40 %3A %2F %3F %23 %25"
)


def classify(error: Exception) -> type[StorageError] | None:
    """What a foreign error means, or None for one that is a bug of ours."""
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.TooManyRequests | psycopg.errors.ConnectionTimeout):
        return DatabaseAway
    if (
        isinstance(error, UnicodeEncodeError | OverflowError | psycopg.DataError)
        and getattr(error, "sqlstate", None) is None
    ):
        return RowRefused  # psycopg's own refusals: NUL in text, a lone surrogate, a value too large for its type
    if not isinstance(error, psycopg.Error) or isinstance(error, psycopg_pool.PoolClosed):
        return None
    if error.sqlstate is None:
        return _without_sqlstate(error)
    return _BY_SQLSTATE.get(error.sqlstate) or _BY_SQLSTATE.get(error.sqlstate[:2])


def _without_sqlstate(error: psycopg.Error) -> type[StorageError] | None:
    message = str(error)
    match error:
        case psycopg.OperationalError() if _STARTING_OR_FULL.search(message):
            return DatabaseAway
        case psycopg.OperationalError() if _REFUSED_AT_CONNECT.search(message) or _UNREADABLE_DSN.search(message):
            return ConfigurationError
        case psycopg.OperationalError():
            return DatabaseAway
        case psycopg.ProgrammingError() if _UNREADABLE_DSN.search(message):
            return ConfigurationError
    return None


def one_line(error: BaseException) -> str:
    """The message of an error on one line, without the context lines PostgreSQL adds."""
    if isinstance(error, psycopg.Error) and error.sqlstate is None and _UNREADABLE_DSN.search(str(error)):
        return _SAY_DSN
    diagnosis = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return diagnosis or " ".join(str(error).split()) or type(error).__name__


@contextmanager
def translated() -> Iterator[None]:
    """Raise foreign errors of the body as ours; let ours, and bugs, pass.

    A foreign one loses its traceback: a connection that fails makes a cycle of its error and the frames under it
    (``AsyncConnection.connect`` keeps the error in a list), and with them whole batches would wait for a collection.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        kind = classify(error)
        if kind is None:
            raise
        remedy = ": run `haidang db upgrade`" if kind is SchemaMismatch else ""
        raise kind(one_line(error) + remedy) from error.with_traceback(None)
