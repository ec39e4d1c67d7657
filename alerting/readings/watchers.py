"""Which rules watch which device and metric: patterns made ready once, and names looked at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cache
from typing import TYPE_CHECKING, Final

from decoders.identity import metric_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from alerting.readings.places import Places
    from alerting.rules.devices import OnDevices

_GLOB: Final = re.compile(r"[*?\[]")


class Watchers:
    """The numbers of the rules (their places in the sequence given) by metric and device name.

    Says what ``applies_to`` of each rule says of the device's name, and ``places`` of where it stands. Rules that say
    the same of devices are one *group*, and a name is put only to the groups it may belong to by how it begins: a
    thousand rules that name a device each cost as much as one.
    """

    def __init__(self, rules: Sequence[OnDevices], places: Places) -> None:
        self._of: dict[int, _Watched] = {}  # by metric
        known: dict[object, _Group] = {}
        for number, rule in enumerate(rules):
            said = (rule.devices, rule.gateways, rule.exclude, rule.groups, rule.near, rule.in_zones)
            group = known.get(said)
            if group is None:
                stands = places.asked(rule) if rule.placed else None
                group = known[said] = _Group(len(known), rule.devices, rule.gateways, rule.exclude, stands)
            for metric in rule.watched:
                self._of.setdefault(metric_id(metric), _Watched()).add(number, group)

    @property
    def metrics(self) -> set[int]:
        """Those that any rule watches."""
        return set(self._of)

    def always(self, metric: int) -> tuple[int, ...] | None:
        """The rules that watch a metric, if that does not hang on the device."""
        watched = self._of.get(metric)
        return () if watched is None else watched.always()

    def of(self, metric: int, device: str) -> tuple[int, ...]:
        """The rules that watch a metric of the device named "gateway/device"."""
        watched = self._of.get(metric)
        return () if watched is None else watched.of(device)


class _Group:
    """What some rules say of devices."""

    def __init__(
        self,
        number: int,
        devices: tuple[str, ...],
        gateways: tuple[str, ...] | None,
        exclude: tuple[str, ...],
        stands: Callable[[str], bool] | None,
    ) -> None:
        self.number = number
        self.every = "*" in devices and gateways is None and not exclude and stands is None
        self.devices = devices
        self._stands = stands
        self._in, self._out = _any(devices), _any(exclude)
        self._from = None if gateways is None else [_glob(pattern) for pattern in gateways]

    def applies(self, device: str) -> bool:
        if self.every:
            return True
        if self._from is not None:
            gateway = device.partition("/")[0]
            if not any(match(gateway) for match in self._from):
                return False
        if not self._in(device) or self._out(device):
            return False
        return self._stands is None or self._stands(device)


@dataclass(slots=True)
class _Watched:
    """The rules on one metric, by group, and the groups by how the names begin that they may take in."""

    _rules: dict[int, list[int]] = field(default_factory=dict)  # group -> rules
    _groups: dict[int, _Group] = field(default_factory=dict)
    # Groups by the literal beginning of a pattern, of names of devices and of "gateway/device"; whole names apart.
    _exact: tuple[dict[str, list[int]], dict[str, list[int]]] = field(default_factory=lambda: ({}, {}))
    _begin: tuple[dict[str, list[int]], dict[str, list[int]]] = field(default_factory=lambda: ({}, {}))
    _lengths: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    _found: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)  # groups -> rules

    def add(self, number: int, group: _Group) -> None:
        rules = self._rules.setdefault(group.number, [])
        rules.append(number)
        if len(rules) > 1:
            return
        self._groups[group.number] = group
        for pattern in group.devices:
            whole = int("/" in pattern)
            wild = _GLOB.search(pattern)
            if wild is None:
                self._exact[whole].setdefault(pattern, []).append(group.number)
            else:
                beginning = pattern[: wild.start()]
                self._begin[whole].setdefault(beginning, []).append(group.number)
                self._lengths[whole].add(len(beginning))

    def always(self) -> tuple[int, ...] | None:
        if not all(group.every for group in self._groups.values()):
            return None
        return tuple(sorted(number for rules in self._rules.values() for number in rules))

    def of(self, device: str) -> tuple[int, ...]:
        candidates = sorted(set(self._candidates(device)))
        groups = tuple(number for number in candidates if self._groups[number].applies(device))
        found = self._found.get(groups)
        if found is None:
            found = tuple(sorted(number for group in groups for number in self._rules[group]))
            self._found[groups] = found
        return found

    def _candidates(self, device: str) -> Iterator[int]:
        for whole, name in enumerate((device.rpartition("/")[2], device)):
            yield from self._exact[whole].get(name, ())
            begin = self._begin[whole]
            for length in self._lengths[whole]:
                yield from begin.get(name[:length], ())


def _any(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    parts = [pattern.rpartition("/") for pattern in patterns]
    pairs = [(_glob(left) if slash else None, _glob(right)) for left, slash, right in parts]

    def matches(device: str) -> bool:
        gateway, _, name = device.rpartition("/")
        return any(right(name) and (left is None or left(gateway)) for left, right in pairs)

    return matches


@cache
def _glob(pattern: str) -> Callable[[str], bool]:
    """What ``fnmatchcase`` says; its own memory of patterns is too short for a thousand rules."""
    if not _GLOB.search(pattern):
        return pattern.__eq__
    match = re.compile(translate(pattern)).match
    return lambda text: match(text) is not None
