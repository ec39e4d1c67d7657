"""Months, seasons and hours of the day: when, within its days of validity, a rule is in force.

All of it is meant at the rule's own offset from UTC. Months and a season speak of days, hours of the time of day; both
must hold, so that the night after the last day of a season ends at midnight.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

DAY: Final = 86_400_000_000
_MINUTE: Final = 60_000_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_LAST_YEAR: Final = 9999
_LEAP: Final = 2000  # a year that has every day there is


def _day(value: str) -> str:
    found = re.fullmatch(r"(\d\d)-(\d\d)", value)
    month, day = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (1 <= month <= 12 and 1 <= day <= monthrange(_LEAP, month)[1]):
        raise ValueError('expected a month and a day such as "09-15"')
    return value


def _hours(value: str) -> str:
    found = re.fullmatch(r"((?:[01]\d|2[0-3]):[0-5]\d)-((?:[01]\d|2[0-3]):[0-5]\d|24:00)", value)
    if found is None or found[1] == found[2]:
        raise ValueError('expected hours such as "18:00-06:00"')
    return value


Month = Annotated[int, Field(ge=1, le=12)]
MonthDay = Annotated[str, AfterValidator(_day)]
Hours = Annotated[str, AfterValidator(_hours)]


class Season(BaseModel):
    """From one day of the year to another, both included. It may run over New Year: from "11-01" to "02-15"."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=False)

    from_: MonthDay = Field(alias="from")
    to: MonthDay


@dataclass(slots=True, frozen=True)
class Calendar:
    """Which instants are meant. Times are microseconds UTC.

    ``days``: of the months and days "MM-DD", from and to, that hold; None: all. ``hours``: of the day, from and to in
    microseconds after midnight, the first less than the second, apart from each other and in order; None: all.
    """

    east: int  # of UTC, microseconds
    months: frozenset[int] | None
    season: tuple[str, str] | None
    hours: tuple[tuple[int, int], ...] | None

    def holds(self, time: int) -> bool:
        """Whether an instant is meant."""
        day, clock = divmod(time + self.east, DAY)
        if self.hours is not None and not any(start <= clock < end for start, end in self.hours):
            return False
        return self._day_holds(day)

    def next_edge(self, time: int) -> int | None:
        """The first instant after ``time`` that is meant if ``time`` is not, or not meant if it is; None if none is."""
        held, at = self.holds(time), time
        while True:
            day, clock = divmod(at + self.east, DAY)
            edges = [] if (other := self._next_day(day)) is None else [other * DAY]
            if self.hours is not None and self._day_holds(day):
                later = [edge for span in self.hours for edge in span if edge > clock]
                edges.append(day * DAY + (min(later) if later else DAY))
            if not edges:
                return None
            at = min(edges) - self.east
            if self.holds(at) != held:
                return at

    @property
    def daily(self) -> frozenset[int]:
        """The times of the day, microseconds after midnight UTC, at which anything can change."""
        edges = {0} if self.months is not None or self.season is not None else set()
        edges |= {edge for span in self.hours or () for edge in span}
        return frozenset((edge - self.east) % DAY for edge in edges)

    def _day_holds(self, day: int) -> bool:
        """Of a day, counted from 1970-01-01."""
        if self.months is None and self.season is None:
            return True
        year = _date(day).year
        return bisect_right(self._edges(year), day) % 2 == 1

    def _next_day(self, day: int) -> int | None:
        """The first day after ``day`` that is meant if it is not, or not meant if it is; None if none is."""
        if self.months is None and self.season is None:
            return None
        held = self._day_holds(day)
        year = _date(day).year
        for later in range(year, min(year + 9, _LAST_YEAR) + 1):  # 29 February may be eight years away
            for edge in self._edges(later):
                if edge > day and self._day_holds(edge) != held:
                    return edge
        return None

    def _edges(self, year: int) -> tuple[int, ...]:
        return _edges(year, self.months, self.season)


@cache
def _edges(year: int, months: frozenset[int] | None, season: tuple[str, str] | None) -> tuple[int, ...]:
    """The days of a year at which what is meant begins, ends, begins ..., its first day included if it is meant."""
    edges: list[int] = []
    start = date(year, 1, 1).toordinal()
    for ordinal in range(start, date(year, 12, 31).toordinal() + 1):
        if _meant(date.fromordinal(ordinal), months, season) != (len(edges) % 2 == 1):
            edges.append(ordinal - _EPOCH)
    return (*edges, date(year, 12, 31).toordinal() + 1 - _EPOCH) if len(edges) % 2 else tuple(edges)


def _meant(day: date, months: frozenset[int] | None, season: tuple[str, str] | None) -> bool:
    if months is not None and day.month not in months:
        return False
    if season is None:
        return True
    first, last = season
    text = f"{day:%m-%d}"
    return first <= text <= last if first <= last else text >= first or text <= last


def _date(day: int) -> date:
    """A day counted from 1970-01-01; those beyond the calendar count as its first or last."""
    return date.fromordinal(min(max(day + _EPOCH, 1), date.max.toordinal()))


@cache
def calendar(
    months: tuple[int, ...] | None, season: Season | None, hours: tuple[str, ...] | None, utc_offset: str
) -> Calendar | None:
    """The calendar of a rule; None if it says nothing of the kind."""
    if months is None and season is None and hours is None:
        return None
    sign = -1 if utc_offset[0] == "-" else 1
    return Calendar(
        east=sign * (int(utc_offset[1:3]) * 60 + int(utc_offset[4:6])) * _MINUTE,
        months=None if months is None else frozenset(months),
        season=None if season is None else (season.from_, season.to),
        hours=None if hours is None else _spans(hours),
    )


def _spans(hours: tuple[str, ...]) -> tuple[tuple[int, int], ...] | None:
    """Spans of the day, joined where they meet, cut at midnight; None if they are all of it."""
    pieces: list[tuple[int, int]] = []
    for text in hours:
        start, end = ((int(clock[:2]) * 60 + int(clock[3:])) * _MINUTE for clock in text.split("-"))
        pieces += [(start, end)] if start < end else [(start, DAY), (0, end)]
    joined: list[tuple[int, int]] = []
    for start, end in sorted(piece for piece in pieces if piece[0] < piece[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return None if joined == [(0, DAY)] else tuple(joined)
