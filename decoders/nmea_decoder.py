"""Streams of NMEA 0183 lines into tables: sentences, assembly of messages, times, AIS.

Where the time of an observation comes from, the best first: the TAG block's ``c``, the epoch after the checksum (U.S.
Coast Guard), the ``$PGHP`` line before the sentence (Gatehouse), the time of reception. The first three are what the
source says, and count only if it is trusted.

The data's way, two of them with the same outcome:

* Line by line: ``nmea.parse``, announcements, ``Assembler``, ``ais.decode``. For batches of a few lines.
* In columns: ``nmea_columns`` reads the plain lines of the batch, ``fragments`` finds the plain pairs among them, and
  single sentences and pairs go to ``ais.decode_all`` as they lie in the text. All other lines go line by line, in
  their order. That they see nothing of the plain ones changes nothing: a single sentence meets no state but an
  announced time (the sentence after one is not plain), and a plain pair leaves the assembler as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from decoders import ais, fragments, nmea_columns
from decoders.ais_batch import Payloads
from decoders.assembler import CAP, REPEATS, TIMEOUT_US, Assembler, Ended, Fragment, Part, Stream
from decoders.nmea import Ignored, Kind, Line, ReceiveTime, Sentence, parse
from decoders.nmea_columns import NOTHING, OTHER, SENTENCE, UNTOLD, UNUSUAL
from decoders.records import Observations, Reason, Reject
from decoders.refused import Refused
from decoders.times import EARLIEST, LATEST, MAX_FUTURE_US, check_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from decoders.block import Block
    from decoders.nmea_columns import Flags, Ints, Lines

#: Batches of so many bytes are read in columns; what that costs at least pays from about here on.
COLUMNS_FROM: Final = 4096

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
    #: The place among all lines of the batch of the line being looked at, of the last line of each of ``sent``, and of
    #: what completed each of what follows.
    at: int = 0
    sent_at: list[int] = field(default_factory=list)
    joined: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    numbers: list[tuple[int, tuple[int, tuple[int, ...]]]] = field(default_factory=list)


class _Places:
    """What is known from outside of each line of a batch, and its message and number, by columns."""

    def __init__(self, blocks: Sequence[Block], of: Ints, receiver: Callable[[Block], int] | None) -> None:
        begins = np.searchsorted(of, np.arange(len(blocks)))
        within = np.arange(len(of)) - begins[of]
        first, step, line, source, received_at = np.array(
            [(b.first, b.per_line, b.line, b.source, b.received_at) for b in blocks], np.int64
        ).T
        self.message = first[of] + within * step[of]
        self.line = line[of] + within
        self.source = source[of]
        self.received_at = received_at[of]
        heard = source if receiver is None else np.array([receiver(b) for b in blocks], np.int64)
        self.receiver = heard[of]
        #: The number of each (source, origin).
        self.streams: dict[Stream, int] = {}
        stream = [self.streams.setdefault((b.source, b.origin), len(self.streams)) for b in blocks]
        self.stream = np.array(stream, np.int64)[of]


def _joined(one: Ints, two: Ints, places: _Places, batch: _Batch) -> None:
    """What ``NmeaDecoder._join`` says of plain pairs, given where their lines are."""
    at = two.tolist()
    message = places.message[two].tolist()
    lines = zip(places.line[one].tolist(), places.line[two].tolist(), strict=True)
    batch.numbers += zip(at, zip(message, lines, strict=True), strict=True)
    pairs = zip(places.message[one].tolist(), message, strict=True)
    batch.joined += [(where, pair) for where, pair in zip(at, pairs, strict=True) if pair[0] != pair[1]]


class NmeaDecoder:
    """AIS in NMEA 0183 lines (``block.Decoder``).

    Args:
        trusted: whether to take times that the lines carry.
        max_future_us: how far such a time may lie ahead of the reception; None where that is no real clock.
        default_time: the time of observations that carry none; None: when they were received.
        timeout_us: how long fragments, and announced receive times, wait.
        cap: unfinished messages of one source, and announced receive times in all.
        repeats: lines that may wait for one fragment.
        receiver: the id of who heard a block, for the ``source`` column; None: the block's source.
        keep_ignored: whether to tell in ``ignored`` what was passed over.
        columns_from: bytes of a batch from which it is read in columns.
    """

    def __init__(
        self,
        *,
        trusted: bool = True,
        max_future_us: int | None = MAX_FUTURE_US,
        default_time: int | None = None,
        timeout_us: int = TIMEOUT_US,
        cap: int = CAP,
        repeats: int = REPEATS,
        receiver: Callable[[Block], int] | None = None,
        keep_ignored: bool = False,
        columns_from: int = COLUMNS_FROM,
    ) -> None:
        self._trusted = trusted
        self._max_future = max_future_us
        self._default_time = default_time
        self._timeout = timeout_us
        self._cap = cap
        self._receiver = receiver
        self._keep_ignored = keep_ignored
        self._columns_from = columns_from
        self._assembler = Assembler(timeout_us=timeout_us, cap=cap, repeats=repeats)
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
        if sum(len(block.data) for block in blocks) >= self._columns_from:
            self._columns(blocks, batch)
        else:
            for block in blocks:
                self._block(block, batch)
            decoded = ais.decode(batch.sent)
            self._decoded(decoded, (self._reject(batch.parts[i], why) for i, why in decoded.refused), batch)
        out = batch.out
        out.rejects.sort(key=_reject_order)
        out.joined = [joined for _, joined in sorted(batch.joined, key=_first)]
        self.lines = dict(numbers for _, numbers in sorted(batch.numbers, key=_first))
        out.pending = [part.message for part in self._waiting() if part.batch == self._batch]
        self._batch = _BETWEEN_BATCHES
        return out

    def _decoded(self, decoded: ais.Decoded, rejects: Iterable[Reject], batch: _Batch) -> None:
        out = batch.out
        out.positions = decoded.positions
        out.statics = decoded.statics
        out.records = decoded.records
        out.rejects.extend(rejects)

    def expire(self, now: int) -> Observations:
        """Rejects for what has waited longer than the time-out at ``now`` (microseconds since the epoch)."""
        out = Observations()
        self._end(self._assembler.expire(now), out)
        late = [s for s, (_, part) in self._announced.items() if now - part.received_at > self._timeout]
        for stream in late:
            self._end_announced(self._announced.pop(stream)[1], out)
        out.rejects.sort(key=_reject_order)
        return out

    def flush(self) -> Observations:
        """Rejects for everything that waits: nothing more will come."""
        out = Observations()
        self._end(self._assembler.flush(), out)
        for _, part in self._announced.values():
            self._end_announced(part, out)
        self._announced.clear()
        out.rejects.sort(key=_reject_order)
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
            batch.at += 1
            found = parse(line)
            if self._matters(found):
                raw = line[:-1] if line.endswith(b"\r") else line
                self._line(found, self._part(raw, block, number, message), receiver, batch)
            message += step

    def _matters(self, found: Line) -> bool:
        return not isinstance(found, Ignored) or bool(self._announced) or self._keep_ignored

    def _part(self, raw: bytes, block: Block, number: int, message: int) -> Part:
        return Part(raw, block.source, block.origin, block.received_at, number, message, self._batch, block.per_line)

    def _columns(self, blocks: Sequence[Block], batch: _Batch) -> None:
        lines = nmea_columns.read(blocks)
        places = _Places(blocks, lines.block, self._receiver)
        found = lines.sentences
        slow = lines.kind == UNUSUAL
        if self._keep_ignored:
            slow |= (lines.kind == OTHER) | (lines.kind == NOTHING)
        slow[found.line[self._unbelieved(found.time, places.received_at[found.line])]] = True
        unusual = np.flatnonzero(slow)
        parts = dict(zip(unusual.tolist(), self._parts(unusual, lines, places, blocks), strict=True))
        parsed = {at: parse(part.data) for at, part in parts.items()}
        slow[self._after_announcements(parsed, lines, places)] = True
        one, two = self._pairs(lines, places, slow, parsed)
        single = np.flatnonzero((found.total == 1) & ~slow[found.line])
        loose = np.ones(len(found.line), np.bool_)
        loose[one] = loose[two] = loose[single] = False
        slow[found.line[loose]] = True

        order = np.flatnonzero(slow)
        plain = order[lines.kind[order] == SENTENCE]
        parts |= zip(plain.tolist(), self._parts(plain, lines, places, blocks), strict=True)
        for at, receiver in zip(order.tolist(), places.receiver[order].tolist(), strict=True):
            batch.at = at
            part = parts[at] if at in parts else self._parts(np.array([at]), lines, places, blocks)[0]
            line = parsed.get(at) or parse(part.data)
            if self._matters(line):
                self._line(line, part, receiver, batch)
        ends = found.line[two]
        _joined(found.line[one], ends, places, batch)
        for source in np.unique(places.source[ends]).tolist():
            of = ends[places.source[ends] == source]
            self._end(self._assembler.expire_source(source, int(places.received_at[of].max())), batch.out)

        text, sent, last, which = self._transmissions(lines, places, single, one, two, batch)
        decoded = ais.decode_all(text, sent)
        refused = [index for index, _ in decoded.refused]
        ended = self._parts(last[refused], lines, places, blocks)
        firsts = dict(zip(ends.tolist(), found.line[one].tolist(), strict=True)) if refused else {}
        rejects = []
        for (_, why), at, made, part in zip(
            decoded.refused, last[refused].tolist(), which[refused].tolist(), ended, strict=True
        ):
            if made >= 0:
                rejects.append(self._reject(batch.parts[made], why))
            elif at in firsts:
                first = self._parts(np.array([firsts[at]]), lines, places, blocks)
                rejects.append(self._reject((*first, part), why))
            else:
                rejects.append(self._reject((part,), why))
        self._decoded(decoded, rejects, batch)

    def _parts(self, at: Ints, lines: Lines, places: _Places, blocks: Sequence[Block]) -> list[Part]:
        """The lines at some places."""
        data = lines.text.data
        columns = (lines.start, lines.end, lines.block, places.line, places.message)
        return [
            self._part(data[start:end], blocks[block], line, message)
            for start, end, block, line, message in zip(*(column[at].tolist() for column in columns), strict=True)
        ]

    def _unbelieved(self, time: Ints, received_at: Ints) -> Flags:
        """Which of the times that sentences say are to be refused: see ``check_time``."""
        late = np.zeros(len(time), np.bool_)
        if not self._trusted:
            return late
        if self._max_future is not None:
            late = time > received_at + self._max_future
        bad: Flags = (time != UNTOLD) & ((time < EARLIEST) | (time > LATEST) | late)
        return bad

    def _after_announcements(self, parsed: dict[int, Line], lines: Lines, places: _Places) -> list[int]:
        """The plain lines that an announced receive time may be meant for: the first of the stream after it."""
        stream = {at: int(places.stream[at]) for at, line in parsed.items() if isinstance(line, ReceiveTime)}
        after = list(stream.items())
        after += [(-1, places.streams[of]) for of in self._announced if of in places.streams]
        out = []
        takes = (lines.kind == SENTENCE) | (lines.kind == OTHER)
        for of in {of for _, of in after}:
            candidates = np.flatnonzero(takes & (places.stream == of))
            next_ = np.searchsorted(candidates, [at for at, stream_of in after if stream_of == of], side="right")
            out += candidates[np.unique(next_[next_ < len(candidates)])].tolist()
        return out

    def _pairs(self, lines: Lines, places: _Places, slow: Flags, parsed: dict[int, Line]) -> tuple[Ints, Ints]:
        """The plain pairs, as indices of sentences."""
        index = np.flatnonzero(lines.sentences.total > 1)
        found = lines.sentences.take(index)
        at = found.line
        # Of these sources there are fragments that the columns do not show.
        elsewhere = {
            int(places.source[line])
            for line, what in parsed.items()
            if isinstance(what, Sentence) and what.total > 1 and lines.kind[line] == UNUSUAL
        }
        odd = slow[at]
        for source in elsewhere:
            odd |= places.source[at] == source
        if not self._trusted:
            found.time[:] = UNTOLD
        heard = fragments.Reception(places.stream[at], places.source[at], places.received_at[at], odd)
        one, two = fragments.pairs(lines.text, found, heard, places.streams, self._assembler)
        return index[one], index[two]

    def _transmissions(
        self, lines: Lines, places: _Places, single: Ints, one: Ints, two: Ints, batch: _Batch
    ) -> tuple[nmea_columns.Text, Payloads, Ints, Ints]:
        """All whole messages: the text they lie in, themselves, the place of their last line, and the index among
        ``batch.sent`` (-1 where they were not made line by line).
        """
        found, slow = lines.sentences, batch.sent
        text, starts = lines.text.extended([sent.payload for sent in slow]) if slow else (lines.text, single[:0])
        none = np.zeros(len(single) + len(slow), np.int64)

        def column(name: str) -> Ints:
            return np.array([getattr(sent, name) for sent in slow], np.int64)

        time = np.concatenate(
            [found.time[single], np.where(found.time[one] == UNTOLD, found.time[two], found.time[one])]
        )
        last = np.concatenate([found.line[single], found.line[two]])
        received_at = places.received_at[last]
        default = received_at if self._default_time is None else self._default_time
        time = np.where(time == UNTOLD, default, time) if self._trusted else default + 0 * last
        lengths = [len(sent.payload) for sent in slow]
        columns: tuple[list[Any], ...] = (
            [found.payload[single], found.payload[one], starts],
            [found.length[single], found.length[one] + found.length[two], lengths],
            [none[: len(single)], found.payload[two], none[len(single) :]],
            [none[: len(single)], found.length[two], none[len(single) :]],
            [found.fill[single], found.fill[two], column("fill")],
            [time, column("time")],
            [received_at, column("received_at")],
            [places.receiver[last], column("source")],
            [places.message[last], column("message")],
        )
        which = np.concatenate([np.full(len(last), -1), np.arange(len(slow))])
        last = np.concatenate([last, batch.sent_at]).astype(np.int64)
        order = np.argsort(last, kind="stable")
        sent = Payloads(*(np.concatenate(parts).astype(np.int64)[order] for parts in columns))
        return text, sent, last[order], which[order]

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
            self._join(before, part, batch)
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
            if result.repeated:
                self._join(parts[:-1], last, batch)
                batch.out.repeated.append(last.message)
            if result.whole is None:
                return
            payload = b"".join(f.sentence.payload for f in result.whole)
            fill = result.whole[-1].sentence.fill
            time = next((f.time for f in result.whole if f.time is not None), None)
            parts = (*(part for f in result.whole for part in f.parts if part is not last), last)
        self._join(parts[:-1], last, batch)
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
        batch.sent_at.append(batch.at)

    def _join(self, parts: Iterable[Part], whole: Part, batch: _Batch) -> None:
        """Let ``parts`` share the fate of the message that ``whole`` belongs to."""
        released = 0
        numbers = []
        for part in parts:
            numbers.append(part.line)
            if part.batch != self._batch:
                released += 1
            elif part.message != whole.message:
                batch.joined.append((batch.at, (part.message, whole.message)))
        if released:
            batch.out.released.append((whole.message, whole.source, released))
        if numbers:
            batch.numbers.append((batch.at, (whole.message, (*numbers, whole.line))))

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


def _reject_order(reject: Reject) -> tuple[Any, ...]:
    """By message, and within one by line; then by whatever tells rejects apart, so that the order is always one."""
    return reject.message, reject.line, reject.received_at, reject.source, reject.origin, reject.raw


def _first(item: tuple[int, Any]) -> int:
    return item[0]
