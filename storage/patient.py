"""Connections that give a server up which takes what it is asked and says nothing.

The kernel of a server that is stopped, or whose disk hangs, goes on acknowledging packets, so neither keep-alives nor
``tcp_user_timeout`` find it out; and the time-out for statements is the server's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import Row

if TYPE_CHECKING:
    from psycopg.abc import RV, PQGen


class Patient(AsyncConnection[Row]):
    """``patience``: seconds that one exchange with the server may take; after that the connection is closed."""

    patience = 65.0

    async def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:  # noqa: ASYNC109
        """One exchange, which the library calls this for.

        Raises:
            psycopg.OperationalError: no answer; whether the server did what it was asked is not known.
        """
        if timeout is not None:  # whoever waits for notifications
            return await super().wait(gen, interval, timeout)
        try:
            return await super().wait(gen, interval, self.patience)
        except psycopg.OperationalError as error:
            if error.sqlstate is not None:  # the server's word
                raise
            lost = self.closed
            self.pgconn.finish()
            if lost:
                raise
            raise psycopg.OperationalError(f"the server has said nothing for {self.patience:g} s") from None
