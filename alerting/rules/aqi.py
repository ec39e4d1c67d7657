"""Rules on VN_AQI, the air quality index."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from alerting import vn_aqi
from alerting.rules.devices import OnDevices
from alerting.rules.ladder import LADDER, LadderRule, Level, Rung
from alerting.rules.reachable import between, levels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from alerting.rules.base import Fault
    from decoders.catalogue import Metric
    from geofence.zones import Zone

#: The only unit that the index is made of.
_UNIT = "µg/m³"
Band = Literal["moderate", "poor", "bad", "very_bad", "hazardous"]


class Period(StrEnum):
    HOUR = "hour"
    DAY = "day"


class AqiRung(Rung):
    """A level of the index: a ``band``, reached where it begins, or ``raise``."""

    raise_: Level = Field(default=-1, alias="raise")
    band: Band | None = None

    @model_validator(mode="after")
    def _band_or_raise(self) -> AqiRung:
        if (self.band is None) == ("raise_" not in self.model_fields_set):
            raise ValueError("a level says either raise or band")
        if self.band is not None:
            # Still being made: not frozen yet.
            self.__dict__["raise_"] = float(next(b.low for b in vn_aqi.BANDS if b.id == self.band))
        return self


class AqiRule(LadderRule, OnDevices):
    """The index of each device that measures particles, by Decision 1459/QĐ-TCMT (``alerting.vn_aqi``).

    Of the hour, or of the day, that is over at the rule's offset from UTC: it is judged when the device first tells of
    a later one. An hour counts for a metric with ``min_samples`` readings in it.
    """

    asking: ClassVar[tuple[str, ...]] = (*LADDER, "period")

    kind: Literal["vn_aqi"]
    period: Annotated[Period, Field(strict=False)] = Period.HOUR
    levels: Annotated[tuple[AqiRung, ...], Field(strict=False, min_length=1)] | None = None
    min_samples: Annotated[int, Field(ge=1, le=3600)] = 1

    @property
    def watched(self) -> tuple[str, ...]:
        return vn_aqi.METRICS

    def never(self) -> Iterator[Fault]:
        yield from super().never()
        if self.valid_to is not None and self.valid_to < vn_aqi.VALID_FROM:
            yield ("valid_to",), f"the index is from {vn_aqi.VALID_FROM} on: {vn_aqi.SOURCE}"

    def faults(self, metrics: Mapping[str, Metric], zones: Mapping[str, Zone]) -> list[Fault]:
        return (
            super().faults(metrics, zones)
            + [
                (("kind",), f"the index wants {name} in {_UNIT}")
                for name in self.watched
                if name not in metrics or metrics[name].unit != _UNIT
            ]
            + list(levels(self, between("VN_AQI", vn_aqi.INDEX[0], vn_aqi.INDEX[-1], "1")))
        )
