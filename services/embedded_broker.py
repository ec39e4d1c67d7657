"""An MQTT 3.1.1 broker in Python (amqtt) in a process of its own, where there is no private Debian root."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from services.errors import ServicesUnavailable
from services.ports import LOOPBACK
from services.probes import answers_mqtt
from services.server import Server


class EmbeddedBroker(Server):
    """amqtt. It speaks MQTT 3.1.1 only and keeps sessions in memory: what waits in it dies with it.

    Raises:
        ServicesUnavailable: amqtt is not installed.
    """

    name = "amqtt"

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        super().__init__(folder, port=port)
        if importlib.util.find_spec("amqtt") is None:
            raise ServicesUnavailable("the optional part is not installed (pip install 'haidang[embedded]')")

    @property
    def url(self) -> str:
        """``mqtt://host:port``."""
        return f"mqtt://{LOOPBACK}:{self.port}"

    def _prepare(self, port: int) -> None:
        configuration = {
            "listeners": {"default": {"type": "tcp", "bind": f"{LOOPBACK}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
        (self.folder / "amqtt.json").write_text(json.dumps(configuration))

    def _command(self, port: int) -> list[str]:  # noqa: ARG002  # the port is in amqtt.json
        runner = Path(__file__).with_name("amqtt_runner.py")
        return [sys.executable, "-I", str(runner), str(self.folder / "amqtt.json")]

    def _answers(self, port: int) -> bool:
        return answers_mqtt(port, level=4)
