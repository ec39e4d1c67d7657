"""Observations with few subjects, times and values: many repeats, contradictions and late rows; and pieces of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from alerting.model import Verdict
from decoders.records import NULL_I2, RECEPTION, AisRecord, Observations, table
from storage.batch import Batch
from tests.storage.samples import NAMES, OTHER_SOURCE, SECOND, SOURCE, T0, positions, readings, statics

if TYPE_CHECKING:
    import numpy as np

#: What such observations write to.
TRUNCATE = (
    "TRUNCATE sources, devices, transponders, vessel_transponders, positions, readings, statics, ais_messages,"
    " receptions, latest_positions, latest_readings, quarantine, progress"
)


def stream(rng: np.random.Generator, rows: int) -> Observations:
    """As many rows of each kind."""
    heard = positions(
        *(
            {
                "time": T0 + int(t) * SECOND,
                "received_at": T0 + n,
                "transponder": int(who),
                "digest": int(d),
                "sog": float(d),
            }
            for n, (t, who, d) in enumerate(rng.integers((0, 1, 0), (8, 4, 3), (rows, 3)))
        )
    )
    said = statics(
        *(
            {
                "time": T0 + int(t) * SECOND,
                "received_at": T0 + n,
                "transponder": int(who),
                "digest": int(d),
                "name": None if d % 2 else f"N{t}{d}",
                "callsign": f"C{t}{d}" if d % 3 else None,
                "ship_type": int(d) if d % 2 else NULL_I2,
            }
            for n, (t, who, d) in enumerate(rng.integers((0, 1, 0), (6, 3, 5), (rows, 3)))
        )
    )
    measured = readings(*((int(s), float(v)) for s, v in rng.integers((0, 0), (10, 3), (rows, 2))))
    again = table(
        RECEPTION,
        [
            (T0 + int(t) * SECOND, T0 + n, int(who), int(d), OTHER_SOURCE, n)
            for n, (t, who, d) in enumerate(rng.integers((0, 1, 0), (8, 4, 3), (rows, 3)))
        ],
    )
    records = [
        AisRecord(T0 + int(t) * 3600 * SECOND, T0 + n, int(who), int(d), SOURCE, 21, "aton", {"name": f"B{n}"}, n)
        for n, (t, who, d) in enumerate(rng.integers((0, 1, 0), (4, 5, 2), (rows, 3)))
    ]
    return Observations(rows, heard, measured, said, again, records, names=list(NAMES))


def cut(whole: Observations, edges: list[int]) -> list[Batch]:
    """In pieces that begin at each of ``edges``."""
    parts = []
    for start, end in zip([0, *edges], [*edges, whole.messages], strict=True):
        part = replace(
            whole,
            positions=whole.positions[start:end],
            readings=whole.readings[start:end],
            statics=whole.statics[start:end],
            receptions=whole.receptions[start:end],
            records=whole.records[start:end],
        )
        parts.append(Batch(part, Verdict()))
    return parts
