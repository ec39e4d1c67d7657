"""Prometheus' Alertmanager, from the private Debian root."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from services.ports import LOOPBACK
from services.probes import answers_http
from services.server import Server, own

if TYPE_CHECKING:
    from pathlib import Path

    from services.debian_root import DebianRoot


class Alertmanager(Server):
    """Alertmanager, alone (no cluster), with at most one receiver.

    Args:
        root: the private Debian.
        folder: below ``root.services_folder``.
        port: as for `Server`.
        webhook: URL that notifications are posted to; without one they are only shown.
        group_wait: before the first notification of a group, in Prometheus' notation.
        group_interval: between notifications of a changed group.
        repeat_interval: between notifications of an unchanged group.
        retention: how long silences and the notification log are kept.
    """

    name = "Alertmanager"

    def __init__(
        self,
        root: DebianRoot,
        folder: Path,
        *,
        port: int | None = None,
        webhook: str | None = None,
        group_wait: str = "1s",
        group_interval: str = "5s",
        repeat_interval: str = "4h",
        retention: str = "120h",
    ) -> None:
        super().__init__(folder, port=port)
        self.root = root
        self.webhook = webhook
        self.group_wait = group_wait
        self.group_interval = group_interval
        self.repeat_interval = repeat_interval
        self.retention = retention
        self._user = root.user("prometheus")  # Debian runs both as the same user

    @property
    def url(self) -> str:
        """``http://host:port``."""
        return f"http://{LOOPBACK}:{self.port}"

    def _prepare(self, port: int) -> None:  # noqa: ARG002  # the port is an argument of the command
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        own(data, self._user.uid, self._user.gid, 0o700)
        receiver: dict[str, object] = {"name": "default"}
        if self.webhook is not None:
            receiver["webhook_configs"] = [{"url": self.webhook, "send_resolved": True}]
        configuration = {
            "route": {
                "receiver": "default",
                "group_by": ["..."],
                "group_wait": self.group_wait,
                "group_interval": self.group_interval,
                "repeat_interval": self.repeat_interval,
            },
            "receivers": [receiver],
        }
        # JSON is YAML.
        file = self.folder / "alertmanager.yml"
        file.write_text(json.dumps(configuration, indent=1))
        own(file, self._user.uid, self._user.gid, 0o600)

    def _command(self, port: int) -> list[str]:
        return self.root.command(
            self._user,
            "/usr/bin/prometheus-alertmanager",
            f"--config.file={self.root.inside(self.folder / 'alertmanager.yml')}",
            f"--storage.path={self.root.inside(self.folder / 'data')}",
            f"--data.retention={self.retention}",
            f"--web.listen-address={LOOPBACK}:{port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        )

    def _answers(self, port: int) -> bool:
        return answers_http(port, "/-/ready")
