"""How much of everything the decoders of MQTT topics take, so that memory and tables stay small whatever comes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Bounds:
    """Each is the most that is taken; what exceeds it is refused with a reason of its own.

    The distinct names count across restarts: those that the database knows are counted first (``register``), and go
    on being taken even where a bound was lowered beneath them.
    """

    payload_bytes: int = 256 * 1024  # of one publish, of whatever format
    json_depth: int = 16  # arrays and objects within each other; our own formats need three
    text_chars: int = 4096  # of one JSON string, names included
    entries: int = 10_000  # of one payload
    readings: int = 256  # of one entry
    gateways: int = 2_000  # distinct, as receivers of AIS
    devices: int = 50_000  # distinct, in all
    devices_per_gateway: int = 2_000  # so that one gateway that makes up names leaves room for all others
    metrics: int = 1_000  # distinct, the catalogue's included
    metrics_per_device: int = 256
    series: int = 1_000_000  # distinct pairs of device and metric, in all: the rules remember each one
