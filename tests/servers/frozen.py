"""A server that stands still: its kernel goes on taking connections and packets, and it says nothing."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.server import Server


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop all of its processes, and let them go on at the end."""
    assert server.process is not None
    server.process.send(signal.SIGSTOP)  # so that no child is born between looking and stopping
    family = [server.process, *server.process.descendants()]
    try:
        for one in family:
            one.send(signal.SIGSTOP)
        yield
    finally:
        for one in family:
            one.send(signal.SIGCONT)
