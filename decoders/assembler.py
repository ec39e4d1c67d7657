"""Multi-sentence messages: fragments in, whole messages and incomplete ones out.

Fragments carry no ship's name, only a message id of one digit that is soon used again. So joining errs on the side of
refusing, and what comes out depends on nothing but the fragments and their receive times:

* A fragment joins only fragments of the same source, origin, talker, formatter, total, message id, channel, and
  station or TAG group where the line says one.
* Without a TAG group, whose id tells messages apart, fragments must come in order. One out of place ends the message
  it does not fit into. A new first fragment ends the message it takes over from.
* A fragment that repeats one that waits (the broker delivered it again, another receiver heard it too) shares its
  fate, and changes nothing. Of one fragment so many repeats wait with it; further ones are duplicates at once.
* After the time-out nothing joins, whether or not ``expire`` was called in between; nor do fragments that say
  themselves that they are further apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from decoders.block import Block
from decoders.records import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoders.nmea import Sentence

TIMEOUT_US: Final = 30_000_000
CAP: Final = 1000
#: More than a broker delivers again or receivers hear; what one sender repeats for ever takes no more.
REPEATS: Final = 16

#: (source, origin): where lines come in one order.
Stream = tuple[int, str]


@dataclass(slots=True)
class Part:
    """One line that waits for others."""

    data: bytes  # the line, without its end
    source: int
    origin: str
    received_at: int
    line: int
    message: int  # within the batch it came in
    batch: int  # a serial number of that batch: `message` means something there only
    per_line: bool

    def block(self, first: int) -> Block:
        """What to decode again, as message ``first``, to have this part again."""
        return Block(self.data, self.source, self.origin, self.received_at, first, self.per_line, self.line)


@dataclass(slots=True)
class Fragment:
    """One VDM or VDO sentence of several."""

    sentence: Sentence
    parts: tuple[Part, ...]  # its line, after the one that announced its time, if any; then those of repeats
    time: int | None = None  # when it was received, as far as the line or its announcement says

    @property
    def received_at(self) -> int:
        return self.parts[-1].received_at


@dataclass(slots=True)
class Ended:
    """Fragments that will not become a message."""

    fragments: list[Fragment]
    reason: Reason
    detail: str


@dataclass(slots=True)
class Result:
    """What one fragment brought about."""

    whole: list[Fragment] | None = None  # in the order of their numbers
    ended: list[Ended] = field(default_factory=list)
    repeated: bool = False  # it repeats what has been repeated too often to wait with it


#: Talker, formatter, total, message id, channel, and "total:id" of the TAG group, if any.
Key = tuple[str, str, int, str, str, str]


@dataclass(slots=True, eq=False)
class _Message:
    """An unfinished message."""

    key: Key
    station: str
    started: int
    fragments: list[Fragment]  # in arrival order

    def has(self, number: int) -> bool:
        return any(f.sentence.number == number for f in self.fragments)

    def same(self, fragment: Fragment) -> Fragment | None:
        """The fragment of this message that the given one repeats."""
        new = fragment.sentence
        for old in self.fragments:
            if (old.sentence.number, old.sentence.payload, old.sentence.fill) == (new.number, new.payload, new.fill):
                return old
        return None


@dataclass(slots=True)
class _Source:
    """The unfinished messages of one source, oldest first, and by (origin, key)."""

    order: dict[_Message, str] = field(default_factory=dict)
    by_key: dict[tuple[str, Key], list[_Message]] = field(default_factory=dict)

    def open(self, origin: str, message: _Message) -> None:
        self.order[message] = origin
        self.by_key.setdefault((origin, message.key), []).append(message)

    def close(self, message: _Message) -> None:
        at = (self.order.pop(message), message.key)
        peers = self.by_key[at]
        peers.remove(message)
        if not peers:
            del self.by_key[at]


class Assembler:
    """The unfinished messages of all sources.

    Args:
        timeout_us: how long after its first fragment, by ``received_at``, a message may still be completed.
        cap: unfinished messages of one source; the oldest gives way.
        repeats: lines, with those that announce times, that may wait for one fragment.
    """

    def __init__(self, *, timeout_us: int = TIMEOUT_US, cap: int = CAP, repeats: int = REPEATS) -> None:
        if timeout_us <= 0 or cap <= 0 or repeats <= 0:
            raise ValueError("the time-out, the cap and the repeats must be positive")
        self._repeats = repeats
        self.timeout_us: Final = timeout_us
        self.cap: Final = cap
        self._sources: dict[int, _Source] = {}

    def add(self, fragment: Fragment) -> Result:
        """Take one fragment of a message of two or more."""
        part, sentence = fragment.parts[-1], fragment.sentence
        source = self._sources.setdefault(part.source, _Source())
        result = Result(ended=list(self._expire(source, fragment.received_at)))
        group = sentence.tag.group
        key = (
            sentence.talker,
            sentence.formatter,
            sentence.total,
            sentence.sequence,
            sentence.channel,
            f"{group.total}:{group.id}" if group else "",
        )
        station = sentence.tag.station or sentence.station
        peers = source.by_key.get((part.origin, key), [])
        fits = [m for m in peers if m.station == station]
        if not fits and (sentence.number > 1 or group):
            fits = [m for m in peers if not (m.station and station)]
        if group:
            fits = [m for m in fits if m.same(fragment) or not m.has(sentence.number)] or fits
        message = fits[0] if len(fits) == 1 else None
        new = _Message(key, station, fragment.received_at, [fragment])

        if message is not None and (same := message.same(fragment)):
            result.repeated = len(same.parts) + len(fragment.parts) > self._repeats
            if not result.repeated:
                same.parts += fragment.parts
            return result
        if message is not None and self._continues(message, fragment):
            message.fragments.append(fragment)
            message.station = message.station or station
            if len(message.fragments) == sentence.total:
                source.close(message)
                result.whole = sorted(message.fragments, key=lambda f: f.sentence.number)
            return result
        if message is not None:
            source.close(message)
            result.ended.append(
                Ended(message.fragments, Reason.INCOMPLETE_MESSAGE, f"ended by {_place(sentence)} of another message")
            )
        if sentence.number == 1 or (group and len(fits) <= 1):
            source.open(part.origin, new)
            result.ended.extend(self._evict(source))
        else:
            detail = f"{_place(sentence)} without the ones before it"
            if len(fits) > 1:
                detail = f"{_place(sentence)} fits {len(fits)} unfinished messages"
            result.ended.append(Ended([fragment], Reason.INCOMPLETE_MESSAGE, detail))
        return result

    def _continues(self, message: _Message, fragment: Fragment) -> bool:
        number = fragment.sentence.number
        for other in message.fragments:
            apart = 0 if other.time is None or fragment.time is None else fragment.time - other.time
            if abs(apart) > self.timeout_us:
                return False
        if fragment.sentence.tag.group:
            return not message.has(number)
        return number == len(message.fragments) + 1

    def _evict(self, source: _Source) -> Iterator[Ended]:
        while len(source.order) > self.cap:
            oldest = next(iter(source.order))
            source.close(oldest)
            yield Ended(
                oldest.fragments, Reason.FRAGMENT_OVERFLOW, f"more than {self.cap} unfinished messages of one source"
            )

    def _expire(self, source: _Source, now: int) -> Iterator[Ended]:
        while source.order:
            oldest = next(iter(source.order))
            if now - oldest.started <= self.timeout_us:
                return
            source.close(oldest)
            yield self._incomplete(oldest)

    @staticmethod
    def _incomplete(message: _Message) -> Ended:
        total = message.key[2]
        have = ", ".join(str(n) for n in sorted(f.sentence.number for f in message.fragments))
        return Ended(message.fragments, Reason.INCOMPLETE_MESSAGE, f"only {have} of {total} came")

    def expire(self, now: int) -> Iterator[Ended]:
        """End every message whose first fragment is older than the time-out at ``now``."""
        for source in self._sources.values():
            yield from self._expire(source, now)

    def expire_source(self, source: int, now: int) -> Iterator[Ended]:
        """The same for one source."""
        if found := self._sources.get(source):
            yield from self._expire(found, now)

    def unfinished(self, source: int) -> int:
        """How many messages of a source wait for more."""
        found = self._sources.get(source)
        return len(found.order) if found else 0

    def waiting(self) -> Iterator[tuple[int, str, Key]]:
        """Source, origin and key of every message that waits for more."""
        for source, found in self._sources.items():
            for message, origin in found.order.items():
                yield source, origin, message.key

    def flush(self) -> Iterator[Ended]:
        """End every message: nothing more will come."""
        for source in self._sources.values():
            for message in list(source.order):
                source.close(message)
                yield self._incomplete(message)

    def pending(self) -> Iterator[Fragment]:
        """Every fragment that waits, message by message, the oldest message of each source first."""
        for source in self._sources.values():
            for message in source.order:
                yield from message.fragments


def _place(sentence: Sentence) -> str:
    return f"sentence {sentence.number} of {sentence.total}"
