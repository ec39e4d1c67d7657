"""What the pipeline must know before it can go on, from what the database remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from alerting.engine import Engine
from alerting.pack import RuleBook
from decoders.assembler import TIMEOUT_US
from decoders.bounds import Bounds
from decoders.identity import source_id
from decoders.mqtt import TopicDecoder
from decoders.nmea_decoder import NmeaDecoder
from decoders.register import Register
from decoders.times import MAX_FUTURE_US
from decoders.window import ReceptionWindow
from geofence.tracks import CAPACITY
from ingest.thought import Mind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from decoders.block import Block
    from storage.writer import Store

log = structlog.get_logger()

#: Devices that one line of the log names.
_NAMED: Final = 20


class Recall:
    """Builds the pipeline's ``Mind`` from what the database remembers: at start, and after a batch was refused."""

    def __init__(
        self,
        store: Store,
        book: RuleBook | Callable[[], Awaitable[RuleBook]],
        formats: Mapping[str, str],
        *,
        bounds: Bounds | None = None,
        transponders: int = CAPACITY,
        future_us: int = MAX_FUTURE_US,
        timeout_us: int = TIMEOUT_US,
    ) -> None:
        """Remember where to look.

        Args:
            store: the database.
            book: rules and zones, or what reads them from the database.
            formats: source name to the key of its decoder.
            bounds: what is taken of MQTT publishes, and how many distinct names.
            transponders: how many the engine remembers.
            future_us: how far ahead of its receipt an event time may be.
            timeout_us: how long a fragment waits for the rest of its message.
        """
        self._formats = {source_id(name): key for name, key in formats.items()}
        self._timeout_us = timeout_us
        self._store = store
        self._book = book
        self._bounds = bounds or Bounds()
        self._transponders = transponders
        self._future_us = future_us
        #: Devices that rules ask to be near something, and nobody knows where they are.
        self.without_place: list[str] = []

    async def __call__(self) -> Mind:
        book = self._book if isinstance(self._book, RuleBook) else await self._book()
        memory = await self._store.memory(transponders=self._transponders)
        series = () if memory.readings is None else memory.readings[["device", "metric"]].tolist()
        register = Register(self._bounds, memory.names, series)
        decoders: Mapping[str, NmeaDecoder | TopicDecoder] = {
            "nmea": NmeaDecoder(max_future_us=self._future_us, timeout_us=self._timeout_us),
            "nmea, times untrusted": NmeaDecoder(
                trusted=False, max_future_us=self._future_us, timeout_us=self._timeout_us
            ),
            "mqtt": TopicDecoder(bounds=self._bounds, register=register, max_future_us=self._future_us),
        }
        window = ReceptionWindow()
        window.restore(await self._store.recent())
        engine = Engine(book.rules, book.zones, registry=book.registry, capacity=self._transponders)
        engine.restore(memory, edited=True)
        async for readings in self._store.past(engine.looks_back()):
            engine.recall(readings)
        self._say_who_has_no_place(engine.without_place())
        # Unfinished messages are kept as the lines they are, and finished by decoding them again.
        waiting: dict[str, list[Block]] = {}
        for block in await self._store.fragments():
            key = self._formats.get(block.source) or ("nmea" if block.per_line else "mqtt")
            of = waiting.setdefault(key, [])
            of.append(block._replace(first=sum(b.messages for b in of)))
        for key, blocks in waiting.items():
            decoders[key].decode(blocks)
        fragments = [block for decoder in decoders.values() for block in decoder.pending()]
        return Mind(decoders, window, engine, memory.listened, fragments)

    def _say_who_has_no_place(self, devices: list[str]) -> None:
        if devices and devices != self.without_place:
            log.info("devices_without_place", devices=devices[:_NAMED], count=len(devices))
        self.without_place = devices
