"""Positions as JSON: ``{"time": …, "lon": …, "lat": …, "sog": …, "cog": …}``, or an array of those.

What a VMS provider publishes: the device is a transponder that is not AIS. Knots, degrees true, degrees WGS 84.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import nan
from typing import TYPE_CHECKING, Any, Final

from decoders.identity import digest, transponder_id
from decoders.json_decoder import Bad, JsonDecoder
from decoders.json_entries import fragment, number
from decoders.records import NULL_I1, NULL_I2, POSITION, Name, Observations, Reason, table
from decoders.refused import Refused
from decoders.topics import Format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoders.block import Block
    from decoders.register import Device

#: "Not available" as AIS says it (ITU-R M.1371-5, table 48); providers hand it on. SOG as of a vessel and an aircraft.
_UNAVAILABLE: Final = {
    "sog": (102.3, 1023.0),
    "cog": (360.0,),
    "heading": (511.0,),
    "nav_status": (15.0,),
}
_REQUIRED: Final = frozenset({"lon", "lat"})
#: (field, least, most, reason where it is outside). The fastest is what AIS can say of an aircraft.
_FIELDS: Final = (
    ("lon", -180.0, 180.0, Reason.BAD_POSITION),
    ("lat", -90.0, 90.0, Reason.BAD_POSITION),
    ("sog", 0.0, 1022.0, Reason.OUT_OF_RANGE),
    ("cog", 0.0, 360.0, Reason.OUT_OF_RANGE),
    ("heading", 0.0, 360.0, Reason.OUT_OF_RANGE),
    ("nav_status", 0.0, 15.0, Reason.OUT_OF_RANGE),
)


@dataclass(slots=True)
class _Rows:
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    names: dict[Name, None] = field(default_factory=dict)


class PositionDecoder(JsonDecoder[_Rows]):
    """Positions on ``haidang/v1/{gateway}/{device}/position``; arguments as of ``JsonDecoder``."""

    format = Format.POSITION

    def _rows(self) -> _Rows:
        return _Rows()

    def _finish(self, rows: _Rows, out: Observations) -> None:
        out.positions = table(POSITION, rows.rows)
        out.names = list(rows.names)

    def _entry(self, block: Block, device: Device, time: int, fields: dict[str, Any], rows: _Rows) -> Iterator[Bad]:
        mmsi = fields.get("mmsi")
        if mmsi is not None and str(mmsi) not in (device.name, device.name.partition("/")[2]):
            yield Refused(Reason.IDENTITY_MISMATCH, "claims an MMSI that is not its topic's device"), fields
            return
        values: dict[str, float | None] = {}
        for key, low, high, reason in _FIELDS:
            value = _value(fields, key, low, high, reason)
            if isinstance(value, Refused):
                yield value, fields
                return
            values[key] = value
        transponder = transponder_id("device", device.name)
        cog, heading, status = values["cog"], values["heading"], values["nav_status"]
        rows.rows.append(
            (
                time,
                block.received_at,
                transponder,
                digest(fragment(fields, block.data)),
                block.source,
                values["lon"],
                values["lat"],
                nan if values["sog"] is None else values["sog"],
                nan if cog is None else cog,
                nan,
                nan,
                NULL_I2 if heading is None else round(heading) % 360,
                NULL_I1 if status is None else int(status),
                NULL_I1,
                0,
                block.first,
            )
        )
        rows.names[Name("transponder", transponder, device.name, "vms")] = None
        self._register.keep(device)


def _value(fields: dict[str, Any], key: str, low: float, high: float, reason: Reason) -> float | Refused | None:
    """A field from ``low`` to ``high``; None where an optional one is absent, null or not available."""
    given = fields.get(key)
    if given is None:
        return Refused(Reason.BAD_FIELD, f"no {key}") if key in _REQUIRED else None
    value = number(given)
    if isinstance(value, Refused):
        return Refused(value.reason, f"{key}: {value.detail}")
    if value in _UNAVAILABLE.get(key, ()):
        return None
    if not low <= value <= high:
        return Refused(reason, f"{key} {value:g} is outside {low:g} to {high:g}")
    if key == "nav_status" and not value.is_integer():
        return Refused(Reason.BAD_VALUE, f"{key} is no whole number")
    return value
