"""What goes wrong in a soak: each fault does its harm, waits as long as chance says, and puts things right."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import psycopg

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from services.mosquitto import Mosquitto
    from services.postgres import Postgres
    from tests.servers.tcp_proxy import TcpProxy
    from tests.soak.subject import Subject


class Faults:
    """Every fault there is, on one service and its servers.

    Args:
        chance: draws which fault, and how long it lasts.
        subject: the service.
        postgres: its database server.
        broker: its broker.
        to_database: the line between the service and the database.
        to_broker: that to the broker.
    """

    def __init__(
        self,
        chance: random.Random,
        subject: Subject,
        postgres: Postgres,
        broker: Mosquitto,
        to_database: TcpProxy,
        to_broker: TcpProxy,
    ) -> None:
        self._chance = chance
        self._subject = subject
        self._postgres = postgres
        self._broker = broker
        self._to_database = to_database
        self._to_broker = to_broker
        self.done: dict[str, int] = {}

    def draw(self, *, deaths: bool) -> Callable[[], Awaitable[None]]:
        """The next one.

        Args:
            deaths: whether the service may end in it.
        """
        kinds = [kind for kind in _WEIGHTS if deaths or kind not in _DEATHS]
        name = self._chance.choices(kinds, [_WEIGHTS[kind] for kind in kinds])[0]
        self.done[name] = self.done.get(name, 0) + 1
        fault: Callable[[], Awaitable[None]] = getattr(self, name)
        return fault

    async def _last(self, longest: float) -> None:
        await asyncio.sleep(self._chance.uniform(0.05, longest))

    async def database_cut(self) -> None:
        """The line to the database is reset, now and again."""
        self._to_database.cut()
        await self._last(8)
        self._to_database.resume()

    async def database_stalled(self) -> None:
        """The line to the database stays open and passes nothing."""
        self._to_database.stall()
        await self._last(4)
        self._to_database.resume()

    async def database_killed(self) -> None:
        """The server dies as in a power cut, and recovers."""
        await asyncio.to_thread(self._postgres.kill)
        await self._last(4)
        await asyncio.to_thread(self._postgres.start)

    async def backends_ended(self) -> None:
        """An operator ends every session."""
        await asyncio.to_thread(
            self._statement,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'haidang%'",
        )

    async def database_read_only(self) -> None:
        """As during a fail-over: sessions see a server that takes no writes."""
        await asyncio.to_thread(self._statement, "ALTER SYSTEM SET default_transaction_read_only = on", reload=True)
        await self._last(4)
        await asyncio.to_thread(self._statement, "ALTER SYSTEM RESET default_transaction_read_only", reload=True)

    async def broker_cut(self) -> None:
        """The line to the broker is reset."""
        self._to_broker.cut()
        await self._last(4)
        self._to_broker.resume()

    async def broker_stalled(self) -> None:
        """The line to the broker stays open and passes nothing: half-open TCP."""
        self._to_broker.stall()
        await self._last(20)
        self._to_broker.resume()

    async def broker_restarted(self) -> None:
        """The broker stops, and comes back with what it had kept."""
        await asyncio.to_thread(self._broker.stop)
        await self._last(3)
        await asyncio.to_thread(self._broker.start)

    async def service_killed(self) -> None:
        """kill -9, and a supervisor that starts it again."""
        await self._subject.kill()
        await self._last(2)
        await self._subject.start()

    async def service_stopped(self) -> None:
        """SIGTERM under load, and a new start."""
        await self._subject.stop()
        await self._subject.start()

    def _statement(self, statement: str, *, reload: bool = False) -> None:
        with psycopg.connect(self._postgres.dsn, autocommit=True, options="-c default_transaction_read_only=off") as at:
            at.execute(statement.encode())
            if reload:
                at.execute("SELECT pg_reload_conf()")


#: How often each is drawn, relative to the others.
_WEIGHTS: Final = {
    "database_cut": 4,
    "database_stalled": 2,
    "database_killed": 2,
    "backends_ended": 3,
    "database_read_only": 2,
    "broker_cut": 3,
    "broker_stalled": 1,
    "broker_restarted": 2,
    "service_killed": 2,
    "service_stopped": 1,
}
_DEATHS: Final = frozenset({"service_killed", "service_stopped"})
