"""What a user can put right: said in one line, never as a traceback."""

from __future__ import annotations

from typing import Final

from alerting.pack import PackError
from alerting.registry_files import RegistryError
from geofence.geometries import ZoneError
from ingest.http import HttpUnavailable
from ingest.settings import ConfigError
from ingest.sources.base import SourceUnavailable
from ingest.sources.file import BadRecording
from ingest.spool_file import SpoolRefused
from services.errors import ServicesError
from simulators.events import BadConfig
from simulators.wire import Unreachable
from storage.errors import ConfigurationError, DatabaseAway, RequestRefused

REFUSALS: Final[tuple[type[Exception], ...]] = (
    BadConfig,
    BadRecording,
    ConfigError,
    ConfigurationError,
    DatabaseAway,
    HttpUnavailable,
    PackError,
    RegistryError,
    RequestRefused,
    ServicesError,
    SourceUnavailable,
    SpoolRefused,
    Unreachable,
    ZoneError,
)
