"""Does a server answer? Each question is asked once and never raises for 'no'."""

from __future__ import annotations

import http.client
import socket

from services.ports import LOOPBACK

PATIENCE = 2.0  # seconds for one question


def answers_http(port: int, path: str) -> bool:
    """Whether ``GET path`` is answered with 200."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def answers_mqtt(port: int, level: int) -> bool:
    """Whether a CONNECT is answered with a CONNACK (MQTT 3.1.1 and 5, section 3.2), be it a refusal.

    Args:
        port: on the loopback address.
        level: protocol level, 4 for MQTT 3.1.1, 5 for MQTT 5.
    """
    variable = b"\x00\x04MQTT" + bytes([level]) + b"\x02\x00\x0a" + (b"\x00" if level == 5 else b"")
    payload = b"\x00\x0ehaidang-probe0"
    connect = b"\x10" + bytes([len(variable) + len(payload)]) + variable + payload
    try:
        with socket.create_connection((LOOPBACK, port), timeout=PATIENCE) as stream:
            stream.sendall(connect)
            answer = stream.recv(1)
            if answer == b"\x20":
                stream.sendall(b"\xe0\x00")  # DISCONNECT
            return answer == b"\x20"
    except OSError:
        return False
