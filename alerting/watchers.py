"""Which rules watch which device and metric: patterns made ready once, and names looked at once."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import cache
from typing import TYPE_CHECKING, Final

from decoders.identity import metric_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alerting.places import Places
    from alerting.rules.devices import OnDevices

_GLOB: Final = re.compile(r"[*?\[]")


class Watchers:
    """The numbers of the rules (their places in the sequence given) by metric and device name.

    Says what ``applies_to`` of each rule says of the device's name, and ``places`` of where it stands. Patterns that
    several rules share are tried once for a name.
    """

    def __init__(self, rules: Sequence[OnDevices], places: Places) -> None:
        self._of: dict[int, list[tuple[int, int]]] = {}  # metric -> (rule, group)
        self._groups: list[Callable[[str], bool] | None] = []
        known: dict[object, int] = {}
        for number, rule in enumerate(rules):
            which = (rule.devices, rule.gateways, rule.exclude, rule.groups, rule.near, rule.in_zones)
            group = known.setdefault(which, len(known))
            if group == len(self._groups):
                every = "*" in rule.devices and rule.gateways is None and not rule.exclude
                named = None if every else _predicate(rule.devices, rule.gateways, rule.exclude)
                self._groups.append(_placed(rule, places, named) if rule.placed else named)
            for metric in rule.watched:
                self._of.setdefault(metric_id(metric), []).append((number, group))

    @property
    def metrics(self) -> set[int]:
        """Those that any rule watches."""
        return set(self._of)

    def always(self, metric: int) -> tuple[int, ...] | None:
        """The rules that watch a metric, if that does not hang on the device."""
        rules = self._of.get(metric, [])
        return tuple(n for n, _ in rules) if all(self._groups[group] is None for _, group in rules) else None

    def of(self, metric: int, device: str) -> tuple[int, ...]:
        """The rules that watch a metric of the device named "gateway/device"."""
        rules = self._of.get(metric)
        if rules is None:
            return ()
        found: list[int] = []
        said: dict[int, bool] = {}
        for number, group in rules:
            if group not in said:
                applies = self._groups[group]
                said[group] = applies is None or applies(device)
            if said[group]:
                found.append(number)
        return tuple(found)


def _predicate(
    devices: tuple[str, ...], gateways: tuple[str, ...] | None, exclude: tuple[str, ...]
) -> Callable[[str], bool]:
    in_, out = _any(devices), _any(exclude)
    from_ = None if gateways is None else [_glob(pattern) for pattern in gateways]

    def applies(device: str) -> bool:
        if from_ is not None:
            gateway = device.partition("/")[0]
            if not any(match(gateway) for match in from_):
                return False
        return in_(device) and not out(device)

    return applies


def _placed(rule: OnDevices, places: Places, named: Callable[[str], bool] | None) -> Callable[[str], bool]:
    stands = places.asked(rule)
    return stands if named is None else lambda device: named(device) and stands(device)


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
