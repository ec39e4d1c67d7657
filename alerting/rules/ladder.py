"""Levels at which something is raised, one or several: a ladder makes one alert that becomes more and less severe."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Final

from pydantic import Field, ValidationInfo, field_validator, model_validator

from alerting.model import Severity
from alerting.rules.base import BaseRule, Model, Title

#: What makes a ladder another one (``BaseRule.asks``).
LADDER: Final = ("metric", "direction", "raise_", "clear", "levels", "inclusive")

Level = Annotated[float, Field(allow_inf_nan=False)]


class Direction(StrEnum):
    ABOVE = "above"
    BELOW = "below"

    @property
    def sign(self) -> int:
        """+1 where greater is worse, -1 where less is."""
        return 1 if self is Direction.ABOVE else -1


class Rung(Model):
    """One level: how severe it is to reach it, and the value on its other side at which that is over.

    Without ``clear`` it is over as soon as ``raise`` is not reached. ``name`` is what people call it: "alarm II".
    """

    severity: Annotated[Severity, Field(strict=False)]
    raise_: Level = Field(alias="raise")
    clear: Level | None = None
    name: Title | None = None

    @property
    def over(self) -> float:
        """``clear``, or what stands for it."""
        return self.raise_ if self.clear is None else self.clear


def _misplaced(clear: float, level: float, direction: Direction) -> str | None:
    if direction.sign * clear < direction.sign * level:
        return None
    side = "below" if direction is Direction.ABOVE else "above"
    return f"clear {clear:g} must be {side} raise {level:g}"


class LadderRule(BaseRule):
    """A rule on a figure that has a level, ``raise`` and ``clear``, or several, ``levels``.

    Between the two values of a level nothing changes (hysteresis). Of several, each must be worse than the one before
    in all that it says; the severity of the rule is that of the first.
    """

    severity: Annotated[Severity, Field(strict=False)] = Severity.INFO  # of `levels`, if not said
    direction: Annotated[Direction, Field(strict=False)] = Direction.ABOVE
    raise_: Level | None = Field(default=None, alias="raise")
    clear: Level | None = None
    levels: Annotated[tuple[Rung, ...], Field(strict=False, min_length=1)] | None = None
    inclusive: bool = True  # a value equal to `raise` reaches it

    @field_validator("levels")
    @classmethod
    def _each_worse_than_the_one_before(
        cls, levels: tuple[Rung, ...] | None, info: ValidationInfo
    ) -> tuple[Rung, ...] | None:
        direction = info.data.get("direction", Direction.ABOVE)
        sign = direction.sign
        for number, rung in enumerate(levels or (), 1):
            if rung.clear is not None and (wrong := _misplaced(rung.clear, rung.raise_, direction)):
                raise ValueError(f"level {number}: {wrong}")
        for number, (less, more) in enumerate(pairwise(levels or ()), 2):
            if more.severity.rank <= less.severity.rank:
                raise ValueError(f"level {number}: {more.severity} must be more severe than {less.severity} before it")
            for key, low, high in (("raise", less.raise_, more.raise_), ("clear", less.over, more.over)):
                if sign * high <= sign * low:
                    side = "above" if direction is Direction.ABOVE else "below"
                    raise ValueError(f"level {number}: {key} {high:g} must be {side} {low:g}, that of the level before")
        return levels

    @model_validator(mode="after")
    def _one_level_or_several(self) -> LadderRule:
        said = "severity" in self.model_fields_set
        if self.levels is None:
            if not said:
                raise ValueError("'severity' is missing")
            if self.raise_ is None:
                raise ValueError("'raise' is missing")
            if self.clear is not None and (wrong := _misplaced(self.clear, self.raise_, self.direction)):
                raise ValueError(wrong)
        elif self.raise_ is not None or self.clear is not None:
            raise ValueError("raise and clear are for one level; levels say their own")
        elif said and self.severity != self.levels[0].severity:
            raise ValueError(f"severity {self.severity}: it is that of the first level, {self.levels[0].severity}")
        else:
            self.__dict__["severity"] = self.levels[0].severity  # still being made: not frozen yet
        return self

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The levels, least first."""
        if self.levels is not None:
            return self.levels
        return (Rung.model_validate({"severity": self.severity, "raise": self.raise_, "clear": self.clear}),)

    @property
    def sign(self) -> int:
        """+1 where greater is worse, -1 where less is."""
        return self.direction.sign
