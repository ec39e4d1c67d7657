"""What an operator may say of a channel: one model for each type, told apart by ``type``; unknown keys are refused."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network  # pydantic reads the annotations
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from alerting.channels.mailbox import mailbox
from alerting.channels.options import ChannelOptions
from alerting.channels.services import service
from alerting.channels.text import TextOptions
from alerting.model import Event

#: Topic levels may hold these; each is the field of that name in the payload.
TOPIC_FIELDS: Final = frozenset({"rule", "alert_id", "severity", "state", "event", "subject_kind", "subject_id"})


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be http://host[:port]/path or https://...")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user name or password: put credentials in headers")
    _ = parts.port  # raises ValueError where it is no port
    return value


def _mqtt_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
        raise ValueError("must be mqtt://host[:port] or mqtts://host[:port]")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user name or password: they have their own settings")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("must not carry a path: the topic has its own setting")
    _ = parts.port
    return value


def _topic(value: str) -> str:
    fields = set(re.findall(r"\{(.*?)\}", value))
    if unknown := fields - TOPIC_FIELDS:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}: a topic may use {', '.join(sorted(TOPIC_FIELDS))}")
    if any(char in re.sub(r"\{.*?\}", "", value) for char in "+#{}\0") or not value or value.startswith("$"):
        raise ValueError("must be a topic to publish to: no +, #, single braces or leading $")
    return value


def _header_names(value: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, secret in value.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f"{name!r} is no header name")
        if not re.fullmatch(r"[\t\x20-\x7e]*", secret.get_secret_value()):
            raise ValueError(f"the value of {name} must be printable ASCII on one line")
        if name.lower() in {"host", "content-length", "transfer-encoding", "content-type", "connection"}:
            raise ValueError(f"{name} is not free to set")
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]
MqttUrl = Annotated[str, AfterValidator(_mqtt_url)]
Mailbox = Annotated[str, AfterValidator(mailbox)]
Topic = Annotated[str, AfterValidator(_topic)]
Headers = Annotated[dict[str, SecretStr], AfterValidator(_header_names)]


class WebhookSettings(ChannelOptions):
    """POST of the payload as JSON."""

    type: Literal["webhook"] = "webhook"
    url: HttpUrl = Field(description="http:// or https://, without credentials")
    secret: SecretStr | None = Field(
        default=None, min_length=16, description="Shared secret of the signature; unset: unsigned"
    )
    previous_secret: SecretStr | None = Field(
        default=None, min_length=16, description="Signs as well, while receivers change over"
    )
    headers: Headers = Field(default_factory=dict, description="Further headers, such as Authorization")
    allow_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="Networks that may be connected to although they are not public"
    )
    ca_file: Path | None = Field(default=None, description="Certificates to trust instead of the system's")


class MqttSettings(ChannelOptions):
    """Publish of the payload as JSON, QoS 1."""

    type: Literal["mqtt"] = "mqtt"
    url: MqttUrl = Field(description="mqtt://host[:1883] or mqtts://host[:8883]")
    topic: Topic = Field(
        default="haidang/v1/alerts/{rule}/{alert_id}",
        description="May use " + ", ".join(f"{{{name}}}" for name in sorted(TOPIC_FIELDS)),
    )
    retain: bool = Field(default=False, description="The broker keeps the last message of each topic")
    client_id: str = Field(
        default="haidang-alerts", min_length=1, max_length=65_535, description="Must be nobody else's"
    )
    protocol: Literal["5", "3.1.1"] = Field(
        default="5", description="3.1.1 brokers cannot say that an ACL refused a publish"
    )
    username: str | None = Field(default=None, description="By which the broker's ACL knows us")
    password: SecretStr | None = Field(default=None, description="Needs username")
    ca_file: Path | None = Field(default=None, description="Certificates to trust instead of the system's (mqtts)")
    cert_file: Path | None = Field(default=None, description="Our certificate (mqtts)")
    key_file: Path | None = Field(default=None, description="Its key")

    @model_validator(mode="after")
    def _pairs(self) -> MqttSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if self.password is not None and self.username is None:
            raise ValueError("password needs username")
        if not self.url.startswith("mqtts:") and (self.ca_file or self.cert_file):
            raise ValueError("ca_file and cert_file need an mqtts:// url")
        return self


#: What can be said to an Alertmanager, which knows alerts that fire and alerts that do not.
ALERTMANAGER_EVENTS: Final = frozenset(
    {Event.FIRING, Event.ESCALATED, Event.DEESCALATED, Event.REVISED, Event.RETRACTED, Event.RESOLVED}
)


class AlertmanagerSettings(ChannelOptions):
    """Alerts as Prometheus Alertmanager's own."""

    CARRIES: ClassVar[frozenset[Event]] = ALERTMANAGER_EVENTS

    type: Literal["alertmanager"] = "alertmanager"
    events: frozenset[Event] = Field(
        default=ALERTMANAGER_EVENTS, description=", ".join(sorted(ALERTMANAGER_EVENTS)) + "; it knows no others"
    )
    url: HttpUrl = Field(description="Its base address; /api/v2/alerts is added")
    hold_days: float = Field(
        default=30.0, gt=0, le=3650, description="A firing alert ends by itself after this, should we never resolve it"
    )
    labels: dict[str, str] = Field(default_factory=dict, description="Added to every alert, such as the site")
    headers: Headers = Field(default_factory=dict, description="Further headers, such as Authorization")
    ca_file: Path | None = Field(default=None, description="Certificates to trust instead of the system's")

    @model_validator(mode="after")
    def _fits(self) -> AlertmanagerSettings:
        if strange := self.events - ALERTMANAGER_EVENTS:
            raise ValueError(f"Alertmanager knows no {', '.join(sorted(strange))} alerts")
        if not {Event.RESOLVED, Event.RETRACTED} <= self.events:
            raise ValueError("without resolved and retracted, alerts would stand for hold_days")
        for name in self.labels:
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
                raise ValueError(f"{name!r} is no label name")
        return self


class SmtpSettings(TextOptions):
    """Mail, one for each notification."""

    type: Literal["smtp"] = "smtp"
    host: str = Field(pattern=r"^[A-Za-z0-9._:-]+$", description="The mail server that takes our mail")
    port: int | None = Field(default=None, ge=1, le=65_535, description="Unset: 587, with security tls 465, plain 25")
    security: Literal["starttls", "tls", "plain"] = Field(
        default="starttls", description="tls: from the first byte. plain: unencrypted, and without a login"
    )
    ca_file: Path | None = Field(default=None, description="Certificates to trust instead of the system's")
    username: str | None = Field(default=None, min_length=1, description="Of the login; unset: none")
    password: SecretStr | None = Field(default=None, description="Goes with username")
    from_: Mailbox = Field(
        alias="from", description="Sender, as duty@example.org or Name <duty@example.org>; its domain is in Message-IDs"
    )
    to: tuple[Mailbox, ...] = Field(min_length=1, max_length=100, description="Recipients")
    cc: tuple[Mailbox, ...] = Field(default=(), max_length=100, description="Further recipients")
    reply_to: Mailbox | None = Field(default=None, description="Where answers go; unset: to the sender")
    html: bool = Field(default=False, description="Add the text as HTML, with the link to be clicked")

    @model_validator(mode="after")
    def _login(self) -> SmtpSettings:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together")
        if self.security == "plain" and (self.username or self.ca_file):
            raise ValueError("security plain: neither a password nor ca_file goes with it")
        return self


class AppriseSettings(TextOptions):
    """Chat services and SMS gateways, by the library Apprise (``haidang[chat]``)."""

    type: Literal["apprise"] = "apprise"
    urls: tuple[SecretStr, ...] = Field(
        min_length=1, max_length=20, description="Where to, in Apprise's own form, such as tgram://TOKEN/CHAT; secret"
    )

    @field_validator("urls")
    @classmethod
    def _known(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for number, url in enumerate(value, start=1):
            service(url.get_secret_value(), f"url {number}")
        return value


class LogSettings(ChannelOptions):
    """One line in the program's own log."""

    type: Literal["log"] = "log"


ChannelSettings = Annotated[
    WebhookSettings | MqttSettings | AlertmanagerSettings | SmtpSettings | AppriseSettings | LogSettings,
    Field(discriminator="type"),
]
