"""MQTT sources in the hands of a test, without a pipeline behind them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ingest.sources.mqtt import MqttOptions, MqttSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ingest.delivery import Delivery
    from ingest.inbox import Inbox

Client = Literal["native", "aiomqtt"]
CLIENTS: tuple[Client, ...] = ("native", "aiomqtt")
TOPIC = "haidang/v1/gw/dev/readings"


class Listening(Protocol):
    @property
    def port(self) -> int | None: ...


def options(broker: Listening, client_id: str, client: Client = "native", **more: Any) -> MqttOptions:
    assert broker.port is not None
    defaults: dict[str, Any] = {"topics": ("haidang/v1/+/+/readings",), "timeout": 5.0}
    return MqttOptions("127.0.0.1", broker.port, client_id=client_id, client=client, **{**defaults, **more})


@contextlib.asynccontextmanager
async def running(source: MqttSource, inbox: Inbox) -> AsyncIterator[None]:
    """The source at work; ended without acking what was not acked."""
    task = asyncio.create_task(source.run(inbox))
    try:
        yield
    finally:
        source.stop()
        source.release()
        async with asyncio.timeout(15):
            await task


@contextlib.asynccontextmanager
async def reading(source: MqttSource, inbox: Inbox) -> AsyncIterator[None]:
    """The source running and subscribed."""
    async with running(source, inbox):
        async with asyncio.timeout(15):
            await source.subscribed.wait()
        yield


async def take(inbox: Inbox, count: int) -> list[Delivery]:
    out: list[Delivery] = []
    async with asyncio.timeout(15):
        while len(out) < count:
            out += await inbox.take(1)
    return out


def ack(deliveries: Iterable[Delivery]) -> None:
    for delivery in deliveries:
        assert delivery.ack is not None
        delivery.ack()


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [str(n).encode() for n in range(start, start + count)]
