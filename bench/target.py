"""A webhook's other end: notes when each POST was there in full, and answers 200."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class WebhookTarget:
    """Listens on a loopback port while it is entered. ``arrived``: (instant of CLOCK_MONOTONIC, what was posted)."""

    def __init__(self) -> None:
        self._arrived: list[tuple[float, dict[str, Any]]] = []
        self._changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:  # the base class names it so
                body = self.rfile.read(int(self.headers["Content-Length"]))
                now = time.monotonic()
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                outer._note(now, json.loads(body))  # its own class

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False  # the service keeps its connections until it ends
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def _note(self, at: float, body: dict[str, Any]) -> None:
        with self._changed:
            self._arrived.append((at, body))
            self._changed.notify_all()

    def wait_for(self, count: int, seconds: float) -> list[tuple[float, dict[str, Any]]]:
        """What arrived, once it is ``count`` or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._arrived) >= count, seconds)
            return list(self._arrived)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
