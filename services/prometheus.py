"""Prometheus, from the private Debian root."""

from __future__ import annotations

import json
import shutil
import signal
from typing import TYPE_CHECKING

from services.ports import LOOPBACK
from services.probes import answers_http
from services.server import Server, own

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from services.debian_root import DebianRoot


class Prometheus(Server):
    """Prometheus that scrapes given addresses.

    Args:
        root: the private Debian.
        folder: below ``root.services_folder``.
        port: as for `Server`.
        targets: job name to ``host:port`` addresses whose ``/metrics`` is scraped.
        rule_files: files of this machine with recording and alerting rules; copied at each start.
        alertmanagers: ``host:port`` addresses that alerts are sent to.
        interval: of scrapes and rule evaluations, in Prometheus' notation.
        retention: how long samples are kept, in Prometheus' notation.
    """

    name = "Prometheus"

    def __init__(
        self,
        root: DebianRoot,
        folder: Path,
        *,
        port: int | None = None,
        targets: Mapping[str, Sequence[str]] | None = None,
        rule_files: Sequence[Path] = (),
        alertmanagers: Sequence[str] = (),
        interval: str = "5s",
        retention: str = "7d",
    ) -> None:
        super().__init__(folder, port=port)
        self.root = root
        self.targets = dict(targets or {})
        self.rule_files = tuple(rule_files)
        self.alertmanagers = tuple(alertmanagers)
        self.interval = interval
        self.retention = retention
        self._user = root.user("prometheus")

    @property
    def url(self) -> str:
        """``http://host:port``."""
        return f"http://{LOOPBACK}:{self.port}"

    def reload(self) -> None:
        """Write the configuration anew, from the object's attributes, and have the running server read it."""
        self._prepare(self.port)
        if process := self.process:
            process.send(signal.SIGHUP)

    def _prepare(self, port: int) -> None:  # noqa: ARG002  # the port is an argument of the command
        data = self.folder / "data"
        rules = self.folder / "rules"
        for folder, mode in ((data, 0o700), (rules, 0o755)):
            folder.mkdir(exist_ok=True)
            own(folder, self._user.uid, self._user.gid, mode)
        for old in rules.iterdir():
            old.unlink()
        for number, source in enumerate(self.rule_files):
            copy = rules / f"{number}-{source.name}"
            shutil.copyfile(source, copy)
            own(copy, self._user.uid, self._user.gid, 0o600)
        configuration = {
            "global": {"scrape_interval": self.interval, "evaluation_interval": self.interval},
            "rule_files": [f"{self.root.inside(rules)}/*"],
            "scrape_configs": [
                {"job_name": job, "scrape_timeout": self.interval, "static_configs": [{"targets": list(addresses)}]}
                for job, addresses in self.targets.items()
            ],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": list(self.alertmanagers)}]}]},
        }
        # JSON is YAML.
        file = self.folder / "prometheus.yml"
        file.write_text(json.dumps(configuration, indent=1))
        own(file, self._user.uid, self._user.gid, 0o600)

    def _command(self, port: int) -> list[str]:
        return self.root.command(
            self._user,
            "/usr/bin/prometheus",
            f"--config.file={self.root.inside(self.folder / 'prometheus.yml')}",
            f"--storage.tsdb.path={self.root.inside(self.folder / 'data')}",
            f"--storage.tsdb.retention.time={self.retention}",
            f"--web.listen-address={LOOPBACK}:{port}",
            "--log.level=warn",
        )

    def _answers(self, port: int) -> bool:
        return answers_http(port, "/-/ready")
