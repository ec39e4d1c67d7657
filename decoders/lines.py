"""Observations as JSON-ready objects: the contract of ``haidang decode``."""

from __future__ import annotations

from itertools import groupby
from math import isnan
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from decoders.ais_fields import KINDS
from decoders.block import Block
from decoders.identity import source_id
from decoders.nmea_decoder import NmeaDecoder
from decoders.records import NULL_I1, NULL_I2, NULL_I4
from decoders.times import EARLIEST, to_iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from decoders.nmea_decoder import IgnoredLine
    from decoders.records import AisRecord, Observations, Reject

#: The time of an observation whose line says none: no time at all.
NO_TIME: Final = 0

#: How many bytes of one line are kept: far more than any sentence has, so that junk without line ends fits too.
_LONGEST_LINE: Final = 65_536
BATCH_LINES: Final = 5_000
#: So many lines of a log stand for one second when fragments are waited for. The times that lines carry would not
#: do: where several receivers' lines are merged, they go back and forth.
_LINES_A_SECOND: Final = 100
_SECOND: Final = 1_000_000


class Output(NamedTuple):
    """One object to print: an observation, or else a reject."""

    accepted: bool
    fields: dict[str, Any]


def decode_file(
    chunks: Iterable[bytes],
    *,
    name: str = "-",
    ignored: bool = False,
    trusted: bool = True,
    batch_lines: int = BATCH_LINES,
) -> Iterator[Output]:
    """Decode a log of NMEA lines; in the order of the lines that completed each message.

    Every line is accounted for: in the ``lines`` of observations, as the ``line`` of a reject, or, if asked for, as a
    reject whose reason says that it was ignored.

    Args:
        chunks: the file's bytes, in pieces of any size.
        name: of the file.
        ignored: whether to tell of comments, blank lines and sentences that are not AIS.
        trusted: whether to take times that the lines carry.
        batch_lines: how many lines are decoded at a time.
    """
    decoder = NmeaDecoder(trusted=trusted, max_future_us=None, default_time=NO_TIME, keep_ignored=ignored)
    first = 1
    batch: list[Block] = []
    source = source_id(name)
    for line in _lines(chunks):
        number = first + len(batch)
        now = number // _LINES_A_SECOND * _SECOND
        batch.append(Block(line + b"\n", source, name, now, len(batch), per_line=True, line=number))
        if len(batch) == batch_lines:
            yield from _batch(decoder, batch, first)
            first += len(batch)
            batch = []
    yield from _batch(decoder, batch, first)
    for reject in decoder.flush().rejects:
        yield Output(accepted=False, fields=reject_object(reject, reject.line, reject.raw))


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, last = chunk.split(b"\n")
        for line in lines:
            yield rest + line
            rest = b""
        rest = (rest + last)[:_LONGEST_LINE]
    if rest:
        yield rest


def _batch(decoder: NmeaDecoder, blocks: Sequence[Block], first: int) -> Iterator[Output]:
    found = decoder.decode(blocks)

    def numbers(message: int) -> tuple[int, ...]:
        return decoder.lines.get(message, (first + message,))

    out: list[tuple[int, Output]] = [
        (message, Output(accepted=True, fields=fields))
        for message, fields in observation_objects(found, lambda message: sorted(numbers(message)))
    ]
    for reject in found.rejects:
        raw = reject.raw.split(b"\n")
        at = numbers(reject.message) if len(raw) > 1 else (reject.line,)
        out.extend(
            (reject.message, Output(accepted=False, fields=reject_object(reject, line, part)))
            for line, part in zip(at, raw, strict=True)
        )
    out.extend((line.message, Output(accepted=False, fields=ignored_object(line))) for line in decoder.ignored)
    out.sort(key=lambda item: item[0])
    for _, output in out:
        yield output


def reject_object(reject: Reject, line: int, raw: bytes) -> dict[str, Any]:
    """``{"line": N, "reason": "…", "raw": "…"}``, and the detail; ``raw`` has its odd bytes as backslash escapes."""
    return {"line": line, "reason": reject.reason.value, "raw": text(raw), "detail": reject.detail}


def ignored_object(line: IgnoredLine) -> dict[str, Any]:
    """A line that was passed over, in the form of a reject."""
    return {"line": line.line, "reason": f"ignored_{line.kind.value}", "raw": text(line.raw)}


def text(raw: bytes) -> str:
    """Bytes as text, those that are not UTF-8 as backslash escapes."""
    return raw.decode("utf-8", "backslashreplace")


def observation_objects(
    found: Observations, lines: Callable[[int], Sequence[int]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every observation as (message, object), by message; of one message, positions come first.

    Args:
        found: what was decoded.
        lines: the numbers of the input lines a message came from.
    """
    names = {(name.kind, name.id): name.name for name in found.names}
    every: list[tuple[int, int, dict[str, Any]]] = [
        *((int(row["message"]), 0, _position(row, names)) for row in found.positions),
        *((int(row["message"]), 1, _static(row)) for row in found.statics),
        *((record.message, 2, _record(record)) for record in found.records),
        *((int(row["message"]), 3, _reading(row, names)) for row in found.readings),
    ]
    every.sort(key=lambda item: item[:2])
    for message, group in groupby(every, key=lambda item: item[0]):
        at = list(lines(message))
        for _, _, fields in group:
            yield message, {**fields, "lines": at}


def _position(row: Any, names: dict[tuple[str, int], str]) -> dict[str, Any]:
    msg_type, transponder = int(row["msg_type"]), int(row["transponder"])
    out: dict[str, Any] = {
        "kind": KINDS.get(msg_type, "position"),
        "time": _time(int(row["time"])),
        "mmsi": transponder if msg_type else None,
        "lon": float(row["lon"]),
        "lat": float(row["lat"]),
        "sog": _float(row["sog"]),
        "cog": _float(row["cog"]),
        "heading": _integer(row["heading"], NULL_I2),
        "nav_status": _integer(row["nav_status"], NULL_I1),
        "rot": _float(row["rot"]),
        "accuracy": None if row["accuracy"] == NULL_I1 else bool(row["accuracy"]),
        "msg_type": msg_type,
    }
    if msg_type == 9:
        out["altitude"] = _float(row["altitude"])
    if not msg_type:
        out["transponder"] = names.get(("transponder", transponder))
    return out


def _static(row: Any) -> dict[str, Any]:
    return {
        "kind": "static",
        "time": _time(int(row["time"])),
        "mmsi": int(row["transponder"]),
        "imo": _integer(row["imo"], NULL_I4),
        "callsign": row["callsign"],
        "name": row["name"],
        "ship_type": _integer(row["ship_type"], NULL_I2),
        "to_bow": _integer(row["to_bow"], NULL_I2),
        "to_stern": _integer(row["to_stern"], NULL_I2),
        "to_port": _integer(row["to_port"], NULL_I2),
        "to_starboard": _integer(row["to_starboard"], NULL_I2),
        "draught": _float(row["draught"]),
        "destination": row["destination"],
        "eta": row["eta"],
        "msg_type": int(row["msg_type"]),
    }


def _record(record: AisRecord) -> dict[str, Any]:
    return {
        "kind": record.kind,
        "time": _time(record.time),
        "mmsi": record.transponder,
        **record.fields,
        "msg_type": record.msg_type,
    }


def _reading(row: Any, names: dict[tuple[str, int], str]) -> dict[str, Any]:
    return {
        "kind": "reading",
        "time": _time(int(row["time"])),
        "device": names.get(("device", int(row["device"]))),
        "metric": names.get(("metric", int(row["metric"]))),
        "value": float(row["value"]),
    }


def _time(time: int) -> str | None:
    return to_iso(time) if time >= EARLIEST else None


def _float(value: Any) -> float | None:
    """A number as it was sent: one of a float32 column is 10.3, not 10.300000190734863."""
    number = float(value)
    return None if isnan(number) else float(str(value))


def _integer(value: Any, null: int) -> int | None:
    number = int(value)
    return None if number == null else number
