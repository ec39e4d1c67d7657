"""What a rule may say: one model per kind of rule, as written in TOML.

A rule is data with a source: what it watches, when it is in force, how much it matters, and where the number comes
from. Everything is checked on loading (``alerting.pack``): unknown keys, metrics and zones are refused, so that a rule
which loads is a rule which can fire.
"""

from __future__ import annotations

from typing import Annotated, Final, get_args

from pydantic import Field, TypeAdapter

from alerting.rules.aqi import AqiRule
from alerting.rules.base import BEGINNING, END, BaseRule, Mode, duration, window
from alerting.rules.combined import CombinedRule, Join, closure, subject_of
from alerting.rules.devices import DeviceRule, NoDataRule, ThresholdRule, Waits
from alerting.rules.figures import RangeRule, RateRule, StuckRule, WindowRule
from alerting.rules.ladder import Direction, LadderRule, Rung
from alerting.rules.links import GatewaySilentRule, LinkRule, SourceAwayRule
from alerting.rules.scope import Scope, ScopedRule, Selection
from alerting.rules.vessels import DetectorRule, FeedSilentRule, GapRule
from alerting.rules.zones import AHEAD, Condition, Crossing, ZoneRule

__all__ = [
    "AHEAD",
    "BEGINNING",
    "END",
    "KINDS",
    "RULE",
    "AqiRule",
    "BaseRule",
    "CombinedRule",
    "Condition",
    "Crossing",
    "DetectorRule",
    "DeviceRule",
    "Direction",
    "FeedSilentRule",
    "GapRule",
    "GatewaySilentRule",
    "Join",
    "LadderRule",
    "LinkRule",
    "Mode",
    "NoDataRule",
    "RangeRule",
    "RateRule",
    "Rule",
    "Rung",
    "Scope",
    "ScopedRule",
    "Selection",
    "SourceAwayRule",
    "StuckRule",
    "ThresholdRule",
    "Waits",
    "WindowRule",
    "ZoneRule",
    "closure",
    "duration",
    "subject_of",
    "window",
]

Rule = (
    ThresholdRule
    | WindowRule
    | RateRule
    | StuckRule
    | RangeRule
    | AqiRule
    | NoDataRule
    | GatewaySilentRule
    | SourceAwayRule
    | ZoneRule
    | DetectorRule
    | CombinedRule
)

#: What ``kind`` may be.
KINDS: Final = tuple(sorted(rule.model_fields["kind"].annotation.__args__[0] for rule in get_args(Rule)))

#: Validates one rule from its TOML table.
RULE: Final[TypeAdapter[Rule]] = TypeAdapter(Annotated[Rule, Field(discriminator="kind")])
