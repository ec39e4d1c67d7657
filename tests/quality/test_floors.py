"""Each planted event raises exactly one alert, ordinary vessels and stations none: end to end, on a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quality.__main__ import FLOORS
from quality.run import run
from quality.scenarios import scenarios

if TYPE_CHECKING:
    from pathlib import Path

    from quality.scenario import Scenario

#: Each with another seed than the one before it.
SCENARIOS = [three[number % 3] for number, three in enumerate(zip(*map(scenarios, (1, 2, 3)), strict=True))]


@pytest.mark.parametrize("scenario", [pytest.param(one, id=one.name) for one in SCENARIOS])
def test_a_scenario_raises_what_it_should_and_nothing_else(scenario: Scenario, migrated: str, tmp_path: Path) -> None:
    floor = FLOORS[scenario.noisy]
    found = run(scenario, migrated, tmp_path)
    for kind, score in found.items():
        assert score.precision >= floor, (kind, score.false)
        assert score.recall >= floor, (kind, score.missed)
    assert sum(score.hits for score in found.values()) == len(scenario.expected)
