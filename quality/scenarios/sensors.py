"""Sensors: floods, bad air, a river that rises fast, and stations that are silent, stuck or implausible."""

from __future__ import annotations

import json
import math
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from quality.scenario import HOUR, MINUTE, SECOND, START, Expected, Scenario, heartbeat, together
from simulators.events import Publish, iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simulators.events import Event

    Curve = Callable[[float], float | None]  # hours since the start -> the true value; None: says nothing

_DAY: Final = 24.0


def series(
    device: str,
    metric: str,
    curve: Curve,
    hours: float,
    *,
    every_min: float = 10.0,
    sigma: float = 0.0,
    decimals: int = 3,
    seed: int | None = None,
    outage_h: tuple[float, float] | None = None,
) -> Iterator[Event]:
    """One metric of ``gateway/device`` on the wire.

    With a seed it is noisy: one message in twenty comes twice, one in a hundred a quarter of an hour late. In an
    ``outage_h`` the gateway keeps what it measures, and sends all of it at the end of it.
    """
    gateway, name = device.split("/")
    rng = Random(f"{seed}/{device}/{metric}")  # noqa: S311  # simulation, not secrets
    sent: list[Publish] = []
    for n in range(int(hours * 60 / every_min)):
        at = n * every_min / 60
        true = curve(at)
        if true is None:
            continue
        value = round(true + (rng.gauss(0.0, sigma) if sigma else 0.0), decimals)
        time = START + round(at * HOUR)
        body = json.dumps({"time": iso(time), "readings": {metric: value}}).encode()
        goes = time
        if outage_h is not None and outage_h[0] <= at < outage_h[1]:
            goes = START + round(outage_h[1] * HOUR) + len(sent)
        elif seed is not None and rng.random() < 0.01:
            goes += 15 * MINUTE
        sent.append(Publish(goes, gateway, f"haidang/v1/{gateway}/{name}/readings", body))
        if seed is not None and rng.random() < 0.05:
            sent.append(Publish(goes + 3 * SECOND, gateway, sent[-1].topic, body))
    return iter(sorted(sent, key=lambda publish: publish.time))


def flood(hours: float, crest: float, base: float = 0.3) -> float:
    """Up within ten hours of the third, and down again in a day."""
    since = hours - 3.0
    return base + (crest - base) * (max(0.0, since) / 10.0 * math.exp(1.0 - max(0.0, since) / 10.0))


def crossing(curve: Callable[[float], float], level: float) -> int:
    """When a curve first reaches a level, microseconds."""
    minute = next(m for m in range(100_000) if curve(m / 60) >= level)
    return START + minute * MINUTE


def day_mean_from(curve: Curve, level: float) -> int:
    """When the mean of the 24 hours before is first above a level, a value each 10 minutes."""
    values = [value for n in range(1_000) if (value := curve(n / 6)) is not None]
    first = next(n for n in range(108, 1_000) if sum(values[max(0, n - 143) : n + 1]) / min(n + 1, 144) > level)
    return START + first * 10 * MINUTE


def _smog(hours: float) -> float:
    return 20.0 if hours < 30.0 else 85.0 if hours < 60.0 else 15.0


def _silent(hours: float) -> float | None:
    return None if 20.0 <= hours < 23.0 else 0.4


def _stuck(hours: float) -> float:
    return 21.0 if 12.0 <= hours < 24.0 else 20.0 + 0.9 * math.sin(hours) + 0.01 * hours


def _spike(hours: float) -> float:
    return 8.3 if 10.0 <= hours < 11.0 else 0.6


def _surge(hours: float) -> float:
    return 0.5 + max(0.0, min(3.0, 1.5 * (hours - 6.0)))


def scenarios(seed: int) -> Sequence[Scenario]:
    """Each clean, and each with the errors of sensors, messages twice and late."""
    out = []
    for noisy in (False, True):
        of = seed if noisy else None
        s = 1.0 if noisy else 0.0
        suffix = "-noisy" if noisy else ""
        give = 30 * MINUTE if noisy else 11 * MINUTE
        crest = partial(flood, crest=2.4)

        def add(
            name: str,
            events: Callable[[], Iterator[Event]],
            *expected: Expected,
            noisy: bool = noisy,
            suffix: str = suffix,
        ) -> None:
            out.append(Scenario(name + suffix, noisy, events, expected))

        outage = (8.0, 8.2) if noisy else None
        add(
            "flood",
            partial(
                _beside_clock,
                72,
                partial(series, "gw-1/kim-long", "water_level", crest, 72, sigma=0.02 * s, seed=of, outage_h=outage),
            ),
            Expected("threshold", "gw-1/kim-long", crossing(crest, 1.0), give, "major"),
        )
        add(
            "smog",
            partial(
                _beside_clock, 96, partial(series, "gw-1/air-1", "pm2_5", _smog, 96, sigma=3.0 * s, decimals=1, seed=of)
            ),
            Expected("window", "gw-1/air-1", day_mean_from(_smog, 45.0), 90 * MINUTE),
            # Hourly NowCast of a step from 20 to 85 is above 80 (band "bad" from 150) within hours.
            Expected("vn_aqi", "gw-1/air-1", START + 31 * HOUR, 3 * HOUR),
        )
        add(
            "surge",
            partial(
                _beside_clock, 24, partial(series, "gw-1/ta-trach", "water_level", _surge, 24, sigma=0.01 * s, seed=of)
            ),
            Expected("rate", "gw-1/ta-trach", START + 6 * HOUR, 2 * HOUR),
        )
        add(
            "silent-gauge",
            partial(
                _beside_clock, 30, partial(series, "gw-1/kim-long", "water_level", _silent, 30, sigma=0.01 * s, seed=of)
            ),
            Expected("no_data", "gw-1/kim-long", START + 20 * HOUR, 11 * MINUTE),
        )
        add(
            "stuck-probe",
            partial(_beside_clock, 30, partial(series, "gw-2/lagoon-1", "salinity", _stuck_with(noisy), 30, seed=of)),
            Expected("stuck", "gw-2/lagoon-1", START + 12 * HOUR, 31 * MINUTE),
        )
        add(
            "implausible-gauge",
            partial(
                _beside_clock, 20, partial(series, "gw-1/phu-oc", "water_level", _spike, 20, sigma=0.005 * s, seed=of)
            ),
            Expected("range", "gw-1/phu-oc", START + 10 * HOUR, 11 * MINUTE),
        )
    return out


def _beside_clock(hours: float, events: Callable[[], Iterator[Event]]) -> Iterator[Event]:
    return together(events(), heartbeat(hours * 3600))


def _stuck_with(noisy: bool) -> Curve:
    """A probe that is stuck says exactly the same, however noisy it was before."""
    rng = Random(17)  # noqa: S311  # simulation, not secrets

    def curve(hours: float) -> float:
        value = _stuck(hours)
        return value + rng.gauss(0.0, 0.05) if noisy and value != 21.0 else value

    return curve
