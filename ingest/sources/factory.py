"""Sources from their settings."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from ingest.settings import ConfigError, MqttSettings, NmeaTcpSettings, NmeaUdpSettings
from ingest.sources.mqtt import MqttOptions, MqttSource, Tls
from ingest.sources.nmea_tcp import NmeaTcpClient, NmeaTcpServer
from ingest.sources.nmea_udp import NmeaUdp

if TYPE_CHECKING:
    from ingest.settings import SourceSettings
    from ingest.sources.base import Source
    from ingest.telemetry import Telemetry


def make_source(name: str, settings: SourceSettings, telemetry: Telemetry, *, payload_bytes: int) -> Source:
    """The source that a table of the settings describes; ``payload_bytes`` is the largest MQTT payload taken.

    Raises:
        ConfigError: TLS files that cannot be used.
    """
    match settings:
        case MqttSettings():
            tls = Tls(settings.tls.ca, settings.tls.certificate, settings.tls.key) if settings.tls else None
            try:
                if tls:
                    tls.context()
            except (OSError, ssl.SSLError) as exc:
                raise ConfigError(f"sources.{name}.tls: {exc.strerror or exc}") from exc
            return MqttSource(
                name,
                telemetry,
                MqttOptions(
                    host=settings.host,
                    port=settings.port,
                    username=settings.username,
                    password=settings.password.get_secret_value() if settings.password else None,
                    client_id=settings.client_id,
                    topics=settings.topics,
                    protocol=settings.protocol,
                    client=settings.client,
                    session_expiry=settings.session_expiry,
                    receive_maximum=settings.receive_maximum,
                    receive_bytes=settings.receive_bytes,
                    keepalive=settings.keepalive,
                    tls=tls,
                    max_payload=payload_bytes,
                ),
            )
        case NmeaTcpSettings(mode="client"):
            return NmeaTcpClient(name, telemetry, host=settings.host, port=settings.port, idle=settings.idle)
        case NmeaTcpSettings():
            return NmeaTcpServer(name, telemetry, host=settings.host, port=settings.port, idle=settings.idle)
        case NmeaUdpSettings():
            return NmeaUdp(name, telemetry, host=settings.host, port=settings.port)


def decoder_key(source: Source, settings: SourceSettings | None = None) -> str:
    """Which of the pipeline's decoders reads a source."""
    if isinstance(settings, NmeaTcpSettings | NmeaUdpSettings) and not settings.trusted_time:
        return "nmea, times untrusted"
    return source.format
