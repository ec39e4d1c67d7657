"""Streams of NMEA 0183 lines into tables: sentences, assembly of messages, times, AIS.

Where the time of an observation comes from, the best first: the TAG block's ``c``, the epoch after the checksum (U.S.
Coast Guard), the ``$PGHP`` line before the sentence (Gatehouse), the time of reception. The first three are what the
source says, and count only if it is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from decoders import ais
from decoders.assembler import CAP, TIMEOUT_US, Assembler, Ended, Fragment, Part, Stream
from decoders.nmea import Ignored, Kind, Line, ReceiveTime, Sentence, parse
from decoders.records import Observations, Reason, Reject
from decoders.refused import Refused
from decoders.times import MAX_FUTURE_US, check_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from decoders.block import Block

#: The serial number of no batch: outside of ``decode`` every part is of an earlier one.
_BETWEEN_BATCHES: Final = -1


@dataclass(slots=True, frozen=True)
class IgnoredLine:
    """A line that was passed over."""

    message: int  # -1: of an earlier batch
    line: int
    kind: Kind
    raw: bytes


@dataclass(slots=True)
class _Batch:
    """What one call of ``decode`` has gathered so far."""

    out: Observations
    sent: list[ais.Transmission] = field(default_factory=list)
    #: The lines of each of ``sent``.
    parts: list[tuple[Part, ...]] = field(default_factory=list)


class NmeaDecoder:
    """AIS in NMEA 0183 lines (``block.Decoder``).

    Args:
        trusted: whether to take times that the lines carry.
        max_future_us: how far such a time may lie ahead of the reception; None where that is no real clock.
        default_time: the time of observations that carry none; None: when they were received.
        timeout_us: how long fragments, and announced receive times, wait.
        cap: unfinished messages of one source, and announced receive times in all.
        receiver: the id of who heard a block, for the ``source`` column; None: the block's source.
        keep_ignored: whether to tell in ``ignored`` what was passed over.
    """

    def __init__(
        self,
        *,
        trusted: bool = True,
        max_future_us: int | None = MAX_FUTURE_US,
        default_time: int | None = None,
        timeout_us: int = TIMEOUT_US,
        cap: int = CAP,
        receiver: Callable[[Block], int] | None = None,
        keep_ignored: bool = False,
    ) -> None:
        self._trusted = trusted
        self._max_future = max_future_us
        self._default_time = default_time
        self._timeout = timeout_us
        self._cap = cap
        self._receiver = receiver
        self._keep_ignored = keep_ignored
        self._assembler = Assembler(timeout_us=timeout_us, cap=cap)
        self._announced: dict[Stream, tuple[ReceiveTime, Part]] = {}
        self._serial = 0
        self._batch = _BETWEEN_BATCHES
        #: Of the last ``decode``: lines passed over, and the line numbers of messages of several lines, in the order
        #: of a reject's ``raw``, by message (where each line is one).
        self.ignored: list[IgnoredLine] = []
        self.lines: dict[int, tuple[int, ...]] = {}

    def decode(self, blocks: Sequence[Block]) -> Observations:
        """Everything the blocks said, in arrival order."""
        self._serial += 1
        self._batch = self._serial
        self.ignored = []
        self.lines = {}
        batch = _Batch(Observations(messages=max((b.first + b.messages for b in blocks), default=0)))
        for block in blocks:
            self._block(block, batch)
        decoded = ais.decode(batch.sent)
        out = batch.out
        out.positions = decoded.positions
        out.statics = decoded.statics
        out.records = decoded.records
        for index, refused in decoded.refused:
            out.rejects.append(self._reject(batch.parts[index], refused))
        out.rejects.sort(key=lambda r: (r.message, r.line))
        out.pending = [part.message for part in self._waiting() if part.batch == self._batch]
        self._batch = _BETWEEN_BATCHES
        return out

    def expire(self, now: int) -> Observations:
        """Rejects for what has waited longer than the time-out at ``now`` (microseconds since the epoch)."""
        out = Observations()
        self._end(self._assembler.expire(now), out)
        late = [s for s, (_, part) in self._announced.items() if now - part.received_at > self._timeout]
        for stream in late:
            self._end_announced(self._announced.pop(stream)[1], out)
        return out

    def flush(self) -> Observations:
        """Rejects for everything that waits: nothing more will come."""
        out = Observations()
        self._end(self._assembler.flush(), out)
        for _, part in self._announced.values():
            self._end_announced(part, out)
        self._announced.clear()
        out.rejects.sort(key=lambda r: r.line)
        return out

    def pending(self) -> Sequence[Block]:
        """The waiting lines, in the order they came, each as a message of its own."""
        parts = sorted(self._waiting(), key=lambda part: (part.batch, part.message, part.line))
        return [part.block(first) for first, part in enumerate(parts)]

    def _waiting(self) -> list[Part]:
        parts = [part for fragment in self._assembler.pending() for part in fragment.parts]
        parts.extend(part for _, part in self._announced.values())
        return sorted(parts, key=lambda part: (part.batch, part.message))

    def _block(self, block: Block, batch: _Batch) -> None:
        receiver = block.source if self._receiver is None else self._receiver(block)
        lines = block.data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        message, step = block.first, int(block.per_line)
        for number, line in enumerate(lines, start=block.line):
            found = parse(line)
            if isinstance(found, Ignored) and not self._announced and not self._keep_ignored:
                message += step
                continue
            raw = line[:-1] if line.endswith(b"\r") else line
            part = Part(
                raw,
                block.source,
                block.origin,
                block.received_at,
                number,
                message,
                self._batch,
                block.per_line,
            )
            self._line(found, part, receiver, batch)
            message += step

    def _line(self, found: Line, part: Part, receiver: int, batch: _Batch) -> None:
        if isinstance(found, Ignored):
            self._note(found, part)
            if found.kind is not Kind.SENTENCE:
                return
        said, before = self._announcement(found, part, batch.out)
        if isinstance(found, ReceiveTime):
            self._announced[part.source, part.origin] = (found, part)
            if len(self._announced) > self._cap:
                self._end_announced(self._announced.pop(next(iter(self._announced)))[1], batch.out)
        elif isinstance(found, Sentence):
            time: int | None = None
            if self._trusted:
                told = said.time if said is not None and said.checksum in (None, found.checksum) else None
                time = next((t for t in (found.tag.time, found.time, told) if t is not None), None)
            self._sentence(found, (*before, part), time, receiver, batch)
        else:
            self._join(before, part, batch.out)
            if isinstance(found, Refused):
                batch.out.rejects.append(self._reject((*before, part), found))
            else:
                for at in before:
                    self._note(found, at)

    def _announcement(self, found: Line, part: Part, out: Observations) -> tuple[ReceiveTime | None, tuple[Part, ...]]:
        """The receive time announced for the sentence at ``part``, with the line that did."""
        announced = self._announced.pop((part.source, part.origin), None)
        if announced is None:
            return None, ()
        said, at = announced
        if isinstance(found, ReceiveTime) or part.received_at - at.received_at > self._timeout:
            self._end_announced(at, out)
            return None, ()
        return said, (at,)

    def _note(self, found: Ignored, part: Part) -> None:
        if self._keep_ignored:
            self.ignored.append(IgnoredLine(self._message(part), part.line, found.kind, part.data))

    def _sentence(
        self, sentence: Sentence, parts: tuple[Part, ...], time: int | None, receiver: int, batch: _Batch
    ) -> None:
        payload, fill, last = sentence.payload, sentence.fill, parts[-1]
        if sentence.total > 1:
            result = self._assembler.add(Fragment(sentence, parts, time))
            self._end(result.ended, batch.out)
            if result.whole is None:
                return
            payload = b"".join(f.sentence.payload for f in result.whole)
            fill = result.whole[-1].sentence.fill
            time = next((f.time for f in result.whole if f.time is not None), None)
            parts = (*(part for f in result.whole for part in f.parts if part is not last), last)
        self._join(parts[:-1], last, batch.out)
        refused = None
        if time is None:
            time = last.received_at if self._default_time is None else self._default_time
        else:
            refused = check_time(time, last.received_at, self._max_future)
        if refused is not None:
            batch.out.rejects.append(self._reject(parts, refused))
            return
        batch.sent.append(ais.Transmission(payload, fill, time, last.received_at, receiver, last.message))
        batch.parts.append(parts)

    def _join(self, parts: Iterable[Part], whole: Part, out: Observations) -> None:
        """Let ``parts`` share the fate of the message that ``whole`` belongs to."""
        released = 0
        numbers = []
        for part in parts:
            numbers.append(part.line)
            if part.batch != self._batch:
                released += 1
            elif part.message != whole.message:
                out.joined.append((part.message, whole.message))
        if released:
            out.released.append((whole.message, whole.source, released))
        if numbers:
            self.lines[whole.message] = (*numbers, whole.line)

    def _end(self, ended: Iterable[Ended], out: Observations) -> None:
        for end in ended:
            refused = Refused(end.reason, end.detail)
            out.rejects.extend(self._reject((part,), refused) for f in end.fragments for part in f.parts)

    def _end_announced(self, part: Part, out: Observations) -> None:
        refused = Refused(Reason.INCOMPLETE_MESSAGE, "the receive time of a sentence that did not come")
        out.rejects.append(self._reject((part,), refused))

    def _message(self, part: Part) -> int:
        return part.message if part.batch == self._batch else -1

    def _reject(self, parts: Sequence[Part], refused: Refused) -> Reject:
        """One reject for all ``parts``, of the message of the last."""
        last = parts[-1]
        return Reject(
            self._message(last),
            refused.reason,
            b"\n".join(part.data for part in parts),
            last.received_at,
            last.source,
            last.origin,
            refused.detail,
            last.line,
        )
