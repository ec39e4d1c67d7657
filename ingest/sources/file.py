"""Recorded files: NMEA logs, and recordings of MQTT traffic as JSON lines.

A replay has no wall clock: ``received_at`` is the log's own time (``decoders.clock``), so replaying a file twice
says the same thing twice.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import sys
import time
import zlib
from codecs import BOM_UTF8
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
import orjson

from decoders.clock import LogClock, said, times_until
from decoders.line_ends import LineEnds
from decoders.times import EARLIEST, LATEST, MAX_AHEAD_US, microseconds, to_iso
from ingest.delivery import Delivery
from ingest.inbox import InboxClosed
from ingest.sources.base import Source, SourceUnavailable, SourceWatcher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from decoders.nmea_columns import Ints
    from ingest.inbox import Inbox

_DAY = 86_400_000_000
#: Bytes of a log whose times are read at once.
_PIECE = 1 << 20
#: What a gzip file begins with (RFC 1952, 2.3.1).
GZIP = b"\x1f\x8b"


class BadRecording(Exception):  # noqa: N818  # named for what is known
    """A file that is not what it was said to be: file, line and reason in one line."""


def look(path: Path) -> None:
    """Say, without reading it, whether a file can be read.

    Raises:
        SourceUnavailable: it cannot.
    """
    try:
        if not path.is_fifo():  # whose writer would take the first closing for the end
            path.open("rb").close()
    except OSError as exc:
        raise SourceUnavailable(f"{path}: {exc.strerror}") from exc


class FileSource(Source):
    """Reads one file once.

    ``format="mqtt"`` reads lines of ``{"received_at": ISO-8601 or epoch ms, "topic": ..., "payload": text or
    JSON}`` (``payload_base64`` for bytes that are not text); ``"nmea"`` reads sentences, each line a message. The file
    may be compressed by gzip.

    ``start`` is the time of the first line, microseconds since the epoch. Without one it is the first time that the log
    says; of a log that says none, the last line is taken to be as old as the file.
    """

    def __init__(
        self,
        name: str,
        watcher: SourceWatcher,
        *,
        path: Path | None,
        format: Literal["nmea", "mqtt", "auto"] = "auto",  # noqa: A002  # the option's name
        start: int | None = None,
    ) -> None:
        super().__init__(name, watcher)
        self._path = path
        self._start = start
        self._data: bytes | None = None
        self._times: list[Ints] | None = None  # of the lines of each piece, where they had to be guessed
        #: Whether the log says times of its own; known after ``check``.
        self.timed = False
        #: When the file was last written, if that is all that is known of its time; known after ``check``.
        self.written: int | None = None
        self.format = format

    @property
    def start(self) -> int | None:
        """The time of the first message, microseconds since the epoch; known after ``check``. None: there is none."""
        if self._times is not None:
            return int(self._times[0][0]) if self._times else None
        return self._start

    @property
    def _shown(self) -> str:
        return str(self._path) if self._path else "standard input"

    async def check(self) -> None:
        self._load()

    def _load(self) -> bytes:
        if self._data is not None:
            return self._data
        try:
            if self._path is None:
                data = sys.stdin.buffer.read()
                modified = time.time_ns() // 1000
            else:
                data = self._path.read_bytes()
                modified = self._path.stat().st_mtime_ns // 1000
        except OSError as exc:
            raise SourceUnavailable(f"{self._shown}: {exc.strerror}") from exc
        data = self._unpacked(data).removeprefix(BOM_UTF8)
        if self.format == "auto":
            self.format = "mqtt" if data.lstrip()[:1] == b"{" else "nmea"
        if self.format == "nmea":
            data = LineEnds().feed(data)
            self._find_start(data, min(modified, time.time_ns() // 1000))
        else:
            self._start = next((one.received_at for _, one in publishes(data, self.name, self._shown)), None)
        self._data = data
        return data

    def _unpacked(self, data: bytes) -> bytes:
        if not data.startswith(GZIP):
            return data
        try:
            return gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as exc:
            raise SourceUnavailable(f"{self._shown}: gzip: {exc}") from exc

    def _find_start(self, data: bytes, modified: int) -> None:
        latest = _latest()
        lines = []
        for _, piece in _pieces(data):
            lines.append(said(piece))
            time = lines[-1].time
            times = time[(time >= EARLIEST) & (time <= latest)]
            if len(times):
                self.timed = True
                self._start = int(times[0]) if self._start is None else self._start
                return
        if self._start is None:
            self.written = modified
            self._times = times_until(lines, modified)

    async def run(self, inbox: Inbox) -> None:
        """Read to the end.

        Raises:
            SourceUnavailable: the file cannot be read.
            BadRecording: a line of an MQTT recording that cannot be read.
        """
        data = self._load()
        deliveries = (
            (delivery for _, delivery in publishes(data, self.name, self._shown))
            if self.format == "mqtt"
            else self._lines(data)
        )
        try:
            for delivery in deliveries:
                if self.stopping:
                    return
                self.watcher.received(self.name, delivery.messages)
                await inbox.put(delivery)
        except InboxClosed:
            return

    def _lines(self, data: bytes) -> Iterator[Delivery]:
        """Runs of lines received at the same instant, as one delivery each."""
        origin = self._path.name if self._path else "-"
        begin = before = 0  # where the run begins, and how many lines come before it
        now: int | None = None  # when it was received
        count = 0
        for at, starts, times in self._timed(data):
            changes = np.flatnonzero(np.diff(times, prepend=times[0] if now is None else now))
            columns = ((at + starts[changes]).tolist(), (count + changes).tolist(), times[changes].tolist())
            now = int(times[0]) if now is None else now
            for start, number, at_once in zip(*columns, strict=True):
                yield self._delivery(data[begin:start], origin, now, before, number)
                begin, before, now = start, number, at_once
            count += len(times)
        if now is not None:
            yield self._delivery(data[begin:], origin, now, before, count)

    def _timed(self, data: bytes) -> Iterator[tuple[int, Ints, Ints]]:
        """The pieces of a log: where each begins, where in it lines begin, and when they were received."""
        if self._times is None:
            assert self._start is not None
            clock = LogClock(self._start, latest=_latest())
        for number, (at, piece) in enumerate(_pieces(data)):
            lines = said(piece)
            yield at, lines.start, clock.lines(lines) if self._times is None else self._times[number]

    def _delivery(self, payload: bytes, origin: str, at: int, before: int, end: int) -> Delivery:
        """The lines after the first ``before``, up to the ``end``-th."""
        ended = payload if payload.endswith(b"\n") else payload + b"\n"
        return Delivery(ended, self.name, origin, at, messages=end - before, per_line=True, line=before + 1)


def _pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Whole lines, about a megabyte at a time, and where they begin."""
    begin = 0
    while begin < len(data):
        end = data.find(b"\n", begin + _PIECE) + 1 or len(data)
        yield begin, data[begin:end]
        begin = end


def _latest() -> int:
    """The latest time of a line that is believed: microseconds since the epoch."""
    return time.time_ns() // 1000 + _DAY


def publishes(data: bytes, source: str, shown: str) -> Iterator[tuple[int, Delivery]]:
    """The publishes of an MQTT recording, with the number of the line each stands on.

    Raises:
        BadRecording: a line cannot be read.
    """
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            delivery = _publish(line, source)
        except (orjson.JSONDecodeError, KeyError, ValueError, TypeError, OverflowError, binascii.Error) as exc:
            raise BadRecording(f"{shown}: line {number}: {_why(exc)}") from exc
        yield number, delivery


def _publish(line: bytes, source: str) -> Delivery:
    record = orjson.loads(line)
    received_at = _instant(record["received_at"])
    if "payload_base64" in record:
        payload = base64.b64decode(record["payload_base64"], validate=True)
    elif isinstance(record["payload"], str):
        payload = record["payload"].encode()
    else:
        payload = orjson.dumps(record["payload"])
    topic = record["topic"]
    if not isinstance(topic, str):
        raise TypeError("topic is not text")
    return Delivery(payload, source, topic, received_at)


def _instant(at: object) -> int:
    """``received_at`` of a recording, microseconds since the epoch; it is the clock, so nonsense is not believed."""
    if isinstance(at, str):
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError("received_at has no offset from UTC")
        found = microseconds(moment)
    elif isinstance(at, int | float) and not isinstance(at, bool) and abs(at) <= LATEST:
        found = round(at * 1000)
    else:
        raise TypeError("received_at is neither ISO 8601 nor milliseconds since 1970")
    latest = time.time_ns() // 1000 + MAX_AHEAD_US
    if not EARLIEST <= found <= latest:
        raise ValueError(f"received_at is not between {to_iso(EARLIEST)} and {to_iso(latest)}, a year from now")
    return found


def _why(exc: Exception) -> str:
    return f"no {exc.args[0]!r}" if isinstance(exc, KeyError) else str(exc)
