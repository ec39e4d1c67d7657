"""Observations as JSON-ready objects: the contract of ``haidang decode``."""

from __future__ import annotations

from itertools import chain, islice, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from decoders.ais_fields import KINDS
from decoders.block import Block
from decoders.identity import source_id
from decoders.line_ends import LineEnds
from decoders.nmea_decoder import NmeaDecoder
from decoders.records import NULL_I1, NULL_I2, NULL_I4
from decoders.times import EARLIEST, to_iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from decoders.nmea_decoder import IgnoredLine
    from decoders.records import AisRecord, Observations, Reject, Table

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
    lines = _lines(chunks)
    while batch := list(islice(lines, batch_lines)):
        yield from _batch(decoder, _blocks(batch, first, name), first)
        first += len(batch)
    for reject in decoder.flush().rejects:
        yield Output(accepted=False, fields=reject_object(reject, reject.line, reject.raw))


def _blocks(lines: Sequence[bytes], first: int, name: str) -> list[Block]:
    """Lines from number ``first`` on, those of one second together."""
    source = source_id(name)
    out = []
    at = 0
    while at < len(lines):
        now = (first + at) // _LINES_A_SECOND
        end = min(len(lines), (now + 1) * _LINES_A_SECOND - first)
        data = b"\n".join(lines[at:end]) + b"\n"
        out.append(Block(data, source, name, now * _SECOND, at, per_line=True, line=first + at))
        at = end
    return out


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    ends = LineEnds()
    for chunk in chunks:
        *lines, last = ends.feed(chunk).split(b"\n")
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
    every = list(
        chain(
            zip(found.positions["message"].tolist(), _positions(found.positions, names), strict=True),
            zip(found.statics["message"].tolist(), _statics(found.statics), strict=True),
            ((record.message, _record(record)) for record in found.records),
            zip(found.readings["message"].tolist(), (_reading(row, names) for row in found.readings), strict=True),
        )
    )
    every.sort(key=itemgetter(0))
    for message, fields in every:
        fields["lines"] = list(lines(message))
        yield message, fields


def _positions(rows: Table, names: dict[tuple[str, int], str]) -> Iterator[dict[str, Any]]:
    columns = (
        _times(rows["time"]),
        rows["transponder"].tolist(),
        rows["lon"].tolist(),
        rows["lat"].tolist(),
        *(_floats(rows[name]) for name in ("sog", "cog", "altitude", "rot")),
        _integers(rows["heading"], NULL_I2),
        _integers(rows["nav_status"], NULL_I1),
        [None if value is None else bool(value) for value in _integers(rows["accuracy"], NULL_I1)],
        rows["msg_type"].tolist(),
    )
    for time, transponder, lon, lat, sog, cog, altitude, rot, heading, nav_status, accuracy, msg_type in zip(
        *columns, strict=True
    ):
        out: dict[str, Any] = {
            "kind": KINDS.get(msg_type, "position"),
            "time": time,
            "mmsi": transponder if msg_type else None,
            "lon": lon,
            "lat": lat,
            "sog": sog,
            "cog": cog,
            "heading": heading,
            "nav_status": nav_status,
            "rot": rot,
            "accuracy": accuracy,
            "msg_type": msg_type,
        }
        if msg_type == 9:
            out["altitude"] = altitude
        if not msg_type:
            out["transponder"] = names.get(("transponder", transponder))
        yield out


_STATIC_KEYS: Final = (
    *("kind", "time", "mmsi", "imo", "callsign", "name", "ship_type", "to_bow", "to_stern", "to_port", "to_starboard"),
    *("draught", "destination", "eta", "msg_type"),
)


def _statics(rows: Table) -> Iterator[dict[str, Any]]:
    columns = (
        repeat("static", len(rows)),
        _times(rows["time"]),
        rows["transponder"].tolist(),
        _integers(rows["imo"], NULL_I4),
        rows["callsign"].tolist(),
        rows["name"].tolist(),
        *(_integers(rows[n], NULL_I2) for n in ("ship_type", "to_bow", "to_stern", "to_port", "to_starboard")),
        _floats(rows["draught"]),
        rows["destination"].tolist(),
        rows["eta"].tolist(),
        rows["msg_type"].tolist(),
    )
    return (dict(zip(_STATIC_KEYS, values, strict=True)) for values in zip(*columns, strict=True))


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


def _times(times: NDArray[np.int64]) -> list[str | None]:
    """Each time that there is written once, however often it comes."""
    known: dict[int, str | None] = {}
    return [known[time] if time in known else known.setdefault(time, _time(time)) for time in times.tolist()]


def _floats(values: NDArray[np.floating]) -> list[float | None]:
    """Numbers as they were sent: one of a float32 column is 10.3, not 10.300000190734863."""
    out: list[float | None] = values.tolist()
    if values.dtype == np.float32:
        known = {float(value): float(str(value)) for value in np.unique(values)}
        out = [known.get(value) if value == value else None for value in values.tolist()]  # noqa: PLR0124
    return [None if value != value else value for value in out]  # noqa: PLR0124  # only NaN differs from itself


def _integers(values: NDArray[np.integer], null: int) -> list[int | None]:
    return [None if value == null else value for value in values.tolist()]
