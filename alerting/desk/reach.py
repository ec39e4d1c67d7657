"""Whom rules and procedures can reach, given the channels that are set up. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from alerting.notify import ChannelSpec
    from alerting.rules.base import Fault


def unknown(names: Iterable[str], channels: Sequence[ChannelSpec]) -> list[Fault]:
    """Channels that a rule names and that are not set up, as faults of its ``channels``."""
    known = sorted(channel.name for channel in channels)
    there = f"there are {', '.join(known)}" if known else "there are none"
    return [(("channels",), f"unknown channel {name!r}; {there}") for name in names if name not in known]
