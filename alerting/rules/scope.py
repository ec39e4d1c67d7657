"""Which vessels a rule is about."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from alerting.rules.base import Model
from decoders.identity import MmsiClass, mid, mmsi_class

_AIS_BELOW: Final = 1 << 62  # ids of transponders that are not AIS have this bit (decoders.identity)

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


ShipTypes = Annotated[tuple[int, ...], BeforeValidator(_ship_types)]
Mmsi = Annotated[int, Field(ge=1, le=999_999_999)]
Mid = Annotated[int, Field(ge=200, le=799)]


class Selection(Model):
    """Transponders by what is known of them. Of the lists given each must match; a list matches by any of its items."""

    ship_types: ShipTypes | None = None
    mmsi: Annotated[tuple[Mmsi, ...], Field(strict=False)] | None = None
    flags: Annotated[tuple[Mid, ...], Field(strict=False)] | None = None  # MID of the MMSI: 574 is Viet Nam

    def selects(self, transponder: int, ship_type: int | None) -> bool | None:
        """Whether it matches; None while that hangs on a ship type not known yet."""
        ais = transponder < _AIS_BELOW
        if self.mmsi is not None and transponder not in self.mmsi:
            return False
        if self.flags is not None and (not ais or mid(transponder) not in self.flags):
            return False
        if self.ship_types is None:
            return True
        if not ais:
            return False
        return ship_type in self.ship_types if ship_type else None


class Scope(Selection):
    """Which vessels a zone rule is about: all, unless lists are given; never those that ``exclude`` selects.

    ``vms``: devices of a vessel monitoring system, which are not AIS and send no ship type, match too; only fishing
    vessels carry them.
    """

    vms: bool = False
    exclude: Selection | None = None

    def matches(self, transponder: int, ship_type: int | None) -> bool | None:
        """Whether the rule is about the transponder; None while that hangs on a ship type not known yet."""
        if self.exclude is not None:
            excluded = self.exclude.selects(transponder, ship_type)
            if excluded is not False:
                return None if excluded is None else False
        if transponder >= _AIS_BELOW:
            return self.vms or self == Scope(exclude=self.exclude)
        if mmsi_class(transponder) in _NOT_VESSELS and (self.mmsi is None or transponder not in self.mmsi):
            return False
        return self.selects(transponder, ship_type)
