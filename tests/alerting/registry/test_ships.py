"""What ships said they are survives a flood of made-up ones."""

from __future__ import annotations

from alerting.registry.ships import ShipTypes

MINUTE = 60_000_000


def test_the_newest_report_counts() -> None:
    ships = ShipTypes(10)
    assert ships.get(1) is None
    ships.learn(1, -5, 30)
    assert ships.get(1) == (-5, 30)
    ships.learn(1, 2 * MINUTE, 0)
    assert ships.get(1) == (2 * MINUTE, 0)


def test_a_flood_forgets_what_was_said_once_and_keeps_what_was_said_again() -> None:
    ships = ShipTypes(1_000)
    ships.learn(1, 0, 30)
    ships.learn(1, 6 * MINUTE, 30)
    ships.learn(2, 0, 70, settled=True)
    for number in range(10, 100_000):
        ships.learn(number, 7 * MINUTE, 30)
        assert len(ships) <= 1_000
    assert ships.get(1) == (6 * MINUTE, 30)
    assert ships.get(2) == (0, 70)
    assert ships.get(99_999) is not None
    assert ships.get(10) is None


def test_among_those_that_said_so_again_the_longest_unheard_goes() -> None:
    ships = ShipTypes(2)
    for number in (1, 2, 3):
        ships.learn(number, 0, 30, settled=True)
        ships.learn(1, number * MINUTE, 30)
    assert [ships.get(number) is not None for number in (1, 2, 3)] == [True, False, True]
