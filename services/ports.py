"""Free loopback ports."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
LOWEST: Final = 20_000


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` of the loopback address now."""
    with socket.socket() as probe:
        # As servers do: a connection in TIME_WAIT does not make a port taken, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def find_free() -> int:
    """A port nobody listens on, below those the kernel hands to outgoing connections.

    So a server that was killed finds its port still free when it comes back. Between this call and the server's own
    ``bind`` another process may take it: the caller tries again with another.

    Raises:
        OSError: none found.
    """
    highest = 32_767
    with contextlib.suppress(OSError, ValueError, IndexError):
        highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]) - 1
    if highest <= LOWEST:
        highest = 32_767
    for _ in range(200):
        port = random.randint(LOWEST, highest)  # noqa: S311  # not a secret: spread so that processes rarely collide
        if is_free(port):
            return port
    raise OSError(f"no free port between {LOWEST} and {highest} on {LOOPBACK}")
