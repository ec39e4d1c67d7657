"""A local HTTP server that records what it is sent and answers as a test says."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from services.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str  # with the query
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds before anything is sent; ends early when the target closes
    hang_up: bool = False  # close the connection without an answer


class HttpTarget:
    """Answers queued by `answer` come first, each once; after them `default` for ever."""

    def __init__(self) -> None:
        self.default = Answer()
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._answers: list[Answer] = []
        self._closing = threading.Event()
        self._server = _Server((LOOPBACK, 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def requests(self) -> list[Request]:
        """What came so far, in order of arrival."""
        with self._changed:
            return list(self._requests)

    def answer(self, *answers: Answer) -> None:
        """Queue answers for the next requests."""
        with self._changed:
            self._answers += answers

    def wait_for(self, count: int, seconds: float = 10.0) -> list[Request]:
        """Wait until ``count`` requests came; all that came. From async code: ``await asyncio.to_thread(...)``."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, seconds):
                raise AssertionError(f"{len(self._requests)} of {count} requests came within {seconds:g} s")
            return list(self._requests)

    def take(self, request: Request) -> Answer:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
            answer = self._answers.pop(0) if self._answers else self.default
        self._closing.wait(answer.delay)
        return answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client may keep its connection open longer than the test runs

    def __init__(self, address: tuple[str, int], target: HttpTarget) -> None:
        super().__init__(address, _Handler)
        self.target = target

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves before the answer is no error of the target."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # whoever sent it is gone: nothing that could be told of came
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.target.take(Request(self.command, self.path, headers, body))
        if answer.hang_up:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
        """Say nothing: what matters is recorded."""
