"""The MQTT source: keeps a connection up, and makes deliveries of what arrives.

A message carries the ack of its own connection; it is given after the commit, or never.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import replace
from itertools import count, groupby, repeat
from operator import attrgetter
from typing import TYPE_CHECKING

from ingest.delivery import Delivery
from ingest.inbox import InboxClosed
from ingest.sources.base import Source, SourceUnavailable, SourceWatcher, backoff, log, pause
from ingest.sources.mqtt.connection import Connection, Loss, Session
from ingest.sources.mqtt.library import LibraryConnection
from ingest.sources.mqtt.native import NativeConnection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.inbox import Inbox
    from ingest.sources.mqtt.options import MqttOptions
    from ingest.sources.mqtt.window import Window
    from ingest.sources.mqtt.wire import Publish

_CLIENTS: dict[str, type[Connection]] = {"native": NativeConnection, "aiomqtt": LibraryConnection}
_LONGEST_TAKEN_OVER_PAUSE = 300.0
#: Whether the broker keeps a message until it is acked.
_kept_back = attrgetter("qos")


class MqttSource(Source):
    """Subscribes at QoS 1 with a persistent session; acks in arrival order, after the commit."""

    format = "mqtt"

    def __init__(self, name: str, watcher: SourceWatcher, options: MqttOptions) -> None:
        super().__init__(name, watcher)
        self.options = options
        self.subscribed = asyncio.Event()
        self._inbox: Inbox | None = None
        self._shedding = False
        self._session = Session()
        self._connected_before = False
        self._connection: Connection | None = None

    async def check(self) -> None:
        """Connect and disconnect once, under another client id: a check must not take over our own session.

        Raises:
            SourceUnavailable: the broker cannot be reached, refuses us, or the TLS files are wrong.
        """
        probe = f"{self.options.client_id[:14]}-{secrets.token_hex(4)}"
        options = replace(self.options, client_id=probe, clean=True)
        connection = _CLIENTS[options.client](options, Session(), lambda _publishes, _window: False, lambda: None)
        try:
            await connection.open()
        except SourceUnavailable as exc:
            raise SourceUnavailable(f"source {self.name}: no MQTT broker at {self.options.url} ({exc})") from exc
        finally:
            await connection.close()

    def stop(self) -> None:
        super().stop()
        if self._connection is not None:
            self._connection.hold()

    async def run(self, inbox: Inbox) -> None:
        self._inbox = inbox
        delays, contest = backoff(), _contest(self.options.taken_over_pause)
        while not self.stopping:
            connection = _CLIENTS[self.options.client](
                self.options, self._session, self._arrived, lambda: self.watcher.stale_ack(self.name)
            )
            began = time.monotonic()
            self._connection = connection
            try:
                loss = await self._serve(connection)
            finally:
                self._connection = None
                await connection.close()
            if self.stopping:
                break
            if time.monotonic() - began >= self.options.settled_after:
                delays = backoff()
                contest = contest if loss.taken_over else _contest(self.options.taken_over_pause)
            self.watcher.connected(self.name, up=False, detail=loss.reason)
            if loss.taken_over:
                # Coming back at once would take the session over in turn, and so on without end.
                delay = next(contest)
                log.error(
                    "mqtt_client_id_taken_over",
                    source=self.name,
                    client_id=self.options.client_id,
                    back_in_seconds=round(delay, 1),
                    hint="another client connects with our client_id: give each instance one of its own",
                )
            else:
                delay = next(delays)
            await pause(self._stopping, delay)
        self.watcher.connected(self.name, up=False, detail="stopped")

    async def _serve(self, connection: Connection) -> Loss:
        """Until the connection is lost, or we stop and all that was delivered is acked."""
        connecting = asyncio.create_task(self._connect(connection), name=f"{self.name}: connecting")
        stopping = asyncio.create_task(self._stopping.wait(), name=f"{self.name}: stopping")
        released = asyncio.create_task(self._released.wait(), name=f"{self.name}: released")
        try:
            await asyncio.wait((connecting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                return Loss("stopped")
            connecting.result()
            await asyncio.wait((connection.over, released), return_when=asyncio.FIRST_COMPLETED)
            return connection.over.result() if connection.over.done() else Loss("stopped")
        except SourceUnavailable as exc:
            # A loss that said more, such as a taken over session, is the reason behind it.
            lost = connection.over.result() if connection.over.done() else None
            return lost if lost is not None and lost.taken_over else Loss(str(exc))
        finally:
            for task in (connecting, stopping, released):
                task.cancel()
            await asyncio.gather(connecting, stopping, released, return_exceptions=True)
            del connecting, stopping, released, task  # they hold errors whose tracebacks hold this frame

    async def _connect(self, connection: Connection) -> None:
        await connection.open()
        resumed = connection.session_present
        self.watcher.session(self.name, resumed=resumed)
        if self._connected_before and not resumed:
            log.warning(
                "mqtt_session_lost", source=self.name, hint="the broker forgot us, and what it had queued for us"
            )
        self._connected_before = True
        await connection.subscribe()
        for warning in connection.warnings:
            log.warning("mqtt_broker_grants_less", source=self.name, detail=warning)
        self.watcher.connected(self.name, up=True)
        self.subscribed.set()

    # --- what arrives

    def _arrived(self, publishes: Sequence[Publish], window: Window) -> bool:
        """Make deliveries. False when we stop: what is not taken is not acked, and the broker keeps it."""
        inbox = self._inbox
        if self.stopping or inbox is None:
            return False
        received = 0
        try:
            for kept_back, group in groupby(publishes, _kept_back):
                some = list(group)
                acks = window.open_all(some) if kept_back else repeat(None)
                instant = inbox.instant(time.time_ns() // 1000)
                # A retained message comes with each new subscription, so the broker may have sent it before.
                deliveries = [
                    Delivery(payload, self.name, topic, at, 1, False, 0, size, dup or retain, False, ack)
                    for at, (topic, payload, _, dup, retain, _, size), ack in zip(count(instant), some, acks)
                ]
                if kept_back:
                    inbox.force_all(deliveries)  # bounded by the window
                    received += len(deliveries)
                    continue
                for delivery in deliveries:
                    received += self._offer(inbox, delivery)
        except InboxClosed:
            return False  # as when stopping
        finally:
            self.watcher.received(self.name, received)
        return True

    def _offer(self, inbox: Inbox, delivery: Delivery) -> int:
        """QoS 0 cannot be held back: it is shed first."""
        taken = inbox.offer(delivery)
        if not taken:
            self.watcher.dropped(self.name, "overload", 1)
        if taken == self._shedding:
            self._shedding = not taken
            log.warning("shedding_began" if self._shedding else "shedding_ended", source=self.name)
        return 1


def _contest(first: float) -> Iterator[float]:
    """Seconds to stay away while another client holds our client id: never short, and longer each time."""
    longest = max(first, _LONGEST_TAKEN_OVER_PAUSE)
    while True:
        yield first * (1 + secrets.randbelow(1000) / 1000)
        first = min(first * 2, longest)
