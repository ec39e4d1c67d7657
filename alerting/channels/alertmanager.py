"""Prometheus Alertmanager, by its API v2: an alert of ours is an alert of its.

Alertmanager forgets an alert that nobody repeats (``resolve_timeout``), unless the alert says itself when it ends. So
a firing alert is sent with ``endsAt`` far ahead (``hold_days``), once, and resolved by sending it again with
``endsAt`` past: no repetition, and no doubt left by a restart of ours. An Alertmanager keeps its alerts in memory
(and gossips them within a cluster): one restarted alone has forgotten what fires, as it has for every client.

The labels are its identity. Rule severity or a vessel's name may have changed since it fired, so resolving first asks
which labels the alert stands under (it carries ``alert_id``) and resolves exactly those.

Labels: ``alertname`` (rule id), ``severity``, ``subject_kind``, ``subject`` (name), ``subject_id``, ``zone`` where
there is one, ``alert_id``, and those of the settings. Annotations: ``summary``, ``summary_vi``, ``description``.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import httpx
import orjson

from alerting.channels import http
from alerting.channels.base import PermanentFailure, foreign_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from alerting.channels.settings import AlertmanagerSettings
    from alerting.desk.outbox import QueuedNotification

_DAY = 86_400.0


class Alertmanager:
    """A ``Channel``. ``clock`` is unix time, seconds."""

    def __init__(self, settings: AlertmanagerSettings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        base = settings.url.rstrip("/")
        self._alerts = httpx.URL(f"{base}/api/v2/alerts")
        self._target = self._alerts.netloc.decode("ascii")
        self._headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._client = http.client(connections=settings.concurrency, ca_file=settings.ca_file)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def send(self, notification: QueuedNotification) -> None:
        with foreign_errors(self._target):
            deadline = asyncio.get_running_loop().time() + self._settings.timeout_seconds
            match notification.event:
                case "firing":
                    await self._post([self._alert(notification.payload, ends_at=self._hold())], deadline)
                case "escalated" | "deescalated" | "revised":
                    await self._change(notification.payload, deadline)
                case "resolved" | "retracted":
                    await self._resolve(notification.payload, deadline)
                case other:
                    raise PermanentFailure(f"Alertmanager knows no event {other!r}")

    async def _change(self, payload: Mapping[str, Any], deadline: float) -> None:
        """What it was before ends as what it is now begins: the severity is a label, and labels are who an alert is."""
        alert = self._alert(payload, ends_at=self._hold())
        async with asyncio.timeout_at(deadline):
            standing = await self._standing(payload["alert_id"])
        over = self._alert(payload, ends_at=self._now())
        former = [{**over, "labels": labels} for labels in standing if labels != alert["labels"]]
        await self._post([*former, alert], deadline)

    async def _resolve(self, payload: Mapping[str, Any], deadline: float) -> None:
        ends_at = min(_moment(payload["at"]), self._now())
        alert = self._alert(payload, ends_at=ends_at)
        async with asyncio.timeout_at(deadline):
            standing = await self._standing(payload["alert_id"])
        await self._post([{**alert, "labels": labels} for labels in standing] or [alert], deadline)

    async def _standing(self, alert_id: str) -> list[dict[str, str]]:
        """The label sets under which the alert stands now."""
        url = self._alerts.copy_with(params={"filter": f'alert_id="{alert_id}"'})
        found = await http.get_json(self._client, url, self._headers)
        return [alert["labels"] for alert in found]

    async def _post(self, alerts: list[dict[str, Any]], deadline: float) -> None:
        await http.post(
            self._client,
            self._alerts,
            content=orjson.dumps(alerts),
            headers={**self._headers, "Content-Type": "application/json", "User-Agent": "haidang"},
            now=self._clock(),
            deadline=deadline,
        )

    def _alert(self, payload: Mapping[str, Any], *, ends_at: datetime) -> dict[str, Any]:
        subject = payload["subject"]
        labels = {
            **self._settings.labels,
            "alertname": payload["rule"],
            "severity": payload["severity"],
            "subject_kind": subject["kind"],
            "subject": subject["name"],
            "subject_id": subject["id"],
            "zone": payload["zone"] or "",  # an empty label is an absent one
            "alert_id": payload["alert_id"],
        }
        alert: dict[str, Any] = {
            "labels": {name: value for name, value in labels.items() if value},
            "annotations": {
                "summary": payload["summary_en"],
                "summary_vi": payload["summary_vi"],
                "description": _description(payload),
            },
            # A resolve that comes late may carry an end before our start: Alertmanager refuses that as a whole.
            "startsAt": _rfc3339(min(_moment(payload["started_at"]), ends_at)),
            "endsAt": _rfc3339(ends_at),
        }
        if payload["link"]:
            alert["generatorURL"] = payload["link"]
        return alert

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def _hold(self) -> datetime:
        return datetime.fromtimestamp(self._clock() + self._settings.hold_days * _DAY, UTC)


def _description(payload: Mapping[str, Any]) -> str:
    said = [payload["summary_en"]]
    if payload["value"] is not None:
        said.append(f"Value: {payload['value']:g} {payload['unit'] or ''}".rstrip())
    if payload["lat"] is not None and payload["lon"] is not None:
        said.append(f"Position: {payload['lat']:.5f}, {payload['lon']:.5f}")
    said.append(f"Since: {payload['started_at']}")
    return "\n".join(said)


def _moment(iso: str) -> datetime:
    return datetime.fromisoformat(iso)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
