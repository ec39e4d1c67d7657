"""Policies of the desk stand beside rules, and are refused with file, line and reason."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting import pack
from alerting.channels.settings import ALERTMANAGER_EVENTS, LogSettings
from alerting.desk.book import NO_POLICIES, TABLES, Inhibition, Procedure
from alerting.desk.matching import matches, may_meet
from alerting.desk.notify import ChannelSpec
from alerting.model import Event

POLICIES = """\
[[inhibit]]
id = "dead-gateway"
when = { rule = "gateway-*" }
mutes = { kind = ["no_data", "stuck"] }
same = ["gateway"]

[[procedure]]
id = "lost"
match = { kind = "gap", severity = ["major", "critical"] }
repeat = "4h"
[[procedure.steps]]
after = "30m"
unless = ["acknowledged"]
who = { en = "owner", vi = "chủ tàu" }

[[procedure.steps]]
after = "1d"
channels = ["border-guard"]
"""


def test_policies_are_read_beside_rules(tmp_path: Path) -> None:
    (tmp_path / "desk.toml").write_text(POLICIES)
    desk = pack.load([tmp_path]).desk
    [inhibit], [procedure] = desk.inhibit, desk.procedure
    assert isinstance(inhibit, Inhibition)
    assert (inhibit.when, inhibit.mutes, inhibit.same) == (
        {"rule": ("gateway-*",)},
        {"kind": ("no_data", "stuck")},
        ("gateway",),
    )
    assert isinstance(procedure, Procedure)
    assert [step.after // 60_000_000 for step in procedure.steps] == [30, 1440]
    assert procedure.body["repeat"] == 4 * 3_600_000_000
    assert procedure.body["steps"][0] == {
        "after": 1_800_000_000,
        "unless": ["acknowledged"],
        "who": {"en": "owner", "vi": "chủ tàu"},
        "channels": [],
        "say": None,
    }
    assert list(desk) == [inhibit, procedure]
    assert pack.load([]).desk == NO_POLICIES


def test_the_policies_on_the_page_about_alerts_can_be_read_and_there_is_one_of_each(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "alerts.md"
    examples = re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "desk.toml").write_text("\n".join(examples))
    assert {one.kind for one in pack.load([tmp_path]).desk} == set(TABLES)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('same = ["gateway"]', 'same = ["colour"]', "desk.toml:5: inhibit dead-gateway: same.0: "),
        ("mutes =", "mute =", "desk.toml:4: inhibit dead-gateway: unknown key 'mute'"),
        ("mutes =", "mute =", "desk.toml:1: inhibit dead-gateway: 'mutes' is missing"),
        ('{ rule = "gateway-*" }', "{}", "desk.toml:3: inhibit dead-gateway: when: "),
        (
            '{ rule = "gateway-*" }',
            '{ hue = "red" }',
            "desk.toml:3: inhibit dead-gateway: when: unknown label hue",
        ),
        ('after = "30m"', 'after = "soon"', "desk.toml:12: procedure lost: steps.0.after: expected a duration"),
        ('after = "30m"', 'after = "0s"', "desk.toml:12: procedure lost: steps.0.after: "),
        ('["acknowledged"]', '["tired"]', "desk.toml:13: procedure lost: steps.0.unless.0: "),
        ('repeat = "4h"', 'repeat = "5s"', "desk.toml:10: procedure lost: repeat: "),
        ("[[procedure]]", "[procedure]", "desk.toml:7: policies are [[procedure]] tables"),
        ('id = "lost"', 'id = "Lost"', "desk.toml:8: procedure Lost: id: "),
    ],
)
def test_a_bad_policy_is_refused_with_file_line_and_reason(tmp_path: Path, old: str, new: str, fault: str) -> None:
    text = POLICIES.replace(old, new)
    if new == "[procedure]":
        text = text.partition("[[procedure.steps]]")[0]
    (tmp_path / "desk.toml").write_text(text)
    with pytest.raises(pack.PackError) as refused:
        pack.load([tmp_path])
    assert any(f"{tmp_path}/{fault}" in problem for problem in refused.value.problems), refused.value.problems


def test_inhibitions_that_could_mute_everybody_by_turns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "desk.toml").write_text(
        POLICIES
        + """
[[inhibit]]
id = "back"
when = { kind = "no_*" }
mutes = { rule = "*-silent", subject_kind = "device" }
"""
    )
    with pytest.raises(pack.PackError) as refused:
        pack.load([tmp_path])
    circle = "what 'dead-gateway' mutes may mute by 'back', and what 'back' mutes may mute by 'dead-gateway'"
    where = f"{tmp_path}/desk.toml:23: inhibit back"
    assert refused.value.problems == (f"{where}: nobody might be told of anything: {circle}",)


_GLOBS = st.text("ab*?", max_size=6)


@given(_GLOBS, _GLOBS)
def test_globs_that_some_text_matches_both_of_may_meet(one: str, other: str) -> None:
    texts = ("".join(letters) for n in range(13) for letters in itertools.product("ab", repeat=n))
    found = any(fnmatchcase(text, one) and fnmatchcase(text, other) for text in itertools.islice(texts, 2**9))
    told = may_meet({"rule": (one,)}, {"rule": (other,)})
    assert told or not found
    if len(one) + len(other) <= 8:  # a text that both match is no longer than the two are together
        assert told == found


ROOM = ChannelSpec("room")
BORDER = ChannelSpec("border-guard", events=frozenset({Event.FIRING}))
INSTEAD = "all channels that are told of 'overdue' are told instead"
MANAGER = ChannelSpec("manager", events=ALERTMANAGER_EVENTS, carries=ALERTMANAGER_EVENTS)


@pytest.mark.parametrize(
    ("channels", "doubts"),
    [
        ([ROOM, BORDER], []),
        (None, []),
        ([ROOM], [f"18: procedure lost: step 2: there is no channel 'border-guard': {INSTEAD}"]),
        (
            [ROOM, replace(MANAGER, name="border-guard")],
            [f"18: procedure lost: step 2: channel 'border-guard' cannot say 'overdue': {INSTEAD}"],
        ),
        (
            [BORDER],
            [
                "11: procedure lost: step 1: no channel is told of 'overdue'",
                "10: procedure lost: nobody is reminded: no channel is told of 'reminded'",
            ],
        ),
        (
            [],
            [
                "11: procedure lost: step 1: no channel is told of 'overdue'",
                "18: procedure lost: step 2: there is no channel 'border-guard': nobody is told instead",
                "10: procedure lost: nobody is reminded: no channel is told of 'reminded'",
            ],
        ),
    ],
)
def test_steps_that_would_not_reach_whom_they_name_are_said_with_their_place(
    tmp_path: Path, channels: list[ChannelSpec] | None, doubts: list[str]
) -> None:
    (tmp_path / "desk.toml").write_text(POLICIES)
    book = pack.load([tmp_path], channels=channels)
    assert book.doubts == tuple(f"{tmp_path}/desk.toml:{doubt}" for doubt in doubts)


def test_steps_of_which_the_channels_of_a_rule_are_not_told_are_said_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "desk.toml").write_text(POLICIES)
    rule = """
[[rule]]
id = "{}"
kind = "gap"
after = "3h"
ports = []
title = {{ en = "Lost", vi = "Lost" }}
severity = "major"
channels = {}
source = "a test"
"""
    named = (("told", '["room"]'), ("both", '["manager", "room"]'), ("silent", '["manager"]'))
    (tmp_path / "rules.toml").write_text("".join(rule.format(*one) for one in named))
    book = pack.load([tmp_path], channels=[ROOM, BORDER, MANAGER])
    none = "none of the channels of rule 'silent' is told of"
    assert book.doubts == (
        f"{tmp_path}/desk.toml:11: procedure lost: step 1: {none} 'overdue': nobody is told of its alerts",
        f"{tmp_path}/desk.toml:10: procedure lost: nobody is reminded of its alerts: {none} 'reminded'",
    )
    gaps = (tmp_path / "rules.toml").read_text()
    feeds = gaps.replace('kind = "gap"', 'kind = "feed_silent"').replace("ports = []\n", "")
    (tmp_path / "rules.toml").write_text(feeds)
    assert pack.load([tmp_path], channels=[ROOM, BORDER, MANAGER]).doubts == ()


def test_a_procedure_that_can_reach_nobody_is_refused(tmp_path: Path) -> None:
    (tmp_path / "desk.toml").write_text(POLICIES)
    with pytest.raises(pack.PackError) as refused:
        pack.load([tmp_path], channels=[MANAGER])
    why = "desk.toml:11: procedure lost: its steps can reach nobody: no channel is told of 'overdue'"
    assert refused.value.problems == (f"{tmp_path}/{why}",)


def test_of_the_pack_that_ships_every_step_reaches_somebody_where_there_is_a_log() -> None:
    book = pack.load(["pack:hue"], channels=[LogSettings(name="log").spec])
    assert [doubt.partition(": procedure ")[2] for doubt in book.doubts] == [
        f"lost-signal: step {step}: there is no channel {name!r}: {INSTEAD}"
        for step, name in ((3, "port"), (4, "border-guard"), (4, "neighbouring-provinces"))
    ]


def test_two_policies_of_a_kind_have_two_ids(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(POLICIES)
    with pytest.raises(pack.PackError, match=r"b\.toml:2: inhibit dead-gateway: there is another inhibit of that id"):
        pack.load([tmp_path])


def test_a_procedure_does_something(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[[procedure]]\nid = "x"\nmatch = { rule = "*" }\n')
    with pytest.raises(pack.PackError, match="neither steps nor repeat"):
        pack.load([tmp_path])


def test_the_pack_that_ships_has_the_lost_signal_procedure_with_its_source() -> None:
    procedures = {one.id: one for one in pack.load(["pack:hue"]).desk.procedure}
    lost = procedures["lost-signal"]
    assert lost.source
    assert lost.confidence
    hours = [step.after / 3_600_000_000 for step in lost.steps]
    assert hours == sorted(hours)
    who = " ".join(step.who.en for step in lost.steps if step.who)
    for told in ("owner", "port", "Border Guard", "neighbouring provinces"):
        assert told in who


def test_every_procedure_of_the_pack_that_ships_is_of_a_rule_that_ships_with_it() -> None:
    book = pack.load(["pack:hue"])
    for procedure in book.desk.procedure:
        meant = [rule.id for rule in book.rules if matches(procedure.match, {"rule": rule.id, "kind": rule.kind})]
        assert meant, procedure.id


@pytest.mark.parametrize(
    ("matcher", "labels", "expected"),
    [
        ({"rule": ("flood-*",)}, {"rule": "flood-kim-long"}, True),
        ({"rule": ("flood-*",)}, {"rule": "Flood-kim-long"}, False),
        ({"rule": ("a", "b")}, {"rule": "b"}, True),
        ({"rule": ("*",), "zone": ("*",)}, {"rule": "a", "zone": None}, False),
        ({"rule": ("*",), "zone": ("eez",)}, {"rule": "a", "zone": "eez"}, True),
    ],
)
def test_all_labels_must_match_and_one_glob_of_each(
    matcher: dict[str, tuple[str, ...]], labels: dict[str, str | None], *, expected: bool
) -> None:
    assert matches(matcher, labels) is expected
