"""Where the running parts can be reached."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoints:
    """URLs of the parts that run; None for a part that does not."""

    dsn: str | None = None  # postgresql://
    mqtt: str | None = None  # mqtt://
    prometheus: str | None = None  # http://
    alertmanager: str | None = None  # http://
    mqtt_version: str = "5"  # the highest the broker speaks: "5" or "3.1.1"

    def as_json(self) -> str:
        """One line with the parts that run, in the order that ``make services`` promises."""
        urls = {"dsn": self.dsn, "mqtt": self.mqtt, "prometheus": self.prometheus, "alertmanager": self.alertmanager}
        return json.dumps({name: url for name, url in urls.items() if url is not None}, separators=(",", ":"))
