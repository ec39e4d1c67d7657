"""Memory that was freed goes back to the system when it is told to."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ingest.heap import give_back

MIB = 1 << 20


def resident() -> int:
    """Bytes of this process that are in memory and of no file."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) << 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="how much is resident is read from /proc")
def test_what_is_free_between_what_lives_on_is_given_back() -> None:
    pieces = [bytes(2000) for _ in range(64 * MIB // 2000)]
    kept = pieces[::100]
    del pieces
    before = resident()
    give_back()
    assert before - resident() > 32 * MIB
    assert all(piece == bytes(2000) for piece in kept)
