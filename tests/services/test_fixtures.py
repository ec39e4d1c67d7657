"""What stands between tests and servers does what it says, and nothing stays behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from services import folders
from services.embedded_broker import EmbeddedBroker
from tests.servers.http_target import Answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.mosquitto import Mosquitto
    from services.postgres import PostgresServer
    from tests.servers.http_target import HttpTarget
    from tests.servers.tcp_proxy import TcpProxy

    MakeProxy = Callable[[int], TcpProxy]


def test_the_target_records_and_answers_as_told(http_target: HttpTarget) -> None:
    http_target.answer(Answer(503, b"later", {"Retry-After": "7"}), Answer(hang_up=True))
    with httpx.Client(base_url=http_target.url) as client:
        first = client.post("/hook?a=1", content=b"body", headers={"X-Id": "9"})
        assert (first.status_code, first.content, first.headers["Retry-After"]) == (503, b"later", "7")
        with pytest.raises(httpx.RemoteProtocolError):
            client.put("/hook")
        assert client.get("/").status_code == 200
    first_request, *others = http_target.wait_for(3)
    assert (first_request.method, first_request.path, first_request.body) == ("POST", "/hook?a=1", b"body")
    assert first_request.headers["x-id"] == "9"
    assert [request.method for request in others] == ["PUT", "GET"]
    with pytest.raises(AssertionError, match="3 of 4 requests"):
        http_target.wait_for(4, 0.01)


def test_a_slow_answer_ends_the_client_s_patience_and_not_the_target(http_target: HttpTarget) -> None:
    http_target.answer(Answer(delay=60))
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(http_target.url, timeout=0.2)
    assert httpx.get(http_target.url).status_code == 200


def ask(connection: psycopg.Connection) -> None:
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_proxy_passes_cuts_and_passes_again(plain_postgres: PostgresServer, tcp_proxy: MakeProxy) -> None:
    proxy = tcp_proxy(plain_postgres.port)
    dsn = plain_postgres.dsn.replace(f":{plain_postgres.port}/", f":{proxy.port}/")
    with psycopg.connect(dsn) as connection:
        ask(connection)
        assert proxy.connections == 1
        proxy.cut()
        assert proxy.connections == 0
        with pytest.raises(psycopg.OperationalError):
            ask(connection)
    for _ in range(3):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(dsn)
    proxy.resume()
    with psycopg.connect(dsn) as connection:
        ask(connection)
    assert proxy.accepted == 5


def test_a_stalled_proxy_holds_bytes_back_and_loses_none(http_target: HttpTarget, tcp_proxy: MakeProxy) -> None:
    proxy = tcp_proxy(http_target.port)
    request = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as before:
        before.sendall(request % 1)
        http_target.wait_for(1)
        assert before.recv(12) == b"HTTP/1.1 200"
        proxy.stall()
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as during:
            before.sendall(request % 2)
            during.sendall(request % 3)
            with pytest.raises(AssertionError):
                http_target.wait_for(2, 0.2)
            proxy.resume()
            assert sorted(request.path for request in http_target.wait_for(3)) == ["/1", "/2", "/3"]
            assert during.recv(12) == b"HTTP/1.1 200"


def test_a_proxy_carries_the_end_of_one_direction_and_of_both(broker: Mosquitto, tcp_proxy: MakeProxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = tcp_proxy(server.getsockname()[1])
        client = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        accepted, _ = server.accept()
        accepted.settimeout(10)
        client.sendall(b"x" * 1_000_000)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := accepted.recv(65536):
            received += chunk
        assert len(received) == 1_000_000
        accepted.sendall(b"got it")
        accepted.close()
        assert client.recv(100) == b"got it"
        assert client.recv(100) == b""
        client.close()
    with (
        pytest.raises(ConnectionResetError),  # nobody listens there any more
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as refused,
    ):
        refused.recv(1)


def test_what_a_killed_session_left_behind_is_swept(open_folder: Path) -> None:
    base = open_folder / "base"
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        pass
    left = base / f"tests-{gone.pid}-1"
    server = EmbeddedBroker(left / "broker").start()
    mine = folders.own(base, "tests")
    for name in ("other", "tests-of-somebody"):
        (base / name).mkdir()
    assert folders.sweep(base, "tests") == [left]
    assert not server.is_running
    assert sorted(path.name for path in base.iterdir()) == sorted(["other", "tests-of-somebody", mine.name])
    assert str(os.getpid()) in mine.name
