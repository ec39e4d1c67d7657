"""A webhook receiver as a duty room would run one: real HTTP, checks the signature, drops what it has seen."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from alerting.channels.signature import HEADER, verify
from ingest.http import QuietServer

if TYPE_CHECKING:
    from starlette.requests import Request


@dataclass(slots=True)
class Received:
    """What arrived and was accepted."""

    payloads: list[dict[str, Any]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    repeated: int = 0
    refused: int = 0


class WebhookTarget:
    """Listens on a free loopback port while its ``async with`` block lasts."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.received = Received()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/alerts"
        app = Starlette(routes=[Route("/alerts", self._take, methods=["POST"])])
        self._server = QuietServer(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off"))
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="webhook target")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        if not verify(self._secret, request.headers.get(HEADER, ""), body, time.time()):
            self.received.refused += 1
            return Response(status_code=401)
        payload = orjson.loads(body)
        notification = payload["notification_id"]
        if notification in self.received.ids:
            self.received.repeated += 1
        else:
            self.received.ids.add(notification)
            self.received.payloads.append(payload)
        return Response(status_code=204)
