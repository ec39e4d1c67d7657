"""``haidang``, which ends itself by SIGKILL at the n-th time it comes to a boundary.

``python -m tests.ingest.killed BOUNDARY N run --config haidang.toml``: the very command, of which the one method at the
boundary is wrapped. Production code knows nothing of it.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import psycopg

from alerting.channels.webhook import Webhook
from ingest import cli, watch
from ingest.inbox import Inbox
from ingest.spool_file import SpoolFile
from ingest.thought import Thinker
from storage import budgets, desk, readers, reviews
from storage.outbox import DatabaseOutbox
from storage.writer import Store

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence

    from ingest.delivery import Delivery

    Fuse = Callable[[], None]


def fuse(times: int) -> Fuse:
    """What is called at the boundary: the process does not return from the n-th call."""
    left = times

    def burn() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return burn


def _before(owner: Any, name: str, burn: Fuse) -> None:
    method = getattr(owner, name)

    @functools.wraps(method)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        burn()
        return method(*args, **kwargs)

    setattr(owner, name, wrapped)


def _after_await(owner: Any, name: str, burn: Fuse) -> None:
    method = getattr(owner, name)

    @functools.wraps(method)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = await method(*args, **kwargs)
        burn()
        return result

    setattr(owner, name, wrapped)


def after_receive(burn: Fuse) -> None:
    """A message is in the inbox, and those that came with it."""
    took = Inbox._took

    def wrapped(self: Inbox, deliveries: Sequence[Delivery], *rest: int) -> None:
        took(self, deliveries, *rest)
        for _ in deliveries:
            burn()

    Inbox._took = wrapped  # type: ignore[assignment]  # the boundary


def after_decode(burn: Fuse) -> None:
    """A batch is decoded, and not judged yet."""
    decode = Thinker._decode

    def wrapped(self: Thinker, mind: Any, deliveries: Any, now: int) -> Any:
        observations = decode(self, mind, deliveries, now)
        if deliveries:
            burn()
        return observations

    Thinker._decode = wrapped  # type: ignore[method-assign]  # the boundary


def before_insert(burn: Fuse) -> None:
    """A batch is judged, and nothing of it is sent to the database."""
    _before(Store, "commit", burn)


def _in_transaction(owner: Any, name: str, burn: Fuse) -> None:
    """The database has everything of what a coroutine writes but COMMIT."""
    committing = contextvars.ContextVar("committing", default=False)
    write, commit = getattr(owner, name), psycopg.AsyncConnection.commit

    @functools.wraps(write)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        committing.set(True)
        try:
            return await write(*args, **kwargs)
        finally:
            committing.set(False)

    async def committed(self: psycopg.AsyncConnection[Any]) -> None:
        if committing.get():
            burn()
        await commit(self)

    setattr(owner, name, wrapped)
    psycopg.AsyncConnection.commit = committed  # type: ignore[method-assign]  # the boundary


def after_insert(burn: Fuse) -> None:
    """The database has everything of a batch but COMMIT."""
    _in_transaction(Store, "commit", burn)


def after_commit(burn: Fuse) -> None:
    """A batch is committed, and none of it is acked."""
    _after_await(Store, "commit", burn)


def after_ack(burn: Fuse) -> None:
    """A message is acked, perhaps amid its batch."""
    took = Inbox._took

    def burning(ack: Callable[[], None]) -> Callable[[], None]:
        def acked() -> None:
            ack()
            burn()

        return acked

    def wrapped(self: Inbox, deliveries: Sequence[Delivery], *rest: int) -> None:
        took(self, [one if one.ack is None else one._replace(ack=burning(one.ack)) for one in deliveries], *rest)

    Inbox._took = wrapped  # type: ignore[assignment]  # the boundary


def before_send(burn: Fuse) -> None:
    """A notification is claimed, and not sent."""
    _before(Webhook, "send", burn)


def after_send(burn: Fuse) -> None:
    """The target has a notification, and it is not marked as sent."""
    _before(DatabaseOutbox, "sent", burn)


def after_mark(burn: Fuse) -> None:
    """A notification is marked as sent."""
    _after_await(DatabaseOutbox, "sent", burn)


def before_statement(burn: Fuse) -> None:
    """A statement of an upgrade is about to be sent."""
    _before(psycopg.Connection, "execute", burn)


def after_statement(burn: Fuse) -> None:
    """A statement of an upgrade was carried out."""
    execute = psycopg.Connection.execute

    @functools.wraps(execute)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        cursor = execute(*args, **kwargs)
        burn()
        return cursor

    psycopg.Connection.execute = wrapped  # type: ignore[method-assign]  # the boundary


#: What is written beside the pipeline, a transaction each: where it is called, and by what name.
_DESK: Final = ((desk, "_release"), (desk, "_deadline"), (desk, "close"), (budgets, "_warn"))
_REVIEW: Final = ((reviews, "conclude"),)
_RELOAD: Final = ((readers, "import_zones"), (readers, "import_rules"), (watch, "import_policies"))


def _in_each(writing: Sequence[tuple[Any, str]], burn: Fuse) -> None:
    for owner, name in writing:
        _in_transaction(owner, name, burn)


def _after_each(writing: Sequence[tuple[Any, str]], burn: Fuse) -> None:
    for owner, name in writing:
        _after_await(owner, name, burn)


def in_desk(burn: Fuse) -> None:
    """The desk has written everything about an alert, or a budget, but COMMIT."""
    _in_each(_DESK, burn)


def after_desk(burn: Fuse) -> None:
    """The desk has seen to an alert, or a budget."""
    _after_each(_DESK, burn)


def in_review(burn: Fuse) -> None:
    """What a review has found is written, but for COMMIT."""
    _in_each(_REVIEW, burn)


def after_review(burn: Fuse) -> None:
    """A review is committed, and the engine does not go on from it yet."""
    _after_each(_REVIEW, burn)


def in_reload(burn: Fuse) -> None:
    """Zones, rules or policies that were edited are written, but for COMMIT."""
    _in_each(_RELOAD, burn)


def after_reload(burn: Fuse) -> None:
    """They are committed, and nothing is judged by them yet."""
    _after_each(_RELOAD, burn)


def in_spool(burn: Fuse) -> None:
    """The spool has written entries, a mark, or that it forgets them, but for COMMIT."""
    transaction = SpoolFile._transaction

    @contextlib.contextmanager
    def wrapped(self: SpoolFile) -> Iterator[sqlite3.Connection]:
        with transaction(self) as database:
            yield database
            burn()

    SpoolFile._transaction = wrapped  # type: ignore[method-assign]  # the boundary


def after_spool(burn: Fuse) -> None:
    """It has committed them: entries not acked, a mark before its batch, or a batch forgotten."""
    transaction = SpoolFile._transaction

    @contextlib.contextmanager
    def wrapped(self: SpoolFile) -> Iterator[sqlite3.Connection]:
        with transaction(self) as database:
            yield database
        burn()

    SpoolFile._transaction = wrapped  # type: ignore[method-assign]  # the boundary


BOUNDARIES: Final = {
    install.__name__: install
    for install in (
        after_receive,
        after_decode,
        before_insert,
        after_insert,
        after_commit,
        after_ack,
        before_send,
        after_send,
        after_mark,
        before_statement,
        after_statement,
        in_desk,
        after_desk,
        in_review,
        after_review,
        in_reload,
        after_reload,
        in_spool,
        after_spool,
    )
}


def main() -> None:
    boundary, times, *arguments = sys.argv[1:]
    BOUNDARIES[boundary](fuse(int(times)))
    sys.argv = ["haidang", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
