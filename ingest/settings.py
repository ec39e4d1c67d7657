"""The settings: one TOML file, overridable by ``HAIDANG__SECTION__KEY``, secrets also by ``..._FILE``.

Unknown keys are refused, in the file and in the environment, with the place and the reason in one line.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from alerting.channels.settings import ChannelSettings
from decoders.bounds import Bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alerting.desk.notify import ChannelSpec

ENV_PREFIX = "HAIDANG__"

#: Our own topics, and not ``haidang/v1/#``: the alerts we publish are under it too.
TOPICS = ("haidang/v1/+/+/readings", "haidang/v1/+/+/position", "haidang/v1/+/nmea")

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=366 * 86_400)]


class ConfigError(Exception):
    """The configuration is refused; ``str()`` is one line per fault: place, key, reason."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Database(_Section):
    dsn: SecretStr = SecretStr("")
    """PostgreSQL connection string: postgresql://user:password@host:port/name."""
    connect_timeout: Seconds = 10.0
    """Seconds to wait for a connection."""
    statement_timeout: Seconds = 60.0
    """Seconds that one statement may take before the database counts as away and what it was for is tried again."""


class TlsSettings(_Section):
    ca: Path | None = None
    """PEM file of the authority that signed the broker's certificate; the system's own when absent."""
    certificate: Path | None = None
    """PEM file of our certificate, for mutual TLS."""
    key: Path | None = None
    """PEM file of its private key."""


class MqttSettings(_Section):
    type: Literal["mqtt"]
    """A broker to subscribe to."""
    host: str
    """Of the broker."""
    port: Port = 1883
    """Of the broker: 1883, with TLS mostly 8883."""
    username: str | None = None
    """By which the ACL of the broker knows us."""
    password: SecretStr | None = None
    """Of that user."""
    client_id: str = Field(default="haidang", min_length=1, max_length=128)
    """Fixed, so that the broker keeps our session; two instances need two."""
    topics: tuple[str, ...] = TOPICS
    """Topic filters to subscribe to, at QoS 1."""
    protocol: Literal["5", "3.1.1"] = "5"
    """MQTT version."""
    client: Literal["native", "aiomqtt"] = "native"
    """native: our own, several times as fast, and bounded whatever a broker sends; aiomqtt: the library."""
    session_expiry: Annotated[int, Field(ge=0, le=0xFFFFFFFE)] = 7 * 86_400
    """Seconds the broker keeps our session and its queue while we are away (MQTT 5)."""
    receive_maximum: Annotated[int, Field(ge=1, le=65_535)] = 10_000
    """Messages we hold before they are committed. A broker of MQTT 5 is told; one that sends more is not read from."""
    receive_bytes: Annotated[int, Field(ge=65_536)] = 64 * 2**20
    """Bytes of those messages' payloads; beyond, the broker is not read from."""
    keepalive: Annotated[int, Field(ge=5, le=3600)] = 30
    """Seconds."""
    tls: TlsSettings | None = None
    """TLS with these files; an empty table for TLS with the certificates of the system. Without it: plain."""


class NmeaTcpSettings(_Section):
    type: Literal["nmea_tcp"]
    """NMEA 0183 sentences over TCP."""
    host: str
    """Of the receiver; mode server: the address to listen on."""
    port: Port
    """Of the receiver; mode server: the port to listen on."""
    mode: Literal["client", "server"] = "client"
    """client: connect to a receiver; server: listen for receivers."""
    idle: Seconds = 600.0
    """Seconds of silence after which a connection is taken for dead."""
    trusted_time: bool = True
    """Whether TAG block times of this source are believed."""


class NmeaUdpSettings(_Section):
    type: Literal["nmea_udp"]
    """NMEA 0183 sentences in UDP datagrams."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: Port
    """The port to listen on."""
    trusted_time: bool = True
    """Whether TAG block times of this source are believed."""


SourceSettings = Annotated[MqttSettings | NmeaTcpSettings | NmeaUdpSettings, Field(discriminator="type")]


class Rules(_Section):
    packs: tuple[str, ...] = ()
    """Rule packs that ship with Hải Đăng, by name: "hue"."""
    files: tuple[Path, ...] = ()
    """TOML files of rules of your own."""
    reload_seconds: Seconds = 5.0
    """Seconds between two looks at whether rule and zone files, or zones of the database, have changed; SIGHUP: now."""
    review_after_seconds: Seconds = 60.0
    """Seconds without more late data after which alerts of their time are judged again; twice that while more comes."""


class Http(_Section):
    host: str = "127.0.0.1"
    """Where /metrics, /healthz and /readyz listen: loopback unless you say otherwise."""
    port: Port = 9464
    """0 picks a free one."""


class Limits(_Section):
    inbox_messages: Annotated[int, Field(ge=1)] = 50_000
    """Messages waiting for the pipeline before sources stop reading."""
    inbox_bytes: Annotated[int, Field(ge=65_536)] = 64 * 2**20
    """Bytes waiting for the pipeline before sources stop reading."""
    batch_messages: Annotated[int, Field(ge=1)] = 20_000
    """Most messages in one transaction."""
    payload_bytes: Annotated[int, Field(ge=1024)] = 256 * 1024
    """Largest MQTT payload taken; a larger one is quarantined (of one far larger, only the beginning is ever held)."""
    json_depth: Annotated[int, Field(ge=3, le=500)] = 16
    """Arrays and objects within each other; ours need three."""
    text_chars: Annotated[int, Field(ge=256)] = 4096
    """Longest text within a JSON payload."""
    entries: Annotated[int, Field(ge=1)] = 10_000
    """Most entries in one JSON payload."""
    readings: Annotated[int, Field(ge=1)] = 256
    """Most readings in one entry."""
    gateways: Annotated[int, Field(ge=1)] = 2_000
    """Distinct gateways taken in as receivers of AIS. These counts span restarts: what is known counts, and stays."""
    devices: Annotated[int, Field(ge=1)] = 50_000
    """Distinct device names taken in, in all: bounds memory and the table of devices."""
    devices_per_gateway: Annotated[int, Field(ge=1)] = 2_000
    """So that one gateway that makes up names leaves room for all others."""
    metrics: Annotated[int, Field(ge=1)] = 1_000
    """Distinct metric names taken in, those of the catalogue included."""
    metrics_per_device: Annotated[int, Field(ge=1)] = 256
    """Distinct metrics of one device."""
    series: Annotated[int, Field(ge=1)] = 1_000_000
    """Distinct pairs of device and metric, in all. The rules remember each one: about 100 bytes."""
    transponders: Annotated[int, Field(ge=1_000)] = 300_000
    """Transponders remembered between their fixes, at some 130 bytes each, and up to 5 kB where all detectors of
    vessels are in use. Where more are heard, those heard only once are forgotten first. As many vessels as send AIS at
    any time in the whole world are about 200,000."""
    future_seconds: Seconds = 600.0
    """How far ahead of the time of receipt an event time may be before it is quarantined."""

    def bounds(self) -> Bounds:
        """What of it the decoders heed."""
        return Bounds(**{name: getattr(self, name) for name in Bounds.__slots__})


class Spool(_Section):
    path: Path | None = None
    """A file on a local disk for what arrives while the database is away. None: it is held, not acked."""
    max_bytes: Annotated[int, Field(ge=2**20)] = 2**30
    """Bytes it may hold; beyond that, sources are held back."""
    after_seconds: Seconds = 5.0
    """How long the database may be away before the spool is used."""


class Retention(_Section):
    positions_days: Annotated[int, Field(ge=1)] | None = 1128
    """Three years and a month: VMS data are to be kept for at least 36 months. None keeps all."""
    readings_days: Annotated[int, Field(ge=1)] | None = 1827
    """Five years. None keeps all."""
    quarantine_days: Annotated[int, Field(ge=1)] | None = 90
    """How long refused messages are kept. None keeps all."""
    quarantine_bytes: Annotated[int, Field(ge=2**20)] | None = 10 * 2**30
    """Most that refused messages take: beyond the oldest of the source and reason that hold most go. None: no bound."""
    every_seconds: Seconds = 6 * 3600.0
    """How often old rows are looked for."""


def _page(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError("must be http://host/... or https://...")
    if "{id}" not in value or set(value.replace("{id}", "")) & set("{}"):
        raise ValueError("must hold {id}, where the alert's id goes, and no other braces")
    return value


class Alerts(_Section):
    link: Annotated[str, AfterValidator(_page)] | None = None
    """Address of the page that shows an alert, {id} standing for its id; notifications carry it. None: they do not."""
    seal_seconds: Seconds = 60.0
    """How often what was written about alerts is sealed; the log has a line of each seal."""
    desk_seconds: Seconds = 1.0
    """How often it is looked whether a deadline has passed, a silence has ended, or what muted an alert is over."""
    close_after_days: Annotated[float, Field(gt=0, le=3650)] | None = None
    """How long an alert has been over when it is closed by itself, without a verdict. None: people close them."""


class Service(_Section):
    grace_seconds: Seconds = 20.0
    """How long a stop may take to commit and ack what was received."""
    log_format: Literal["console", "json"] = "console"
    """console: lines for people; json: an object a line."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged."""


_TAGS = frozenset({"mqtt", "nmea_tcp", "nmea_udp", "webhook", "alertmanager", "smtp", "apprise", "log"})
_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,62}$")


class Settings(BaseSettings):
    """All of it."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__", use_attribute_docstrings=True
    )

    database: Database = Database()
    sources: dict[str, SourceSettings] = Field(default_factory=dict)
    channels: dict[str, ChannelSettings] = Field(default_factory=dict)
    rules: Rules = Rules()
    http: Http = Http()
    limits: Limits = Limits()
    spool: Spool = Spool()
    retention: Retention = Retention()
    alerts: Alerts = Alerts()
    service: Service = Service()

    @property
    def specs(self) -> list[ChannelSpec]:
        """Which channels there are, and what each is told."""
        return [channel.spec for channel in self.channels.values()]

    @field_validator("channels", mode="before")
    @classmethod
    def _channel_names(cls, value: Any) -> Any:
        """A channel is named by its table."""
        if not isinstance(value, dict):
            return value
        return {name: {**body, "name": name} if isinstance(body, dict) else body for name, body in value.items()}

    @field_validator("sources", "channels")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not _NAME.match(name):
                raise ValueError(f"the name {name!r} is not lower-case letters, digits, '-' and '_'")
        return value

    @model_validator(mode="after")
    def _client_ids(self) -> Self:
        """Two connections under one client id would take each other over without end."""
        seen: dict[tuple[str, int, str], str] = {}
        for name, source in self.sources.items():
            if isinstance(source, MqttSettings):
                key = (source.host, source.port, source.client_id)
                if key in seen:
                    raise ValueError(f"sources {seen[key]} and {name} share the client_id {source.client_id!r}")
                seen[key] = name
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del env_settings, dotenv_settings, file_secret_settings
        return (_Environment(settings_cls), init_settings)


class _Environment(EnvSettingsSource):
    """The environment, with ``HAIDANG__X__Y_FILE`` read as the value of ``HAIDANG__X__Y``."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {k.lower(): v for k, v in environment(os.environ).items()}

    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError as exc:
            ours = (key for key, said in environment(os.environ).items() if said == value)
            key = next((key for key in ours if key.lower().endswith(field_name.lower())), field_name)
            raise _NotJsonError(f'{key}: not JSON, such as ["a", "b"] for a list') from exc


class _NotJsonError(ValueError):
    """A variable that stands for a list or a whole section, and cannot be read as one."""


def _unreadable(error: ValueError) -> str:
    return "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Our variables, ``*_FILE`` ones replaced by what their file holds (a final line end removed).

    Raises:
        ConfigError: a file cannot be read, or a variable names no section of the settings.
    """
    out: dict[str, str] = {}
    sections = set(Settings.model_fields)
    for key, value in environ.items():
        if not key.startswith(ENV_PREFIX):
            continue
        section = key.removeprefix(ENV_PREFIX).split("__")[0].lower()
        if section not in sections:
            raise ConfigError(f"environment: {key}: no such section (there are {', '.join(sorted(sections))})")
        if key.endswith("_FILE"):
            try:
                out[key.removesuffix("_FILE")] = Path(value).read_text(encoding="utf-8").rstrip("\r\n")
            except OSError as exc:
                raise ConfigError(f"environment: {key}: {value}: {exc.strerror}") from exc
            except ValueError as exc:  # not UTF-8, or a name with a NUL
                raise ConfigError(f"environment: {key}: {value}: {_unreadable(exc)}") from exc
        else:
            out.setdefault(key, value)
    return out


def load(path: Path | None, **overrides: Any) -> Settings:
    """Read the settings.

    Args:
        path: the TOML file; None for the environment alone.
        overrides: whole sections that win over both.

    Raises:
        ConfigError: anything is unknown, missing or malformed; one line per fault.
    """
    text, data = "", {}
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8-sig")  # Windows's editors mark UTF-8
            data = tomllib.loads(text)
        except OSError as exc:
            raise ConfigError(f"{path}: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise ConfigError(f"{path}: not UTF-8 text") from exc
        except tomllib.TOMLDecodeError as exc:
            raise ConfigError(f"{path}: {exc}") from exc
        except RecursionError as exc:
            raise ConfigError(f"{path}: nested too deep") from exc
    try:
        return Settings(**{**data, **overrides})
    except SettingsError as exc:
        raise ConfigError(f"environment: {exc.__cause__ if isinstance(exc.__cause__, _NotJsonError) else exc}") from exc
    except ValidationError as exc:
        raise ConfigError("\n".join(_fault(path, text, error) for error in exc.errors())) from exc


def check_runnable(settings: Settings, path: Path) -> None:
    """Hold against settings what only the service cannot do without.

    Raises:
        ConfigError: there are no sources, or no database; one line per fault.
    """
    faults = []
    if not settings.sources:
        faults.append(f"{path}: no sources: add a table such as [sources.coast]")
    if not settings.database.dsn.get_secret_value():
        faults.append(f"{path}: no database: set dsn in [database], or HAIDANG__DATABASE__DSN")
    if faults:
        raise ConfigError("\n".join(faults))


def _fault(path: Path | None, text: str, error: Any) -> str:
    # A discriminated union puts its tag into the location, which is no key of the file.
    where = [str(part) for at, part in enumerate(error["loc"]) if at != 2 or part not in _TAGS]
    key = ".".join(where)
    match error["type"]:
        case "extra_forbidden":
            reason = "unknown key"
        case "tuple_type" | "frozen_set_type":
            reason = "should be a list"
        case _:
            reason = error["msg"].removeprefix("Value error, ")
    variable = ENV_PREFIX + "__".join(where).upper()
    if variable in os.environ or f"{variable}_FILE" in os.environ:
        return f"environment: {variable}: {reason}"
    number = line_of(text, where)
    place = f"{path}: line {number}" if number else str(path or "settings")
    return f"{place}: {key}: {reason}" if key else f"{place}: {reason}"


def line_of(text: str, where: list[str]) -> int | None:
    """The 1-based line of a TOML text that sets the key at ``where``, or that opens its nearest table."""
    table: list[str] = []
    best, best_depth = None, 0
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"^\s*\[\[?\s*([^\]]+?)\s*\]\]?", line)
        assigned = re.match(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=", line)
        if header:
            table = [part.strip(" \"'") for part in header[1].split(".")]
            here = table
        elif assigned:
            here = [*table, *(part.strip(" \"'") for part in assigned[1].split("."))]
        else:
            continue
        if len(here) > best_depth and where[: len(here)] == here:
            best, best_depth = number, len(here)
    return best


def shown(settings: Settings) -> dict[str, Any]:
    """The settings as they stand, JSON-ready, secrets masked."""
    masked: dict[str, Any] = settings.model_dump(mode="json")
    return masked
