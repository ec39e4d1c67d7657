"""The three paths an operator's machinery asks: /metrics, /healthz, /readyz. On loopback unless told otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from ingest.telemetry import Telemetry


class HttpUnavailable(Exception):  # noqa: N818  # named for what is known
    """The address is taken or not ours."""


class HttpServer:
    """Serves until cancelled."""

    def __init__(self, telemetry: Telemetry, readiness: Callable[[], dict[str, Any]], *, host: str, port: int) -> None:
        """Bind the address, so that a taken one is known before anything starts.

        Args:
            telemetry: whose registry is shown.
            readiness: JSON-ready detail with a boolean "ready".
            host: address to listen on.
            port: 0 picks a free one; ``self.port`` says which.

        Raises:
            HttpUnavailable: the address cannot be listened on.
        """
        self._telemetry = telemetry
        self._readiness = readiness
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

    async def run(self) -> None:
        app = Starlette(
            routes=[
                Route("/metrics", self._metrics),
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
            ]
        )
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
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


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: SIGTERM is the service's to handle."""

    def capture_signals(self) -> Any:
        return contextlib.nullcontext()
