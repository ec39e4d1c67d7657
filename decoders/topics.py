"""Which decoder an MQTT topic asks for, and which device it names.

The device is the topic level that the broker's access control binds to the client; what a payload claims is only
compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from decoders.records import Reason
from decoders.refused import Refused

#: Longest gateway or device name, in UTF-8 bytes.
MAX_LEVEL: Final = 128

#: No topic of ours is longer, in characters; and topics remembered, so that they take some 16 MB at most.
_LONGEST: Final = 2 * MAX_LEVEL + 32
REMEMBERED: Final = 16_384

_PREFIX: Final = ["haidang", "v1"]


class Format(StrEnum):
    """The last level of a topic: how to read its payloads."""

    READINGS = "readings"
    POSITION = "position"
    NMEA = "nmea"


@dataclass(slots=True, frozen=True)
class Route:
    """What a topic says. ``device`` is empty for NMEA, where the messages name who speaks."""

    format: Format
    gateway: str
    device: str = ""

    @property
    def name(self) -> str:
        """The full name of the device, ``gateway/device``."""
        return f"{self.gateway}/{self.device}"


def route(topic: str) -> Route | Refused:
    """Read a topic: ``haidang/v1/{gateway}/nmea`` or ``haidang/v1/{gateway}/{device}/readings`` or ``…/position``."""
    if len(topic) > _LONGEST:
        return Refused(Reason.BAD_NAME, f"a topic of {len(topic)} characters")
    return _route(topic)


@lru_cache(REMEMBERED)
def _route(topic: str) -> Route | Refused:
    levels = topic.split("/")
    if levels[:2] != _PREFIX or len(levels) not in (4, 5):
        return Refused(Reason.BAD_TOPIC, "no such topic")
    names, last = levels[2:-1], levels[-1]
    if (last, len(names)) not in ((Format.NMEA, 1), (Format.READINGS, 2), (Format.POSITION, 2)):
        return Refused(Reason.BAD_TOPIC, "no such topic")
    for name in names:
        if problem := _problem(name):
            return Refused(Reason.BAD_NAME, f"a topic level {problem}")
    return Route(Format(last), *names)


def _problem(name: str) -> str:
    if not name or name.isspace():
        return "is empty"
    if not name.isprintable():  # NUL, other controls, lone surrogates
        return "has characters that cannot be printed"
    if "+" in name or "#" in name:
        return "has a wildcard"
    if "\\" in name:  # how the source shows bytes that are no UTF-8
        return "has a backslash, or bytes that are no UTF-8"
    if len(name.encode()) > MAX_LEVEL:
        return f"is longer than {MAX_LEVEL} bytes"
    return ""
