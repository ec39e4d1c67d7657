"""A JSON payload to (time, metric, value) rows: each library as its documentation has it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
import orjson
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    Rows = list[tuple[datetime, str, float]]


def with_json(payloads: Sequence[bytes]) -> Rows:
    """Json of the standard library, no checks."""
    rows = []
    for payload in payloads:
        said = json.loads(payload)
        at = datetime.fromisoformat(said["time"])
        rows += [(at, metric, value) for metric, value in said["readings"].items()]
    return rows


def with_orjson(payloads: Sequence[bytes]) -> Rows:
    """orjson, no checks."""
    rows = []
    for payload in payloads:
        said = orjson.loads(payload)
        at = datetime.fromisoformat(said["time"])
        rows += [(at, metric, value) for metric, value in said["readings"].items()]
    return rows


class PydanticPayload(BaseModel):
    time: datetime
    readings: dict[str, float]


def with_pydantic(payloads: Sequence[bytes]) -> Rows:
    """A pydantic model, which checks."""
    rows = []
    for payload in payloads:
        said = PydanticPayload.model_validate_json(payload)
        rows += [(said.time, metric, value) for metric, value in said.readings.items()]
    return rows


class MsgspecPayload(msgspec.Struct):
    time: datetime
    readings: dict[str, float]


def with_msgspec(payloads: Sequence[bytes]) -> Rows:
    """A msgspec struct and one decoder for all, which checks."""
    decode = msgspec.json.Decoder(MsgspecPayload).decode
    rows = []
    for payload in payloads:
        said = decode(payload)
        rows += [(said.time, metric, value) for metric, value in said.readings.items()]
    return rows
