"""Receivers on shore: who hears a transmission, when, and how each passes it on."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from simulators.ais_wire import Payload, sentences, tag_block
from simulators.events import SECOND, Sentences
from simulators.kinematics import rhumb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulators.ais_wire import Report
    from simulators.kinematics import Place

NAUTICAL_MILE_M: Final = 1852.0


@dataclass(slots=True, frozen=True)
class Transmission:
    """One AIS message on the air: when, from where, on which channel, and what it says."""

    time: int
    place: Place
    payload: Payload
    channel: str
    msg_type: int
    mmsi: int
    report: Report | None = None  # of a position report: what was packed into it
    turning: bool = False


@dataclass(slots=True, frozen=True)
class Receiver:
    """One receiving station.

    ``loss`` is the part of messages lost close by; it grows to all of them at ``range_nm`` with the sixth power of
    the distance. ``delay_s`` is the most a message waits before it is passed on.
    """

    name: str
    place: Place
    range_nm: float
    loss: float = 0.02
    delay_s: float = 0.25
    tag: bool = True  # puts a TAG block with its name and its UTC before each sentence


THUAN_AN_LIGHT: Final = Receiver("hue-ais-1", (107.6300, 16.5700), 30.0)
TU_HIEN_HILL: Final = Receiver("hue-ais-2", (107.9330, 16.3500), 38.0, tag=False)  # on high ground: hears further


class Reception:
    """Turns transmissions into what the receivers put out, in time order; the same transmission may come twice."""

    def __init__(self, receivers: tuple[Receiver, ...], seed: str) -> None:
        """Every receiver draws from its own random numbers: adding one changes nothing for the others."""
        self._receivers = receivers
        self._rng = [Random(f"{seed}/receiver/{r.name}") for r in receivers]  # noqa: S311  # simulation, not secrets
        self._last = [0] * len(receivers)
        self._sequence = [0] * len(receivers)
        self._group = [0] * len(receivers)
        self._waiting: list[tuple[int, int, Sentences]] = []
        self._count = 0

    def hear(self, sent: Transmission) -> None:
        """Let every receiver in range hear it, or lose it."""
        for i, (receiver, rng) in enumerate(zip(self._receivers, self._rng, strict=True)):
            part = rhumb(receiver.place, sent.place)[1] / (receiver.range_nm * NAUTICAL_MILE_M)
            if part >= 1.0:
                continue
            lost = rng.random() < receiver.loss + (1.0 - receiver.loss) * part**6
            delay = round(rng.uniform(0.0, receiver.delay_s) * SECOND)
            if lost:
                continue
            # One wire per receiver: what it heard first leaves first.
            self._last[i] = max(self._last[i], sent.time + delay)
            event = Sentences(self._last[i], receiver.name, self._lines(i, sent))
            heapq.heappush(self._waiting, (event.time, self._count, event))
            self._count += 1

    def ready(self, time: int | None) -> Iterator[Sentences]:
        """What has left the receivers by ``time``; all of it with None."""
        while self._waiting and (time is None or self._waiting[0][0] <= time):
            yield heapq.heappop(self._waiting)[2]

    def _lines(self, i: int, sent: Transmission) -> bytes:
        receiver = self._receivers[i]
        lines = sentences(sent.payload, channel=sent.channel, sequence=self._sequence[i])
        if len(lines) > 1:
            self._sequence[i] = (self._sequence[i] + 1) % 10
            self._group[i] = self._group[i] % 9999 + 1
        if receiver.tag:
            for number, line in enumerate(lines, start=1):
                group: dict[str, str | int] = {"g": f"{number}-{len(lines)}-{self._group[i]}"} if len(lines) > 1 else {}
                said: dict[str, str | int] = {"s": receiver.name, "c": sent.time // SECOND} if number == 1 else {}
                lines[number - 1] = tag_block(**group, **said) + line
        return "".join(f"{line}\r\n" for line in lines).encode("ascii")
