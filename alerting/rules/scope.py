"""Which vessels a rule is about: by what they send, and by what the registry says of who carries the transponder."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from alerting.registry.register import Licence, fold
from alerting.rules.base import BaseRule, Model, Text
from alerting.rules.reachable import takes_out
from decoders.identity import MmsiClass, is_ais, mid, mmsi_class

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator, Mapping

    from alerting.registry.register import Registry, Vessel
    from alerting.rules.base import Fault

#: MMSI forms that are no vessel: zone rules pass them over unless they are listed by MMSI.
_NOT_VESSELS: Final = frozenset(MmsiClass) - {MmsiClass.SHIP, MmsiClass.UNKNOWN}


def _ship_types(value: object) -> tuple[int, ...]:
    """Ship type codes (ITU-R M.1371-5 table 53), from a list of codes and of ranges such as "70-79"."""
    if not isinstance(value, list):
        raise ValueError("expected a list of ship type codes")  # noqa: TRY004  # pydantic wants ValueError
    codes: set[int] = set()
    for item in value:
        found = re.fullmatch(r"(\d{1,3})-(\d{1,3})", item) if isinstance(item, str) else None
        if found:
            low, high = int(found[1]), int(found[2])
        elif isinstance(item, int) and not isinstance(item, bool):
            low = high = item
        else:
            raise ValueError(f'expected a code such as 30 or a range such as "30-39", found {item!r}')
        if not 0 < low <= high <= 255:
            raise ValueError(f"ship types are 1 to 255, found {item!r}")
        codes.update(range(low, high + 1))
    return tuple(sorted(codes))


def _state(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{2}", value):
        raise ValueError(f'expected a flag State such as "VN" (ISO 3166-1 alpha-2), found {value!r}')
    return value


ShipTypes = Annotated[tuple[int, ...], BeforeValidator(_ship_types)]
Mmsi = Annotated[int, Field(ge=1, le=999_999_999)]
Mid = Annotated[int, Field(ge=200, le=799)]
Words = Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]
States = Annotated[tuple[Annotated[str, AfterValidator(_state)], ...], Field(strict=False, min_length=1)]
Length = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]  # metres

#: What a transponder says of itself by AIS, and what the registry says of who carries it.
_OF_AIS: Final = ("ship_types", "mmsi", "flags")
_WORDS: Final = {"classes": "kind", "gears": "gear", "home_ports": "home_port", "flag_states": "flag"}
_OF_REGISTRY: Final = (*_WORDS, "registered", "min_length_m", "below_length_m", "licence", "lists")


class Selection(Model):
    """Transponders by what is known of them. Of the keys given each must match; a list matches by any of its items.

    Those from ``registered`` on are about the vessel that carries the transponder by the registry at the time of the
    event. They never match where there is none, nor where the registry does not say, but for ``registered = false``.
    Letter case does not matter to them.
    """

    ship_types: ShipTypes | None = None
    mmsi: Annotated[tuple[Mmsi, ...], Field(strict=False)] | None = None
    flags: Annotated[tuple[Mid, ...], Field(strict=False, min_length=1)] | None = (
        None  # MID of the MMSI: 574 is Viet Nam
    )
    registered: bool | None = None
    classes: Words | None = None
    flag_states: States | None = None
    min_length_m: Length | None = None  # greatest length, this or more
    below_length_m: Length | None = None  # and less than this
    gears: Words | None = None
    licence: Annotated[Licence, Field(strict=False)] | None = None
    lists: Words | None = None
    home_ports: Words | None = None

    @model_validator(mode="after")
    def _lengths_in_order(self) -> Selection:
        low, high = self.min_length_m, self.below_length_m
        if low is not None and high is not None and high <= low:
            raise ValueError(f"no length is {low:g} m or more and below {high:g} m")
        return self

    @model_validator(mode="after")
    def _registered_or_not(self) -> Selection:
        others = [name for name in _OF_REGISTRY if name != "registered" and getattr(self, name) is not None]
        if self.registered is False and others:
            raise ValueError(f"{', '.join(others)}: what is not registered has none")
        return self

    @property
    def given(self) -> dict[str, Any]:
        """What it asks for, by key."""
        return {name: said for name in (*_OF_AIS, *_OF_REGISTRY) if (said := getattr(self, name)) is not None}

    @cached_property
    def _asks(self) -> bool:
        """Whether it asks the registry for something."""
        return any(getattr(self, name) is not None for name in _OF_REGISTRY)

    @cached_property
    def _words(self) -> dict[str, frozenset[str]]:
        """By attribute of a vessel, what it may be; and ``lists``."""
        said = {attribute: getattr(self, name) for name, attribute in _WORDS.items()} | {"lists": self.lists}
        return {name: frozenset(map(fold, words)) for name, words in said.items() if words is not None}

    def selects(
        self, transponder: int, ship_type: int | None, vessel: Vessel | None = None, time: int = 0
    ) -> bool | None:
        """Whether it matches; None while that hangs on a ship type not known yet.

        ``vessel``: who carries it at the event time ``time``, by the registry, if that is asked for.
        """
        if self._asks and not self._registry_says(vessel, time):
            return False
        return self._ais_says(transponder, ship_type)

    def _ais_says(self, transponder: int, ship_type: int | None) -> bool | None:
        ais = is_ais(transponder)
        if self.mmsi is not None and transponder not in self.mmsi:
            return False
        if self.flags is not None and (not ais or mid(transponder) not in self.flags):
            return False
        if self.ship_types is None:
            return True
        if not ais:
            return False
        return ship_type in self.ship_types if ship_type else None

    def _registry_says(self, vessel: Vessel | None, time: int) -> bool:
        if vessel is None or self.registered is False:
            return vessel is None and self.registered is False
        if self.licence is not None and vessel.licence(time) is not self.licence:
            return False
        return self._fits(vessel.length_m) and all(
            any(one is not None and fold(one) in words for one in _said(vessel, name))
            for name, words in self._words.items()
        )

    def _fits(self, length: float | None) -> bool:
        low, high = self.min_length_m, self.below_length_m
        if low is None and high is None:
            return True
        return length is not None and (low is None or length >= low) and (high is None or length < high)

    def doubts(self, known: Mapping[str, Container[str]]) -> Iterator[Fault]:
        """What it asks for that nobody in the registry is (``Registry.words``)."""
        for key in (*_WORDS, "lists"):
            for word in getattr(self, key) or ():
                if fold(word) not in known[_WORDS.get(key, key)]:
                    yield (key,), f"{key}: nobody in the registry has {word!r}"


def _said(vessel: Vessel, name: str) -> Collection[str | None]:
    return vessel.lists if name == "lists" else (getattr(vessel, name),)


class Scope(Selection):
    """Which vessels a rule is about: all, unless lists are given; never those that ``exclude`` selects.

    ``vms``: devices of a vessel monitoring system, which are not AIS and send no ship type, match too where AIS is
    asked for something; only fishing vessels carry them. What is asked of the registry is asked of both.
    """

    vms: bool = False
    exclude: Selection | None = None

    def nobody(self) -> str | None:
        """Why no transponder can be meant; None: some can."""
        if empty := [name for name, said in self.given.items() if said == ()]:
            return f"{', '.join(empty)}: it is about nobody"
        if self.mmsi and self.flags and not any(mid(one) in self.flags for one in self.mmsi):
            return "it is about nobody: none of mmsi has one of flags"
        if self.exclude is not None and takes_out(self.given, self.exclude.given):
            return "it is about nobody: exclude takes out all that it is about"
        return None

    @cached_property
    def asks_registry(self) -> bool:
        """Whether the answer hangs on the registry."""
        return self._asks or bool(self.exclude is not None and self.exclude._asks)  # noqa: SLF001  # of our kind

    @cached_property
    def asks_ship_type(self) -> bool:
        """Whether it hangs on what a vessel says it is."""
        return self.ship_types is not None or (self.exclude is not None and self.exclude.ship_types is not None)

    @cached_property
    def asks_licence(self) -> bool:
        """Whether it hangs on a licence, and so may change with time."""
        return self.licence is not None or bool(self.exclude is not None and self.exclude.licence is not None)

    @cached_property
    def _takes_vms(self) -> bool:
        return self.vms or all(getattr(self, name) is None for name in _OF_AIS)

    def matches(
        self, transponder: int, ship_type: int | None, vessel: Vessel | None = None, time: int = 0
    ) -> bool | None:
        """Whether the rule is about the transponder; None while that hangs on a ship type not known yet.

        ``vessel`` and ``time``: as of ``selects``.
        """
        if self._asks and not self._registry_says(vessel, time):
            return False
        excluded = False if self.exclude is None else self.exclude.selects(transponder, ship_type, vessel, time)
        if excluded:
            return False
        if not is_ais(transponder):
            about: bool | None = self._takes_vms
        elif mmsi_class(transponder) in _NOT_VESSELS and (self.mmsi is None or transponder not in self.mmsi):
            return False
        else:
            about = self._ais_says(transponder, ship_type)
        return None if excluded is None and about is not False else about


class ScopedRule(BaseRule):
    """A rule about transponders on vessels."""

    scope: Scope = Scope()

    def dropped(self, transponder: int, registry: Registry, time: int) -> bool:
        """Whether by the registry the rule is not about a transponder at an event time, whatever it sends."""
        if not self.scope.asks_registry:
            return False
        return self.scope.matches(transponder, None, registry.vessel(transponder, time), time) is False

    def never(self) -> Iterator[Fault]:
        yield from super().never()
        if reason := self.scope.nobody():
            yield ("scope",), f"scope: {reason}"

    def doubts(self, known: Mapping[str, Container[str]]) -> Iterator[Fault]:
        for place, fault in self.scope.doubts(known):
            yield ("scope", *place), fault
        for place, fault in self.scope.exclude.doubts(known) if self.scope.exclude is not None else ():
            yield ("scope", "exclude", *place), fault
