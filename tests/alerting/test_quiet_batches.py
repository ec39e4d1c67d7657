"""A batch is as much work as there are rows in it, however many vessels something is held of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.vessels.fixes import among
from geofence.zones import Zone
from tests.alerting.test_engine import MINUTE, SQUARE, T0, positions, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = {574_100_000 + n: None for n in range(1000)}
RULES = [
    rule(id="crossed", kind="zone", condition="crossed", zones=["core"]),
    rule(id="slow", kind="zone", condition="speed", zones=["core"], max_sog=2.0),
    rule(id="jump", kind="jump"),
    rule(id="clash", kind="identity_clash"),
    rule(id="distress", kind="distress"),
    rule(id="gap", kind="gap", after="3h", known_for="0s"),
    rule(id="port", kind="port_visit", ports=["core"]),
]


class Walked(dict[Any, Any]):
    """A dictionary that says how often somebody has gone through all of it."""

    walks = 0

    def __iter__(self) -> Iterator[Any]:
        self.walks += 1
        return super().__iter__()

    def keys(self) -> Any:
        self.walks += 1
        return super().keys()

    def items(self) -> Any:
        self.walks += 1
        return super().items()

    def values(self) -> Any:
        self.walks += 1
        return super().values()


def test_what_is_held_of_others_is_not_gone_through_for_each_row() -> None:
    port = Zone("port", "P", "P", "port", SQUARE.geometry)
    engine = Engine(RULES, [SQUARE, port])
    engine.judge(positions((0, 106.0, 16.05)), T0)
    walked: dict[str, Walked] = {}

    def put(name: str, owner: Any, attribute: str, entries: dict[Any, Any]) -> None:
        walked[name] = Walked(entries)
        setattr(owner, attribute, walked[name])

    fences, detectors = engine._fences, engine._vessels._detectors
    put("expiring", fences._holdings, "_expiring", {(name, "crossed", "core"): T0 for name in MANY})
    put("watched", fences._attention, "_since", dict.fromkeys(MANY, T0))
    put("gaps", engine._vessels._gaps, "_episodes", MANY)
    put("unmatched", engine._vessels._gaps, "_unmatched", MANY)
    for name in ("jump", "clash", "distress"):
        put(f"{name} alerts", detectors[name], "_alerts", MANY)
    for name in ("jump", "clash"):
        put(f"{name} parted", detectors[name], "_parted", MANY)
    put("visits", detectors["port"], "_open", MANY)
    for minute in range(1, 4):
        engine.judge(positions((minute, 106.0 + minute / 1000, 16.05)), T0 + minute * MINUTE)
    assert {name: one.walks for name, one in walked.items() if one.walks} == {}


@given(st.lists(st.integers(0, 9), max_size=6), st.sets(st.integers(0, 12), max_size=9))
def test_who_is_among_a_group_does_not_hang_on_which_is_larger(names: list[int], group: set[int]) -> None:
    found = among(np.array(names, np.int64), group)
    assert found.tolist() == [name in group for name in names]
    assert among(np.array(names, np.int64), dict.fromkeys(group)).tolist() == found.tolist()
