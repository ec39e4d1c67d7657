"""The three paths an operator's machinery asks: /metrics, /healthz, /readyz. On loopback unless told otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from ingest.telemetry import Telemetry


#: Connections at once: a scraper, a supervisor and a few people need no more. Beyond, the oldest that has no request
#: under way gives way, so that clients who only hold connections open keep nobody out.
MOST_CONNECTIONS: Final = 64
#: Seconds from the first byte of a request (or from connecting) to the last of its answer.
PATIENCE: Final = 10.0
#: Bytes of a request's head.
_HEAD: Final = 16 * 1024


class HttpUnavailable(Exception):  # noqa: N818  # named for what is known
    """The address is taken or not ours."""


class HttpServer:
    """Serves until cancelled."""

    def __init__(
        self,
        telemetry: Telemetry,
        readiness: Callable[[], dict[str, Any]],
        *,
        host: str,
        port: int,
        patience: float = PATIENCE,
    ) -> None:
        """Bind the address, so that a taken one is known before anything starts.

        Args:
            telemetry: whose registry is shown.
            readiness: JSON-ready detail with a boolean "ready".
            host: address to listen on.
            port: 0 picks a free one; ``self.port`` says which.
            patience: seconds that one exchange may take.

        Raises:
            HttpUnavailable: the address cannot be listened on.
        """
        self._telemetry = telemetry
        self._readiness = readiness
        self._patience = patience
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except OSError as exc:
            self._socket.close()
            raise HttpUnavailable(f"http: cannot listen on {host}:{port} ({exc.strerror})") from exc
        self.host, self.port = host, self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def close(self) -> None:
        """Let the address go, if it never came to serving. Safe to repeat."""
        self._socket.close()

    async def run(self) -> None:
        app = Starlette(
            routes=[
                Route("/metrics", self._metrics),
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
            ]
        )
        config = uvicorn.Config(
            app,
            http=_bounded(self._patience),
            ws="none",
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=_HEAD,
        )
        server = QuietServer(config)
        try:
            await server.serve(sockets=[self._socket])
        except asyncio.CancelledError:
            server.should_exit = True
            await server.shutdown(sockets=[self._socket])
            raise

    async def _metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self._telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    async def _healthz(self, _request: Request) -> Response:
        """The event loop runs: that we answer is the answer."""
        return JSONResponse({"status": "ok"})

    async def _readyz(self, _request: Request) -> Response:
        detail = self._readiness()
        return JSONResponse(detail, status_code=200 if detail["ready"] else 503)


def _bounded(patience: float) -> type[H11Protocol]:
    """Uvicorn's protocol with a bound on connections and on the time of an exchange, neither of which it has."""
    waiting: dict[H11Protocol, None] = {}  # the oldest first

    class Bounded(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the parent's
            super().connection_made(transport)
            waiting[self] = None
            if len(waiting) > MOST_CONNECTIONS:
                oldest = next((p for p in waiting if getattr(p.cycle, "response_complete", True)), self)
                del waiting[oldest]
                oldest.transport.abort()
            self._expect()

        def connection_lost(self, exc: Exception | None) -> None:
            waiting.pop(self, None)
            self._expect_nothing()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._expect()
            super().data_received(data)

        def on_response_complete(self) -> None:
            self._expect_nothing()
            super().on_response_complete()

        def _expect(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(patience, self.transport.abort)

        def _expect_nothing(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Bounded


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: SIGTERM is the service's to handle."""

    def capture_signals(self) -> Any:
        return contextlib.nullcontext()
