"""The line ends of a stream: a line feed, CR LF, or, as some serial devices send, a lone CR."""

from __future__ import annotations

import re
from typing import Final

_LONE: Final = re.compile(rb"\r(?!\n)")


class LineEnds:
    """Makes a line feed of every lone CR of a stream, however it is cut; CR LF within a piece stays as it is."""

    def __init__(self) -> None:
        self._returned = False  # the last piece ended with a CR, which was taken for the line's end

    def feed(self, data: bytes) -> bytes:
        """The next piece of the stream, with such line ends that each line ends with a line feed."""
        if self._returned and data.startswith(b"\n"):
            data = data[1:]
            self._returned = False
        if not data:
            return data
        self._returned = data.endswith(b"\r")
        if _LONE.search(data) is None:
            return data
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
