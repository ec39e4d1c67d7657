"""Every received message has exactly one fate, and the sum always balances, per source:

``received = stored + duplicate + ignored + quarantined + dropped + in_flight``
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from decoders.records import Observations
    from storage.batch import Committed


class Fate(IntEnum):
    """What became of a message; where its parts differ, the highest counts."""

    IGNORED = 0  # nothing in it is ours to keep: a comment, another device's sentence
    PENDING = 1  # waits for the rest of a multi-sentence message: still in flight
    DUPLICATE = 2  # all of it was there already
    STORED = 3  # at least one row is new
    QUARANTINED = 4  # all or part of it was refused, and is kept with its raw bytes


FATES = ("stored", "duplicate", "ignored", "quarantined", "dropped")


@dataclass(slots=True)
class Account:
    """The counts of one source since the process started."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    ignored: int = 0
    quarantined: int = 0
    dropped: int = 0

    @property
    def in_flight(self) -> int:
        """Received and not yet at its fate: waiting, being committed, or an unfinished multi-sentence message."""
        return self.received - self.stored - self.duplicate - self.ignored - self.quarantined - self.dropped

    def as_dict(self) -> dict[str, int]:
        return {"received": self.received, **{f: getattr(self, f) for f in FATES}, "in_flight": self.in_flight}

    def add(self, other: Account) -> None:
        for name in ("received", *FATES):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Ledger:
    """The accounts of all sources."""

    accounts: dict[str, Account] = field(default_factory=dict)
    #: Fragments that an earlier process had counted and this one found unfinished in the database.
    inherited: dict[str, int] = field(default_factory=dict)
    #: Per source: unfinished parts still to be released whose message has, or will have, its fate by another part.
    surplus: dict[str, int] = field(default_factory=dict)

    def account(self, source: str) -> Account:
        return self.accounts.setdefault(source, Account())

    def received(self, source: str, messages: int) -> None:
        self.account(source).received += messages

    def dropped(self, source: str, messages: int) -> None:
        self.account(source).dropped += messages

    def inherit(self, source: str, messages: int) -> None:
        """Count fragments restored at start as received by this process: their fate will be known to it."""
        self.inherited[source] = self.inherited.get(source, 0) + messages
        self.received(source, messages)

    def settle(self, source: str, fate: Fate, messages: int) -> None:
        """Give ``messages`` of a source their fate (PENDING settles nothing)."""
        account = self.account(source)
        match fate:
            case Fate.STORED:
                account.stored += messages
            case Fate.DUPLICATE:
                account.duplicate += messages
            case Fate.IGNORED:
                account.ignored += messages
            case Fate.QUARANTINED:
                account.quarantined += messages
            case Fate.PENDING:
                pass

    def release(self, source: str, fate: Fate, parts: int) -> None:
        """Unfinished parts of earlier batches came to an end; a message with several parts counts once."""
        known = min(parts, self.surplus.get(source, 0))
        if known:
            self.surplus[source] -= known
        self.settle(source, fate, parts - known)

    def as_dict(self) -> dict[str, dict[str, int]]:
        """The accounts by source."""
        return {source: account.as_dict() for source, account in self.accounts.items()}

    def total(self) -> Account:
        out = Account()
        for account in self.accounts.values():
            out.add(account)
        return out


def fates(observations: Observations, committed: Committed, duplicates: Iterable[int]) -> NDArray[np.int8]:
    """The fate of each message of a batch, as ``Fate`` codes, one per message.

    ``duplicates`` are messages that were found to be known already.
    """
    out = np.full(observations.messages, Fate.IGNORED, np.int8)
    _raise(out, np.array([*observations.pending], np.int64), Fate.PENDING)
    _raise(out, np.array([*duplicates], np.int64), Fate.DUPLICATE)
    for table, new in (
        (observations.positions, committed.positions),
        (observations.readings, committed.readings),
        (observations.statics, committed.statics),
    ):
        if len(table):
            message = table["message"]
            _raise(out, message, Fate.DUPLICATE)
            _raise(out, message[new], Fate.STORED)
    # One more hearing of a known transmission adds no observation, though it is kept: a duplicate.
    _raise(out, observations.receptions["message"], Fate.DUPLICATE)
    if observations.records:
        records = np.array([r.message for r in observations.records], np.int64)
        _raise(out, records, Fate.DUPLICATE)
        _raise(out, records[committed.records], Fate.STORED)
    if observations.rejects:
        rejects = np.array([r.message for r in observations.rejects], np.int64)
        here = rejects >= 0
        _raise(out, rejects[here], Fate.DUPLICATE)
        _raise(out, rejects[here & committed.rejects], Fate.QUARANTINED)
    if committed.conflicts:
        _raise(out, observations.readings["message"][committed.conflicts], Fate.QUARANTINED)
    # The parts of a multi-sentence message share its fate. Chains do not occur: `joined` names the last part.
    for part, whole in observations.joined:
        out[part] = out[whole]
    return out


def _raise(out: NDArray[np.int8], messages: NDArray[np.integer], fate: Fate) -> None:
    if len(messages):
        out[messages] = np.maximum(out[messages], fate)


def settle(
    ledger: Ledger,
    observations: Observations,
    found: NDArray[np.int8],
    sources: Sequence[tuple[str, int, int]],
    names: Mapping[int, str],
    refused: Sequence[bool],
) -> None:
    """Enter a committed batch into the ledger.

    Args:
        ledger: the accounts.
        observations: of the batch.
        found: ``fates(...)``.
        sources: (source, first message, messages) of each run of deliveries.
        names: source id to source name.
        refused: whether each of ``observations.rejects`` is new in quarantine.
    """
    for source, first, count in sources:
        counts = np.bincount(found[first : first + count], minlength=len(Fate))
        for fate in Fate:
            if counts[fate]:
                ledger.settle(source, fate, int(counts[fate]))
    waiting: set[int] = set()
    firsts = [first for _, first, _ in sources]
    for message in observations.pending:
        if found[message] != Fate.PENDING or message in waiting:
            source = sources[bisect_right(firsts, message) - 1][0]
            ledger.surplus[source] = ledger.surplus.get(source, 0) + 1
        waiting.add(message)
    for whole, source_id, count in observations.released:
        ledger.release(names[source_id], Fate(int(found[whole])), count)
    for reject, new in zip(observations.rejects, refused, strict=True):
        if reject.message < 0:
            ledger.release(names[reject.source], Fate.QUARANTINED if new else Fate.DUPLICATE, 1)
