"""What is kept of readings, and what is seen of it.

A *meter* keeps what one or more rules measure, in columns with one *place* for each device and metric that any of them
watches: rules that differ in their levels, severities or times share a meter. A *gauge* is one way of reading a meter,
and holds what it shows against the levels of its rules; as long as that stays within the *calm* of a place
(``alerting.judging.levels``), nobody looks at it rule by rule.

What a meter keeps is made of the readings that are news, and of nothing else: they are in the database, so that most of
it need not be kept there a second time. After a restart a meter is given the readings from ``since`` on again:

* one that looks back no more than ``REACH`` all that it looks back on;
* one that *lasts* those of the *cell* under way, an hour of event time. What it was as the cell began is told
  (``snapshot``) with the first reading of each cell, from the state before that reading. Cells of different devices
  begin at different minutes, so that not all of them tell at once.

Which readings are news among those taken at or after some instant does not hang on any taken before it
(``alerting.judging.series``), so a meter that is given these again is, bit for bit, as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from alerting.judging.series import NEVER, grown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from alerting.judging.ladder import Standing

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

HOUR: Final = 3_600_000_000
#: A meter that looks back no farther than this, microseconds of event time, keeps nothing in the database.
REACH: Final = 2 * HOUR
#: As a calm: the next figure is to be looked at, whatever it is.
UNLOOKED: Final = -(2.0**62)


class Figure(NamedTuple):
    """What a gauge shows of one device, as it is told."""

    level: float  # what is compared
    value: float  # what is told
    time: int  # event time from which it holds
    since: int  # event time at which an episode that begins now began
    said: Mapping[str, Any] = {}  # JSON-ready


class Shown(NamedTuple):
    """What a gauge shows at several places. Where ``there`` is False nothing is to be judged now; None: everywhere."""

    level: Floats
    value: Floats
    there: Flags | None = None


def offset(device: Ints) -> Ints:
    """How much earlier than the hour the cells of devices begin, microseconds."""
    return device % HOUR


class Meter(Protocol):
    """Columns by place. At most one reading of each place is taken at a time."""

    key: str  # what is kept, and how: equal keys keep the same
    lasting: bool

    def reserve(self, size: int) -> None:
        """Have room for so many places."""

    def since(self, last: Ints, begins: Ints) -> Ints:
        """From which event times on readings must be given again.

        Args:
            last: event times of the newest reading of some places.
            begins: and when the cells that these fall into began.
        """

    def take(self, at: Ints, time: Ints, value: Floats) -> None:
        """Take readings, all of different places."""

    def snapshot(self, at: int) -> dict[str, Any]:
        """What is kept at a place, JSON-ready."""

    def load(self, at: int, state: Mapping[str, Any]) -> None:
        """Be at a new place as ``snapshot`` said."""


class Gauge(Protocol):
    """One way of reading a meter, for rules that see it the same way."""

    @property
    def meter(self) -> Meter:
        """What it reads."""

    @property
    def watch(self) -> Watch:
        """What has been made of it."""

    def show(self, at: Ints, time: Ints, value: Floats) -> Shown:
        """What is seen of readings just taken."""

    def figure(self, at: int, level: float, value: float, time: int) -> Figure:
        """The same of one, as it is told."""


class Watch:
    """What the rules of a gauge have made of it, by place of its meter."""

    def __init__(self, waits: int = 0) -> None:
        self.waits = waits  # how long a device must have been heard before it is judged, microseconds
        self.calm = np.zeros((0, 3), np.float64)  # low, high, until; see ``alerting.judging.levels``
        self.plan = np.zeros(0, np.int32)  # of the rules that watch the place; -1: none
        self.standing: dict[int, dict[int, Standing]] = {}  # place -> rule -> alert

    def reserve(self, size: int) -> None:
        known = len(self.calm)
        self.calm = grown(self.calm, size, 0.0)
        self.calm[known:] = (-np.inf, np.inf, np.inf)  # nobody watches
        self.plan = grown(self.plan, size, -1)

    def open(self, at: Ints, plan: int) -> None:
        """Let places be watched by the rules of a plan."""
        self.plan[at] = plan
        self.calm[at] = UNLOOKED

    def restless(self, at: Ints, time: Ints, shown: Shown) -> Ints:
        """Where somebody has to look."""
        calm = self.calm.take(at, axis=0)
        out = (shown.level <= calm[:, 0]) | (shown.level >= calm[:, 1])
        if shown.there is not None:
            out &= shown.there
        out |= time >= calm[:, 2]
        return np.flatnonzero(out)


class Cells:
    """When the places of a lasting meter tell what they keep."""

    def __init__(self) -> None:
        self._offset = np.zeros(0, np.int64)
        self._until = np.zeros(0, np.int64)  # the end of the cell under way; NEVER before the first reading

    def reserve(self, size: int) -> None:
        self._offset = grown(self._offset, size, 0)
        self._until = grown(self._until, size, NEVER)

    def open(self, at: Ints, offsets: Ints, last: Ints) -> None:
        """New places, with the times of their newest readings, ``NEVER`` where there is none."""
        self._offset[at] = offsets
        self._until[at] = np.where(last > NEVER, begins(last, offsets) + HOUR, NEVER)

    def roll(self, at: Ints, time: Ints) -> Ints:
        """Go on to the cells that readings open; which of them are not the first of their places."""
        until = self._until[at]
        opening = np.flatnonzero(time >= until)
        if not len(opening):
            return opening
        at, time = at[opening], time[opening]
        self._until[at] = begins(time, self._offset[at]) + HOUR
        return opening[until[opening] > NEVER]

    def begin(self, at: int) -> int:
        """When the cell under way at a place began."""
        return int(self._until[at]) - HOUR


def begins(time: Ints, offsets: Ints) -> Ints:
    """When the cells began that event times fall into, for devices with such offsets."""
    found: Ints = (time + offsets) // HOUR * HOUR - offsets
    return found
