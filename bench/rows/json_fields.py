"""JSON payloads of 200 bytes to rows of readings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import inputs
from bench.harness import OURS, Contestant, Measure, Row, Sample, timed
from bench.peers import json_payloads
from decoders.block import Block
from decoders.identity import source_id
from decoders.mqtt import TopicDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from decoders.records import Observations

_BATCH = 1_000


def decode(publishes: Sequence[tuple[str, bytes]]) -> list[Observations]:
    """Tables of readings, a batch of publishes each."""
    decoder, source = TopicDecoder(), source_id("bench")
    received_at = inputs.EPOCH_MS * 1000 + 86_400_000_000
    out = []
    for start in range(0, len(publishes), _BATCH):
        batch = publishes[start : start + _BATCH]
        blocks = [Block(payload, source, topic, received_at, i) for i, (topic, payload) in enumerate(batch)]
        out.append(decoder.decode(blocks))
    return out


class JsonFields(Row):
    name = "json"
    title = "JSON payload of 200 bytes to fields (ours: topic, identity, range, time bounds and interning too)"
    measures = (Measure("payloads/s", "1/s"),)

    def prepare(self) -> None:
        self._publishes = list(inputs.publishes(self.size(40_000, 500), 100))
        self._payloads = [payload for _, payload in self._publishes]

    def contestants(self) -> Sequence[Contestant]:
        return [
            Contestant(OURS, lambda: self._turn(decode, self._publishes)),
            Contestant("json", lambda: self._turn(json_payloads.with_json, self._payloads)),
            Contestant("pydantic", lambda: self._turn(json_payloads.with_pydantic, self._payloads)),
            Contestant("orjson", lambda: self._turn(json_payloads.with_orjson, self._payloads)),
            Contestant("msgspec", lambda: self._turn(json_payloads.with_msgspec, self._payloads)),
        ]

    def _turn(self, work: Callable[[Any], object], given: Any) -> Sample:
        with timed() as watch:
            work(given)
        return Sample({"payloads/s": len(self._payloads) / watch.wall}, watch.cpu)
