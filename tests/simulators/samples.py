"""What several tests of the simulators look at: a zone file's worth of zones, and decoding by pyais."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pyais
from pyais.exceptions import InvalidNMEAChecksum

from simulators.areas import Area, area

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

START: Final = 1_790_000_000_000_000  # 2026-09-21T14:13:20Z

SQUARE: Final = area(
    "square", [[[[107.68, 16.62], [107.74, 16.62], [107.74, 16.68], [107.68, 16.68], [107.68, 16.62]]]]
)
WITH_HOLE: Final = area(
    "with-hole",
    [
        [
            [[107.60, 16.62], [107.78, 16.62], [107.78, 16.78], [107.60, 16.78], [107.60, 16.62]],
            [[107.66, 16.66], [107.72, 16.66], [107.72, 16.70], [107.66, 16.70], [107.66, 16.66]],
        ]
    ],
)
#: Some 30 m wide: a boat is through it between two reports.
LINE: Final = area(
    "line", [[[[107.66, 16.71], [107.85, 16.58], [107.8502, 16.5802], [107.6602, 16.7102], [107.66, 16.71]]]]
)
LAGOON_CORE: Final = area(
    "core",
    [[[[107.471, 16.646], [107.470, 16.644], [107.475, 16.641], [107.477, 16.643], [107.471, 16.646]]]],
)
ZONES: Final[tuple[Area, ...]] = (SQUARE, WITH_HOLE, LINE, LAGOON_CORE)


def sentence(line: bytes) -> bytes:
    """A line without its TAG block and its end."""
    return line.rpartition(b"\\")[2].strip()


def checksum_is_right(line: bytes) -> bool:
    """Computed here, not by pyais and not by the simulator."""
    body, _, given = line.lstrip(b"!\\").partition(b"*")
    value = 0
    for octet in body:
        value ^= octet
    return given == b"%02X" % value


def decode(lines: Iterable[bytes]) -> dict[str, Any]:
    """The fields of one message by pyais, wrong checksums refused."""
    try:
        return dict(pyais.decode(*lines, error_if_checksum_invalid=True).asdict())
    except InvalidNMEAChecksum as error:
        raise AssertionError(f"bad checksum: {error}") from error


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something to become true that has no event of its own."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
