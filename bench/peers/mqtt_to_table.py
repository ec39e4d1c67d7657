"""MQTT to a hypertable with aiomqtt and psycopg, the two ways it is mostly done. ``PORT TOPIC DSN each|batch``.

*each*: one INSERT and one commit a message, as it comes. *batch*: what came in 100 ms goes in with one executemany().
Both parse with orjson on uvloop, write a row twice only once, and have aiomqtt acknowledge a message on arrival, before
anything is stored. Says "ready" when subscribed; runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import aiomqtt
import orjson
import psycopg
import uvloop

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE: Final = (
    (
        "CREATE TABLE readings (time timestamptz NOT NULL, device text NOT NULL, metric text NOT NULL,"
        " value double precision NOT NULL, PRIMARY KEY (device, metric, time))"
    ),
    "SELECT create_hypertable('readings', 'time', create_default_indexes => false)",
)

_EVERY_S: Final = 0.1
_INSERT: Final = b"INSERT INTO readings (time, device, metric, value) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"


def rows(message: aiomqtt.Message) -> Iterator[tuple[Any, ...]]:
    """Rows of the table."""
    device = message.topic.value.split("/")[3]
    said = orjson.loads(message.payload)
    at = datetime.fromisoformat(said["time"])
    for metric, value in said["readings"].items():
        yield at, device, metric, value


async def each(client: aiomqtt.Client, connection: psycopg.AsyncConnection[Any]) -> None:
    async for message in client.messages:
        for row in rows(message):
            await connection.execute(_INSERT, row)


async def batch(client: aiomqtt.Client, connection: psycopg.AsyncConnection[Any]) -> None:
    waiting: list[tuple[Any, ...]] = []

    async def flush() -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            if waiting:
                given = waiting.copy()
                waiting.clear()
                async with connection.transaction(), connection.cursor() as cursor:
                    await cursor.executemany(_INSERT, given)

    async with asyncio.TaskGroup() as group:
        group.create_task(flush())
        async for message in client.messages:
            waiting.extend(rows(message))


async def main(port: int, topic: str, dsn: str, how: str) -> None:
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
        aiomqtt.Client("127.0.0.1", port, identifier=f"peer-{os.getpid()}") as client,
    ):
        await client.subscribe(topic, qos=1)
        work = asyncio.create_task({"each": each, "batch": batch}[how](client, connection))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.wait([work])
        if not work.cancelled():
            work.result()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), *sys.argv[2:5]))
