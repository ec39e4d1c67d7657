"""MQTT publishes of our own topics: each topic to the decoder it asks for."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from decoders.bounds import Bounds
from decoders.catalogue import METRICS
from decoders.identity import source_id
from decoders.json_entries import reject
from decoders.line_ends import LineEnds
from decoders.nmea_decoder import NmeaDecoder
from decoders.position_json import PositionDecoder
from decoders.readings import ReadingsDecoder
from decoders.records import Name, Observations, Reason, concatenate
from decoders.refused import Refused
from decoders.register import RECEIVER, Register
from decoders.times import MAX_FUTURE_US
from decoders.topics import REMEMBERED, Format, Route, route

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from decoders.block import Block, Decoder


#: Gateways whose ids are remembered.
_REMEMBERED: Final = 4096


def _receiver(block: Block) -> int:
    where = route(block.origin)
    return block.source if isinstance(where, Refused) else _receiver_of(where).id


class TopicDecoder:
    """Publishes on ``haidang/v1/…`` (``block.Decoder``).

    The ``source`` of AIS rows is the gateway that heard them, told in ``names`` as a source of its own, so that two
    gateways on one connection count as two receivers.

    Args:
        ranges: (low, high) of what a metric can physically be; None: as the catalogue has it.
        trusted: whether to take times that NMEA lines carry.
        max_future_us: how far a time may lie ahead of the reception; None where that is no real clock.
        bounds: what is taken of one publish, and how many distinct names of all.
        register: the names known; None: none are but those of the catalogue.
    """

    def __init__(
        self,
        *,
        ranges: Mapping[str, tuple[float, float] | None] | None = None,
        trusted: bool = True,
        max_future_us: int | None = MAX_FUTURE_US,
        bounds: Bounds | None = None,
        register: Register | None = None,
    ) -> None:
        if ranges is None:
            ranges = {metric.name: (metric.low, metric.high) for metric in METRICS.values()}
        self._bounds = bounds = bounds or Bounds()
        self._register = register = register or Register(bounds)
        self._nmea = NmeaDecoder(trusted=trusted, max_future_us=max_future_us, receiver=_receiver)
        self._decoders: dict[Format, Decoder] = {
            Format.NMEA: self._nmea,
            Format.READINGS: ReadingsDecoder(
                ranges=ranges, register=register, bounds=bounds, max_future_us=max_future_us
            ),
            Format.POSITION: PositionDecoder(register=register, bounds=bounds, max_future_us=max_future_us),
        }

        self._known: dict[str, Format] = {}  # topics whose route is nothing but a format

    def decode(self, blocks: Sequence[Block]) -> Observations:
        """Everything the blocks said, in arrival order."""
        routed: dict[Format, list[Block]] = {form: [] for form in self._decoders}
        here = Observations(messages=max((b.first + b.messages for b in blocks), default=0))
        names: dict[Name, None] = {}
        most = self._bounds.payload_bytes
        for block in blocks:
            known = self._known.get(block.origin)
            if known is not None and block.size <= len(block.data) <= most:
                routed[known].append(block)
                continue
            where = route(block.origin)
            if isinstance(where, Route):
                where = self._problem(where, block) or where
            cut = block.size > len(block.data)  # the source keeps only the beginning of what is far too large
            if cut:
                where = self._too_large(block.size)
            if isinstance(where, Refused):
                refused = reject(block, where, block.data)
                here.rejects.append(replace(refused, size=block.size) if cut else refused)
                continue
            if where.format is Format.NMEA:
                block = block._replace(data=LineEnds().feed(block.data))  # noqa: PLW2901  # what is read of it
                names[_receiver_of(where)] = None
            else:
                self._know(block.origin, where.format)
            routed[where.format].append(block)
        here.names = list(names)
        parts = [self._decoders[form].decode(part) for form, part in routed.items() if part]
        if here.rejects or here.names or len(parts) != 1:
            return concatenate([here, *parts])
        (only,) = parts
        only.messages = here.messages
        return only

    def _know(self, topic: str, form: Format) -> None:
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[topic] = form

    def _problem(self, where: Route, block: Block) -> Refused | None:
        if len(block.data) > self._bounds.payload_bytes:
            return self._too_large(len(block.data))
        return self._register.gateway(where.gateway) if where.format is Format.NMEA else None

    def _too_large(self, size: int) -> Refused:
        return Refused(Reason.TOO_LARGE, f"{size} bytes, more than {self._bounds.payload_bytes}")

    def expire(self, now: int) -> Observations:
        """Rejects for what has waited too long at ``now``."""
        return self._nmea.expire(now)

    def pending(self) -> Sequence[Block]:
        """The NMEA lines that wait for others."""
        return self._nmea.pending()

    def flush(self) -> Observations:
        """Rejects for everything that waits: nothing more will come."""
        return self._nmea.flush()


@lru_cache(_REMEMBERED)
def _receiver_of(where: Route) -> Name:
    name = f"{RECEIVER}{where.gateway}"
    return Name("source", source_id(name), name, "gateway")
