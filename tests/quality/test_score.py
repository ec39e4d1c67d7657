"""Alerts are matched with what was expected, each at most once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quality.scenario import MINUTE, START, Expected, Told
from quality.score import Score, by_kind, score


def expected(rule: str = "gap", subject: str = "1", minute: int = 0, worst: str | None = None) -> Expected:
    return Expected(rule, subject, START + minute * MINUTE, 5 * MINUTE, worst)


def told(
    rule: str = "gap", subject: str = "1", minute: int = 0, worst: str = "major", *, retracted: bool = False
) -> Told:
    at = START + minute * MINUTE
    return Told(rule, subject, at, at + MINUTE, worst, retracted)


def test_of_two_alerts_for_one_event_one_is_false() -> None:
    found = score([expected()], [told(), told(minute=2)])
    assert (found.hits, len(found.false), len(found.missed)) == (1, 1, 0)
    assert (found.precision, found.recall, found.delay_s) == (0.5, 1.0, 60.0)


def test_an_alert_of_another_rule_subject_time_or_severity_is_no_hit() -> None:
    others = [told("jump"), told(subject="2"), told(minute=6), told(worst="info")]
    found = score([expected(worst="major")], others)
    assert (found.hits, len(found.false), len(found.missed)) == (0, 4, 1)
    assert (found.precision, found.recall, found.delay_s) == (0.0, 0.0, None)


def test_a_retracted_alert_is_neither_hit_nor_false() -> None:
    found = score([expected()], [told(retracted=True)])
    assert (found.hits, found.false, len(found.missed)) == (0, [], 1)


def test_nothing_expected_and_nothing_told_is_as_good_as_can_be() -> None:
    assert by_kind([], []) == {"ordinary": Score()}
    assert (Score().precision, Score().recall) == (1.0, 1.0)


def test_conditions_of_one_kind_are_scored_together() -> None:
    found = by_kind([expected("zone-left"), expected("gap")], [told("zone-entered"), told("zone-left")])
    assert {kind: (one.hits, len(one.false), len(one.missed)) for kind, one in found.items()} == {
        "gap": (0, 0, 1),
        "zone": (1, 1, 0),
    }


_SUBJECTS = st.sampled_from(["1", "2"])


@given(
    st.lists(st.builds(expected, subject=_SUBJECTS, minute=st.integers(0, 40))),
    st.lists(st.builds(told, subject=_SUBJECTS, minute=st.integers(0, 40), retracted=st.booleans())),
)
def test_every_alert_and_every_expectation_is_accounted_for(wanted: list[Expected], alerts: list[Told]) -> None:
    found = score(wanted, alerts)
    assert found.hits + len(found.missed) == len(wanted)
    assert found.hits + len(found.false) == sum(not alert.retracted for alert in alerts)
    assert len(found.delays_s) == found.hits
