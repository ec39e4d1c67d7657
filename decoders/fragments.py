"""Two-sentence messages that come together in the plain way, found in columns, many at once.

``decoders.assembler`` says which fragments join, one after the other. Where the outcome is plain from the batch alone,
it need not be asked: a first and a second sentence of the same key (its ``_Key``, source and origin) with nothing of
that key between them, and nothing of it open before. Everything else is *loose*, and goes through the assembler, which
is in the same state as if it had seen the plain pairs too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from decoders.nmea_columns import KEY_BYTES, UNTOLD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from decoders.assembler import Assembler
    from decoders.nmea_columns import Flags, Ints, Sentences, Text

#: Where the number of the sentence is in a header (``AIVDM,2,1,``) and in a TAG group (``1-2-ID``).
_NUMBER_IN_HEADER: Final = 8
_NUMBER_IN_GROUP: Final = 0


@dataclass(slots=True)
class Reception:
    """What is known from outside of each of some fragments: columns of equal length."""

    stream: Ints  # a number for each (source, origin)
    source: Ints
    received_at: Ints
    odd: Flags  # not to be paired, for a reason of the caller's


def pairs(
    text: Text, found: Sentences, heard: Reception, streams: dict[tuple[int, str], int], assembler: Assembler
) -> tuple[Ints, Ints]:
    """The plain pairs among fragments: indices of the first and of the second sentences.

    Args:
        text: where the sentences lie.
        found: sentences of messages of two and more, in arrival order.
        heard: of each of them.
        streams: the number of each stream.
        assembler: what is open before the batch.
    """
    none = np.zeros(0, np.int64)
    if len(found.line) < 2 or (np.diff(heard.received_at) < 0).any():
        return none, none
    known = _keys(text, found, heard)
    opened = _open_keys(assembler, streams)
    keys = np.concatenate([opened, known])
    number = np.concatenate([np.zeros(len(opened), np.int64), found.number])
    order, group = _grouped(keys)
    keys, number = keys[order], number[order]
    index = order - len(opened)  # below 0: open before
    station = _field(text, found.station, found.station_length)
    grouped = found.group_length > 0

    begins = np.append(True, group[1:] != group[:-1])
    loose = np.zeros(int(group[-1]) + 1, np.bool_)  # by group: none of it is plain
    uniform = np.ones(len(loose), np.bool_)  # by group: of one station, without TAG group
    loose[group[1:][(keys[1:] != keys[:-1]).any(axis=1) & ~begins[1:]]] = True
    loose[group[(index < 0)]] = True
    mine = index >= 0
    loose[group[mine][~found.keyed[index[mine]]]] = True
    uniform[group[mine][grouped[index[mine]]]] = False
    there = np.maximum(index, 0)
    differs = (station[there[1:]] != station[there[:-1]]).any(axis=1) & ~begins[1:]
    uniform[group[1:][differs]] = False

    here = np.flatnonzero(~begins[1:] & (number[:-1] == 1) & (number[1:] == 2))  # a first, and next a second
    fits = _fits(found, heard, station, index[here], index[here + 1], assembler.timeout_us)
    here = here[fits]
    # Where all are of one station, a second sentence of two leaves nothing open, whatever came before.
    clean = begins[here] | (number[here - 1] == 2)
    # Elsewhere the whole group must be such pairs.
    size = np.bincount(group)
    whole = 2 * np.bincount(group[here], minlength=len(size)) == size
    here = here[np.where(uniform[group[here]], clean, whole[group[here]]) & ~loose[group[here]]]
    return _within_cap(index[here], index[here + 1], found, heard, assembler)


def _fits(found: Sentences, heard: Reception, station: Ints, one: Ints, two: Ints, timeout_us: int) -> Flags:
    """Whether first and second sentences join, as far as they themselves say."""
    good = (found.total[one] == 2) & ~heard.odd[one] & ~heard.odd[two]
    good &= heard.received_at[two] - heard.received_at[one] <= timeout_us
    told = (found.time[one] != UNTOLD) & (found.time[two] != UNTOLD)
    good &= ~told | (abs(np.where(told, found.time[two] - found.time[one], 0)) <= timeout_us)
    silent = (found.station_length[one] == 0) | (found.station_length[two] == 0)
    out: Flags = good & (silent | (station[one] == station[two]).all(axis=1))
    return out


def _within_cap(one: Ints, two: Ints, found: Sentences, heard: Reception, assembler: Assembler) -> tuple[Ints, Ints]:
    """Without the pairs of sources of which so much is open at a time that the oldest might have to give way."""
    if not len(one):
        return one, two
    steps = np.zeros(len(found.line) + 1, np.int64)
    steps[one] += 1
    steps[two] -= 1
    deepest = int(np.cumsum(steps).max())
    sources, of = np.unique(heard.source, return_inverse=True)
    paired = np.bincount(of[one], minlength=len(sources))
    most = np.bincount(of) - 2 * paired + [assembler.unfinished(source) for source in sources.tolist()] + deepest
    good = (most <= assembler.cap)[of[one]]
    return one[good], two[good]


def _field(text: Text, begin: Ints, length: Ints, blank: int | None = None) -> Ints:
    """Up to 16 bytes from ``begin`` as two integers, those from ``length`` on, and the ``blank``-th, as 0."""
    chars = text.chars(KEY_BYTES)[begin].view(np.uint8).reshape(-1, KEY_BYTES)
    chars[np.arange(KEY_BYTES) >= length[:, None]] = 0
    if blank is not None:
        chars[:, blank] = 0
    return chars.view(np.int64)


def _keys(text: Text, found: Sentences, heard: Reception) -> Ints:
    """What must be the same for fragments to join, as rows of five integers: stream, header, TAG group."""
    header = _field(text, found.address, found.channel_end - found.address, _NUMBER_IN_HEADER)
    group = _field(text, found.group, found.group_length, _NUMBER_IN_GROUP)
    return np.column_stack([heard.stream, header, group])


def _open_keys(assembler: Assembler, streams: dict[tuple[int, str], int]) -> Ints:
    """The same of the unfinished messages of these streams."""
    out: list[NDArray[np.int64]] = []
    for source, origin, key in assembler.waiting():
        stream = streams.get((source, origin))
        if stream is None:
            continue
        talker, formatter, total, sequence, channel, group = key
        header = f"{talker}{formatter},{total},\0,{sequence},{channel}"
        tag = "\0-{}-{}".format(*group.split(":", 1)) if group else ""
        both = header.encode().ljust(KEY_BYTES, b"\0")[:KEY_BYTES] + tag.encode().ljust(KEY_BYTES, b"\0")[:KEY_BYTES]
        out.append(np.concatenate([[stream], np.frombuffer(both, np.int64)]))
    return np.array(out, np.int64).reshape(-1, 5)


def _grouped(keys: Ints) -> tuple[Ints, Ints]:
    """An order in which equal keys are together, otherwise as they were; and a number for each group.

    Told apart by a hash: unlike keys might share a group, about never.
    """
    mixed = np.zeros(len(keys), np.uint64)
    for column in keys.T:
        mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    order = np.argsort(mixed, kind="stable")
    mixed = mixed[order]
    return order, np.cumsum(np.append(False, mixed[1:] != mixed[:-1]))
