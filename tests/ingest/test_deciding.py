"""The bytes kept of a message that decided say what its row says, however lines fall into deliveries and batches."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.rejudging.instants import iso
from alerting.rejudging.wire import check_messages
from decoders.arrival import spread
from decoders.block import Block
from decoders.identity import source_id
from decoders.nmea_decoder import NmeaDecoder
from ingest.deciding import deciding
from ingest.delivery import Delivery, count_lines
from simulators.ais_wire import Hull, Report, position_a, sentences, static_a, tag_block
from tests.storage.samples import T0, transition

if TYPE_CHECKING:
    from decoders.records import Observations


def _report(n: int) -> list[str]:
    report = Report(574_000_001 + n, 107.6, 16.5, 3.0, 90.0, 90, 0, n)
    return [tag_block(c=1_790_000_000 + n) + line for line in sentences(position_a(report), channel="A", sequence=1)]


def _static(n: int) -> list[str]:
    hull = Hull(574_000_001 + n, f"HUE {n}", "XV", 9, 3, 2, 2, 1.5, "HUE")
    return sentences(static_a(hull), channel="B", sequence=n % 10)


_LINES: Final = [line for n in range(12) for line in (*_report(n), "$GPGGA,1", *_static(n))]


def _decoded(decoder: NmeaDecoder, deliveries: list[Delivery]) -> Observations:
    blocks, firsts, first = [], [], 0
    for one in deliveries:
        blocks.append(Block(one.payload, source_id(one.source), one.origin, one.received_at, first, per_line=True))
        firsts += [first] * one.messages
        first += one.messages
    found = decoder.decode(blocks)
    found.messages = first
    spread(found, np.array(firsts))
    return found


@settings(max_examples=60)
@given(st.lists(st.integers(1, 9), min_size=4, max_size=20), st.sets(st.integers(0, 20)))
def test_what_is_kept_of_a_message_says_what_its_row_says(sizes: list[int], ends: set[int]) -> None:
    deliveries, left = [], list(_LINES)
    for n, size in enumerate(sizes):
        payload = "".join(f"{line}\r\n" for line in left[:size]).encode()
        left = left[size:]
        if payload:
            at = T0 + 1000 * n
            deliveries.append(Delivery(payload, "log", "here", at, messages=count_lines(payload), per_line=True))
    decoder, kept, batch = NmeaDecoder(), 0, list[Delivery]()
    for n, delivery in enumerate(deliveries):
        batch.append(delivery)
        if n not in ends and n + 1 < len(deliveries):
            continue
        waited = decoder.pending()
        rows = _decoded(decoder, batch)
        messages = [*rows.positions["message"].tolist(), *rows.statics["message"].tolist()]
        told = [transition(message=message) for message in messages]
        found = deciding(batch, rows, told, waited, {"log": "nmea"})
        said = [
            {
                **one._asdict(),
                "received_at": iso(one.received_at),
                "source_id": one.source,
                "raw": b64encode(one.raw),
            }
            for one in found
        ]
        assert check_messages(said, rows, T0 * 2) == len(messages)
        kept += len(messages)
        batch = []
    assert kept
