"""A proxy that cuts the connection around a commit: before it arrives, or between it and its answer.

A commit is a COMMIT, or a statement that is a transaction of its own (``storage.once``).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Literal, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from storage.tables import NONE_TAKEN

if TYPE_CHECKING:
    from collections.abc import Callable

#: The message by which a client commits: 'Q', its length, the text (PostgreSQL's manual, "Message Formats").
_COMMIT = b"COMMIT\0"
#: 'P' and the length, the name of a statement, its text; 'B' and the length, a portal (none), which one is carried out.
_ONCE = re.compile(rb"P.{4}([^\0]+)\0[^\0]*" + re.escape(NONE_TAKEN), re.DOTALL)
_CARRIED_OUT = re.compile(rb"B.{4}\0([^\0]+)\0", re.DOTALL)


class Cutter:
    """``async with Cutter(dsn) as cutter`` and connect to ``cutter.dsn``; the ``when`` armed holds for one COMMIT."""

    def __init__(self, dsn: str, application: str = "") -> None:
        """Stand before a database.

        Args:
            dsn: of the database.
            application: cut only connections whose application name begins like this.
        """
        self._application = b"application_name\0" + application.encode()
        where = conninfo_to_dict(dsn)
        self._host, self._port = str(where["host"]), int(str(where["port"]))
        self._original = dsn
        self.when: Literal["never", "before", "after"] = "never"
        self.cuts = 0
        self.refusing = False  # new connections
        self.dsn = dsn
        self._tasks: set[asyncio.Task[None]] = set()
        self._once: set[bytes] = set()  # names of statements that commit

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.dsn = make_conninfo(self._original, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, down = await asyncio.open_connection(self._host, self._port)
        answering = asyncio.create_task(self._pass(upstream, writer, self._pass_on))
        try:
            hello = await reader.read(65536)
            down.write(hello)
            look = self._look if self._application in hello else self._pass_on
            if await self._pass(reader, down, look) == "last":
                # The server has the COMMIT; its answer is swallowed with the connection.
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)
                await upstream.read(1)
        finally:
            answering.cancel()
            for one in (writer, down):
                one.close()
            with contextlib.suppress(ConnectionError):
                await asyncio.gather(answering, writer.wait_closed(), down.wait_closed(), return_exceptions=True)

    def _look(self, data: bytes) -> Literal["pass", "swallow", "last"]:
        self._once.update(_ONCE.findall(data))
        commits = _COMMIT in data or not self._once.isdisjoint(_CARRIED_OUT.findall(data))
        if self.when == "never" or not commits:
            return "pass"
        self.cuts += 1
        when, self.when = self.when, "never"
        return "swallow" if when == "before" else "last"

    @staticmethod
    def _pass_on(_: bytes) -> Literal["pass", "swallow", "last"]:
        return "pass"

    @staticmethod
    async def _pass(
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        look: Callable[[bytes], Literal["pass", "swallow", "last"]],
    ) -> Literal["pass", "swallow", "last"]:
        """Until there is nothing more to pass, or ``look`` says otherwise: its last word."""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                verdict = look(data)
                if verdict == "swallow":
                    return verdict
                writer.write(data)
                await writer.drain()
                if verdict == "last":
                    return verdict
            writer.write_eof()
        return "pass"
