"""Whom rules and procedures can reach, given the channels that are set up. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from alerting.desk.matching import may_meet
from alerting.model import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from alerting.desk.book import Procedure
    from alerting.desk.notify import ChannelSpec
    from alerting.rules import Rule
    from alerting.rules.base import Fault


def unknown(names: Iterable[str], channels: Sequence[ChannelSpec]) -> list[Fault]:
    """Channels that a rule names and that are not set up, as faults of its ``channels``."""
    known = sorted(channel.name for channel in channels)
    there = f"there are {', '.join(known)}" if known else "there are none"
    return [(("channels",), f"unknown channel {name!r}; {there}") for name in names if name not in known]


def missing(names: Iterable[str], event: Event, channels: Sequence[ChannelSpec]) -> list[str]:
    """Of the channels that are named, those by which nobody can be told of an event."""
    can = {channel.name for channel in channels if event in channel.carries}
    return [name for name in names if name not in can]


def faults(procedure: Procedure, channels: Sequence[ChannelSpec]) -> list[Fault]:
    """Why a procedure that has steps can be none, given the channels that are set up; where there are none, it may.

    What a channel wants of severities and rules is not looked at: alerts differ in both.
    """
    named = [name for step in procedure.steps for name in step.channels]
    left = len(missing(named, Event.OVERDUE, channels)) < len(named)
    if not procedure.steps or not channels or left or _wanted(Event.OVERDUE, channels):
        return []
    return [(("steps",), "its steps can reach nobody: no channel is told of 'overdue'")]


def doubts(procedure: Procedure, channels: Sequence[ChannelSpec]) -> list[Fault]:
    """Whom a procedure would not reach as it is written."""
    found: list[Fault] = []
    overdue = _wanted(Event.OVERDUE, channels)
    instead = "all channels that are told of 'overdue' are told instead" if overdue else "nobody is told instead"
    known = {channel.name for channel in channels}
    for number, step in enumerate(procedure.steps):
        for name in missing(step.channels, Event.OVERDUE, channels):
            why = f"channel {name!r} cannot say 'overdue'" if name in known else f"there is no channel {name!r}"
            found.append((("steps", number, "channels"), f"step {number + 1}: {why}: {instead}"))
        if not step.channels and not overdue:
            found.append((("steps", number), f"step {number + 1}: no channel is told of 'overdue'"))
    if procedure.repeat is not None and not _wanted(Event.REMINDED, channels):
        found.append((("repeat",), "nobody is reminded: no channel is told of 'reminded'"))
    return found


def unheard(procedure: Procedure, rules: Iterable[Rule], channels: Sequence[ChannelSpec]) -> list[Fault]:
    """Of alerts of which rules a procedure would tell nobody, for none of the channels that the rule names is told."""
    found: list[Fault] = []
    for rule in rules:
        if rule.channels is None or not _may_match(procedure, rule):
            continue
        mine = [channel for channel in channels if channel.name in rule.channels]
        silent = [number for number, step in enumerate(procedure.steps) if not step.channels]
        for number in [] if _wanted(Event.OVERDUE, mine) or not _wanted(Event.OVERDUE, channels) else silent:
            why = f"none of the channels of rule {rule.id!r} is told of 'overdue'"
            found.append((("steps", number), f"step {number + 1}: {why}: nobody is told of its alerts"))
        if procedure.repeat is not None and not _wanted(Event.REMINDED, mine) and _wanted(Event.REMINDED, channels):
            why = f"none of the channels of rule {rule.id!r} is told of 'reminded'"
            found.append((("repeat",), f"nobody is reminded of its alerts: {why}"))
    return found


def _may_match(procedure: Procedure, rule: Rule) -> bool:
    severities = tuple({rule.severity.value, *_severities(rule.body)})
    return may_meet(procedure.match, {"rule": (rule.id,), "kind": (rule.kind,), "severity": severities})


def _severities(said: Any) -> Iterator[str]:
    """All that a rule may come to: of its levels and steps, too."""
    if isinstance(said, Mapping):
        for key, value in said.items():
            if isinstance(value, str) and key.endswith("severity"):
                yield value
            else:
                yield from _severities(value)
    elif isinstance(said, list | tuple):
        for value in said:
            yield from _severities(value)


def _wanted(event: Event, channels: Sequence[ChannelSpec]) -> bool:
    return any(event in channel.events for channel in channels)
