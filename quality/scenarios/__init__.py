"""The scenarios, one file for each family of rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quality.scenarios import combined, ordinary, sensors, vessels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quality.scenario import Scenario


def scenarios(seed: int) -> Sequence[Scenario]:
    """All of them, clean ones and noisy ones; the seed decides about noise, loss and who else is about."""
    return [*sensors.scenarios(seed), *vessels.scenarios(seed), *combined.scenarios(seed), *ordinary.scenarios(seed)]
