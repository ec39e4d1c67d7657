"""What a detector takes for granted can be said by its rule, and makes a difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.alerting.vessels.streams import HOUR, START, Row, rule, run

if TYPE_CHECKING:
    from alerting.rules import Rule

ONE, OTHER = 574_000_001, 574_000_002
END = START + 40 * HOUR


def at(hours: float, ship: int = ONE, lon: float = 108.0, **more: Any) -> Row:
    time = START + round(hours * HOUR)
    return Row("position", time, time, ship, lon, 16.5, **more)


def told(rows: list[Row], made: Rule) -> list[str]:
    found = run(sorted(rows, key=lambda row: row.received), [made], END).transitions
    return [t.event.value for t in found]


TOGETHER = [at(2 * n, ship, sog=0.5) for n in range(6) for ship in (ONE, OTHER)]


@pytest.mark.parametrize(("longest", "expected"), [("12h", ["firing", "resolved"]), ("1h", [])])
def test_how_long_a_stretch_may_be(longest: str, expected: list[str]) -> None:
    assert told(TOGETHER, rule(id="met", kind="encounter", longest_stretch=longest)) == expected


#: 5 km and back within minutes, again and again: 30 kn.
HASTE = [at(n / 12, lon=108.0 + 0.04 * (n % 2), sog=0.5) for n in range(80)]


@pytest.mark.parametrize(("more", "ties"), [({}, True), ({"believable_speed": 20.0}, False)])
def test_how_fast_a_vessel_can_be(more: dict[str, Any], ties: bool) -> None:
    made = rule(id="idle", kind="loitering", **{"for": "1h", "max_speed": 40.0}, **more)
    assert ("firing" in told(HASTE, made)) is ties


@pytest.mark.parametrize(("over_after", "expected"), [("6h", []), ("30m", ["firing", "resolved"])])
def test_how_long_two_under_one_identity_are_not_told_as_a_jump(over_after: str, expected: list[str]) -> None:
    both = [at(0), at(1 / 60, lon=109.0), at(2 / 60, lon=109.0), at(3 / 60)]
    one = [at(n / 6, lon=109.0 if n < 12 else 111.0) for n in range(1, 19)]
    made = rule(id="jump", kind="jump", over_after=over_after)
    assert told([*both, *one], made) == expected


def test_rules_that_learn_otherwise_learn_apart_and_go_on_with_it_after_a_restart() -> None:
    sailing = [at(n / 6, lon=108.0 + n % 2 / 50, sog=0.5) for n in range(24)]
    rules = [
        rule(id="usual", kind="gap", after="2h", known_for="0s"),
        rule(id="same", kind="gap", after="2h", known_for="0s", coverage={"interval": "10m"}),
        rule(id="careful", kind="gap", after="2h", known_for="0s", coverage={"enough": 1000}),
    ]
    for restart in (False, True):
        found = run(sailing, rules, END, cuts=[(12, 0.5)], restart=restart).transitions
        chances = {t.rule_id: t.details["probability_heard"] for t in found}
        assert chances["usual"] == chances["same"] > 0.9
        assert chances["careful"] is None


def test_numbers_that_make_no_sense_are_refused() -> None:
    for kind, more in (
        ("encounter", {"longest_stretch": "0s"}),
        ("loitering", {"believable_speed": 0.0}),
        ("gap", {"coverage": {"enough": 0}}),
        ("gap", {"coverage": {"intervall": "10m"}}),
    ):
        with pytest.raises(ValueError, match=next(iter(more))):
            rule(id="x", kind=kind, **more)
