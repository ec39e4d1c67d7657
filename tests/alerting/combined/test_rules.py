"""What a combined rule may say; whatever else it says is refused with file, line and reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alerting import pack
from alerting.rules import CombinedRule, Join, closure, subject_of

if TYPE_CHECKING:
    from pathlib import Path

WIND = """
[[rule]]
id = "wind"
kind = "threshold"
mode = "condition"
title = { en = "Wind", vi = "Gió" }
severity = "info"
metric = "wind_speed"
unit = "m/s"
raise = 10.8
source = "s"
"""
BOAT = """
[[rule]]
id = "boat"
kind = "gap"
title = { en = "Boat", vi = "Tàu" }
severity = "info"
source = "s"
"""
FEED = """
[[rule]]
id = "feed"
kind = "feed_silent"
title = { en = "Feed", vi = "Nguồn" }
severity = "info"
source = "s"
"""
RULE = """
[[rule]]
id = "both"
kind = "combined"
title = { en = "Both", vi = "Cả hai" }
severity = "major"
about = "wind"
within_m = 20000
when = { all = [{ rule = "wind" }, { rule = "boat", at_least = 3 }] }
source = "s"
"""


def problems(folder: Path, text: str) -> list[str]:
    """With the rule first and what it speaks of in files after it."""
    (folder / "a.toml").write_text(text)
    (folder / "b.toml").write_text(WIND + BOAT)
    (folder / "c.toml").write_text(FEED)
    try:
        pack.load([folder])
    except pack.PackError as exc:
        return [problem.removeprefix(f"{folder}/") for problem in exc.problems]
    return []


def test_it_may_speak_of_rules_of_other_files_that_come_later(tmp_path: Path) -> None:
    assert problems(tmp_path, RULE) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ('rule = "boat"', 'rule = "ship"', 9, "unknown rule 'ship'"),
        ('about = "wind"', 'about = "gale"', 7, "unknown rule 'gale'"),
        ('about = "wind"', 'about = "feed"', 7, "'feed' is none of the conditions"),
        ("{ all = [", "{ any = [", 7, "it must not hold without 'wind': make that one of `all`"),
        ('{ rule = "wind" },', '{ not = { rule = "wind" } },', 7, "it must not hold without 'wind'"),
        ("within_m = 20000\n", "", 9, "say join"),
        ("within_m = 20000", 'within_m = "far"', 8, "within_m: Input should be a valid number"),
        ("at_least = 3", 'join = "any"', 8, "no condition is joined by that distance"),
        ("at_least = 3", 'join = "same"', 9, "boat is about a transponder, and cannot be the same as a device"),
        ("at_least = 3", 'join = "any", within_m = 5', 9, "within_m is for what is near, and join is any"),
        ("at_least = 3", "at_least = 0", 9, "Input should be greater than or equal to 1"),
        ("at_least = 3", "at_most = 3", 9, "unknown key 'when.all.1.at_most'"),
        ('{ rule = "wind" },', '{ rule = "wind", at_least = 2 },', 9, "wind: at_least 2 of the same one"),
        ('{ rule = "wind" },', '{ rule = "wind", any = [] },', 9, "at least 1 item"),
        ('{ rule = "wind" },', '{ rule = "wind", not = { rule = "boat" } },', 9, "here rule and not"),
        ('{ rule = "wind" },', "{},", 9, "here none"),
        (
            '{ rule = "wind" },',
            '{ rule = "wind" }, { at_least = 2, not = { rule = "boat" } },',
            9,
            "only beside a rule",
        ),
        ('{ rule = "wind" },', '{ rule = "wind" }, { rule = "both" },', 9, "it speaks of itself, by way of both"),
        ('{ rule = "wind" },', '{ rule = "wind" }, { rule = "feed", join = "near" },', 9, "a source is nowhere"),
        (
            '{ rule = "wind" },',
            '{ rule = "wind" }, ' + "{ not = " * 8 + '{ rule = "boat" }' + " }" * 8 + ",",
            9,
            "10 deep",
        ),
        ('source = "s"', 'levels = [{ at_least = 5, severity = "info" }]\nsource = "s"', 10, "must be more severe"),
        (
            'source = "s"',
            'levels = [{ at_least = 5, severity = "major" }]\nsource = "s"',
            10,
            "each must be more severe than the one before, and the first than the rule",
        ),
        ('rule = "boat", at_least = 3', 'rule = "wind"', 8, "no condition is joined by that distance"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_reason(
    tmp_path: Path, old: str, new: str, line: int, reason: str
) -> None:
    assert old in RULE
    told = problems(tmp_path, RULE.replace(old, new))
    if reason == "say join":  # any vessel counts, then
        assert told == []
        return
    assert any(one.startswith(f"a.toml:{line}: rule 'both': ") and reason in one for one in told), told


def test_a_rule_without_members_cannot_rise_with_them(tmp_path: Path) -> None:
    text = RULE.replace(', { rule = "boat", at_least = 3 }', "").replace("within_m = 20000\n", "")
    assert problems(tmp_path, text) == []
    told = problems(tmp_path, text + 'levels = [{ at_least = 5, severity = "critical" }]\n')
    assert told == ["a.toml:10: rule 'both': no condition has members to count"]


def test_what_is_near_wants_a_distance(tmp_path: Path) -> None:
    text = RULE.replace("within_m = 20000\n", "").replace("at_least = 3", 'join = "near"')
    assert problems(tmp_path, text) == ["a.toml:8: rule 'both': boat: within_m is missing: how near?"]


def test_a_rule_that_is_not_enabled_cannot_be_a_condition(tmp_path: Path) -> None:
    told = problems(tmp_path, RULE.replace("boat", "boot") + BOAT.replace("boat", "boot") + "enabled = false\n")
    assert told == ["a.toml:9: rule 'both': rule 'boot' is not enabled"]


def test_rules_that_speak_of_each_other_are_refused_each_at_its_place(tmp_path: Path) -> None:
    other = RULE.replace('id = "both"', 'id = "other"').replace('rule = "boat"', 'rule = "both"')
    third = RULE.replace('id = "both"', 'id = "third"').replace('rule = "boat"', 'rule = "both"')
    first = RULE.replace('rule = "boat"', 'rule = "other"')
    told = problems(tmp_path, first + other + third)
    assert told == [
        "a.toml:9: rule 'both': it speaks of itself, by way of other > both",
        "a.toml:19: rule 'other': it speaks of itself, by way of both > other",
    ]


def test_a_condition_that_is_refused_itself_is_told_of_once(tmp_path: Path) -> None:
    bad = BOAT.replace('"boat"', '"boot"').replace('"gap"', '"gape"')
    (told,) = problems(tmp_path, RULE.replace("boat", "boot") + bad)
    assert told.startswith("a.toml:14: rule 'boot': unknown kind 'gape'")


def test_how_conditions_are_joined_if_they_do_not_say(tmp_path: Path) -> None:
    text = RULE.replace(", at_least = 3", "").replace(
        "] }", ', { rule = "feed" }, { not = { rule = "wind", within_m = 5 } }] }'
    )
    vessel = text.replace('id = "both"', 'id = "vessel"').replace('about = "wind"', 'about = "boat"')
    assert problems(tmp_path, text + vessel) == []
    book = pack.load([tmp_path])
    rules = {rule.id: rule for rule in book.rules}
    found = {}
    for name in ("both", "vessel"):
        rule = rules[name]
        assert isinstance(rule, CombinedRule)
        about = subject_of(rule.about, rules)
        found[name] = [rule.join(leaf, about, subject_of(leaf.rule or "", rules)) for leaf, _ in rule.when.leaves()]
    assert found == {
        "both": [Join.SAME, Join.NEAR, Join.ANY, Join.NEAR],
        "vessel": [Join.NEAR, Join.SAME, Join.ANY, Join.NEAR],
    }
    assert closure(rules["both"], rules) == ["wind", "boat", "feed", "both"]
