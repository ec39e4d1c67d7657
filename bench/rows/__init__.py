"""The rows, in the order they are run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.rows.ais_decode import AisDecode
from bench.rows.alert_latency import AlertLatency
from bench.rows.growth import Growth
from bench.rows.json_fields import JsonFields
from bench.rows.latency import Latency
from bench.rows.memory import Memory
from bench.rows.mqtt import Mqtt
from bench.rows.replay import Replay
from bench.rows.rules import Rules
from bench.rows.table_rows import TableRows
from bench.rows.zones import Zones

if TYPE_CHECKING:
    from bench.harness import Row

ROWS: Final[tuple[type[Row], ...]] = (
    AisDecode,
    JsonFields,
    Zones,
    Rules,
    TableRows,
    Replay,
    Mqtt,
    Latency,
    AlertLatency,
    Growth,
    Memory,
)
