"""A publisher that is not the bottleneck: QoS 1 packets encoded beforehand, written in chunks to a plain socket.

It speaks MQTT 3.1.1 (OASIS standard, 2014), whose PUBACK is four bytes whatever happens: counting what the broker has
acknowledged is counting bytes. Run as a process (``python -m bench.publisher``): a plan comes as a line of JSON on
standard input, "ready" goes out, an empty line starts it, and what was done comes out as a line of JSON.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from bench import inputs
from bench.processes import as_json, running

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK: Final = 200  # packets in one write
_SILENCE_S: Final = 30.0


@dataclass(slots=True, frozen=True)
class Plan:
    """What to publish: readings of ``devices`` in turn (`inputs.publishes`), flat out or at a rate."""

    port: int
    gateway: str
    count: int
    devices: int
    first_ms: int
    step_ms: int = 1000
    metrics: tuple[str, ...] = ("pm2_5",)
    rate: float | None = None  # messages per second; None: as fast as the window allows
    window: int = 1000  # without their PUBACK
    alarm_every: int = 0  # every so many messages, one that raises an alert (`inputs.alarm`)

    @property
    def last(self) -> tuple[str, int]:
        """Device and time (ms) of the last reading."""
        number = self.count - 1
        return inputs.device_name(number % self.devices), self.first_ms + number // self.devices * self.step_ms

    def packets(self) -> Iterator[bytes]:
        """The PUBLISH packets, QoS 1."""
        for number, (topic, payload) in enumerate(self.messages()):
            name = topic.encode()
            body = len(name).to_bytes(2) + name + (number % 65_535 + 1).to_bytes(2) + payload
            yield b"\x32" + _length(len(body)) + body

    def messages(self) -> Iterator[tuple[str, bytes]]:
        """(topic, payload), alarms among them."""
        plain = inputs.publishes(
            self.count, self.devices, self.gateway, first_ms=self.first_ms, step_ms=self.step_ms, metrics=self.metrics
        )
        for number, message in enumerate(plain):
            yield message
            if self.alarm_every and number % self.alarm_every == self.alarm_every - 1:
                yield inputs.alarm(number // self.alarm_every, self.gateway, self.first_ms)


@dataclass(slots=True, frozen=True)
class Published:
    """What was done. Instants are of CLOCK_MONOTONIC, which all processes of a machine share; seconds."""

    began: float
    ended: float  # the last PUBACK came
    sent_at: tuple[float, ...] = ()  # of each message, where a rate was set

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Publisher:
    """The process, connected and with its packets encoded."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def go(self) -> None:
        """Start it."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def result(self) -> Published:
        """Wait for its end."""
        assert self._process.stdout is not None
        found = as_json(self._process.stdout.readline())
        return Published(found["began"], found["ended"], tuple(found["sent_at"]))


@contextmanager
def publisher(plan: Plan, folder: Path) -> Iterator[Publisher]:
    """The process, ready to go.

    Raises:
        processes.Failed: the broker refused it.
    """
    with running([sys.executable, "-m", "bench.publisher", json.dumps(asdict(plan))], folder) as process:
        yield Publisher(process)


def _length(n: int) -> bytes:
    """A remaining length (MQTT 3.1.1, 2.2.3)."""
    out = bytearray()
    while True:
        n, low = divmod(n, 128)
        out.append(low | 128 if n else low)
        if not n:
            return bytes(out)


def _connect(port: int, client_id: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=_SILENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    name = client_id.encode()
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2) + name  # clean session, no keep-alive
    connection.sendall(b"\x10" + _length(len(body)) + body)
    answer = connection.recv(4)
    if answer != b"\x20\x02\x00\x00":
        raise SystemExit(f"the broker refused the publisher: {answer.hex()}")
    return connection


def _flat_out(connection: socket.socket, packets: list[bytes], window: int) -> None:
    chunk = min(_CHUNK, window)
    sent = received = 0
    while received < 4 * len(packets):
        while sent < len(packets) and sent - received // 4 <= window - chunk:
            connection.sendall(b"".join(packets[sent : sent + chunk]))
            sent = min(sent + chunk, len(packets))
        got = connection.recv(65_536)
        if not got:
            raise SystemExit("the broker closed the connection")
        received += len(got)


def _paced(connection: socket.socket, packets: list[bytes], rate: float) -> list[float]:
    """Each at its own instant, whatever became of the ones before."""
    sent_at = []
    received = 0
    began = time.monotonic()
    for number, packet in enumerate(packets):
        due = began + number / rate
        while (left := due - time.monotonic()) > 0:
            if select.select([connection], [], [], left)[0]:
                received += len(connection.recv(65_536))
        sent_at.append(time.monotonic())
        connection.sendall(packet)
    while received < 4 * len(packets):
        got = connection.recv(65_536)
        if not got:
            raise SystemExit("the broker closed the connection")
        received += len(got)
    return sent_at


def main() -> None:
    given = json.loads(sys.argv[1])
    plan = Plan(**{**given, "metrics": tuple(given["metrics"])})
    packets = list(plan.packets())
    with _connect(plan.port, f"publisher-{plan.gateway}") as connection:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        began = time.monotonic()
        sent_at = [] if plan.rate is None else _paced(connection, packets, plan.rate)
        if plan.rate is None:
            _flat_out(connection, packets, plan.window)
        said = {"began": began, "ended": time.monotonic(), "sent_at": sent_at}
        connection.sendall(b"\xe0\x00")  # DISCONNECT
    sys.stdout.write(f"{json.dumps(said)}\n")


if __name__ == "__main__":
    main()
