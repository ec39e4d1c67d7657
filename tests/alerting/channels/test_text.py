"""The words of channels: what an operator may write, and what comes of it."""

from __future__ import annotations

import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.channels import template, words
from alerting.channels.settings import SmtpSettings
from alerting.channels.text import BODY, SUBJECT, write
from alerting.desk.notify import payload
from alerting.messages import SEVERITIES
from alerting.messages.ladder import level_name
from alerting.model import Event, Severity
from alerting.rules.ladder import Rung
from tests.alerting.samples import queued, transition

PAYLOAD = queued(transition()).payload


def options(**more: Any) -> SmtpSettings:
    return SmtpSettings.model_validate({"name": "m", "host": "h", "from": "a@b.c", "to": ["a@b.c"], **more})


def test_every_event_and_severity_has_words_and_an_unknown_one_is_told_by_its_name() -> None:
    assert {event.value for event in Event} <= set(words.EVENTS)
    assert {severity.value for severity in Severity} == set(SEVERITIES)
    assert words.event("handed_over") == ("Handed over", "Cập nhật (handed over)")
    said = write(options(), {**PAYLOAD, "event": "handed_over"})
    assert "Cập nhật (handed over): Mất tín hiệu" in said.subject
    assert "Handed over: 18:07 on 18 Nov" in said.body


@pytest.mark.parametrize("severity", Severity)
def test_a_severity_is_called_the_same_in_a_sentence_and_around_it(severity: Severity) -> None:
    rung = Rung.model_validate({"severity": severity, "raise": 1.0})
    assert level_name(rung) == words.severity(severity.value)


def test_our_own_texts_name_only_what_there_is() -> None:
    for one in (SUBJECT, *BODY.values()):
        assert template.checked(one) == one


def test_every_field_has_a_value_in_a_full_payload() -> None:
    for field in template.FIELDS:
        assert template.line(f"{{{field}}}", PAYLOAD, "vi", "+07:00"), field


@pytest.mark.parametrize("language", ["vi", "en"])
def test_one_language_says_nothing_in_the_other(language: str) -> None:
    said = write(options(language=language), PAYLOAD)
    assert ("Mức độ" in said.body) == (language == "vi")
    assert ("Severity" in said.body) == (language == "en")
    assert " / " not in said.subject


def test_texts_of_ones_own() -> None:
    said = write(
        options(
            subject={"vi": "{subject}\n{{x}}", "en": "{rule}"},
            template={"vi": "Vượt {details.threshold} ({value})\nBỏ: {details.nothing}\n\nHết", "en": "{at}"},
            utc_offset="+00:00",
        ),
        {**PAYLOAD, "details": {"threshold": 6.25}},
    )
    assert said.subject == "BV-90123-TS {x} / vms.gap"
    assert said.body == "Vượt 6,25 (6,5 h)\n\nHết\n\n11:07 on 18 Nov (UTC)\n"


def test_what_a_missed_deadline_asks_for_is_said_in_the_language() -> None:
    who = {"en": "Border Guard", "vi": "Bộ đội Biên phòng"}
    details = {"who": who, "say": {"en": "call", "vi": "gọi"}, "unreachable": ["border-guard", "port"], "odd": {"a": 1}}
    told = {**PAYLOAD, "event": "overdue", "details": details}
    assert "Cần báo: Bộ đội Biên phòng\nViệc cần làm: gọi\n" in write(options(language="vi"), told).body
    assert "To be told: Border Guard\nTo be done: call\n" in write(options(language="en"), told).body
    assert "Channels that could not be told: border-guard, port\n" in write(options(), told).body
    assert template.line("{details.odd}", told, "en", "+07:00") == ""


#: Text in which braces are frequent.
bracy = st.text(alphabet=st.sampled_from("{}{}ab.!:[]0_") | st.characters(codec="utf-8"), max_size=40)


@given(bracy)
def test_a_text_is_refused_or_can_be_filled_in(written: str) -> None:
    try:
        template.checked(written)
    except ValueError:
        return
    template.line(written, PAYLOAD, "vi", "+07:00")
    template.text(written, {}, "en", "-03:30")


@given(
    st.lists(st.sampled_from(sorted(template.FIELDS)) | st.text(string.ascii_letters + " -", max_size=9), max_size=6)
)
def test_filling_in_is_replacing_and_nothing_else(parts: list[str]) -> None:
    """Against plain replacement; literals here hold no braces and no line ends."""
    written = "".join(f"{{{part}}}" if part in template.FIELDS else part for part in parts)
    expected = written
    for field in template.FIELDS:
        expected = expected.replace(f"{{{field}}}", template.FIELDS[field](PAYLOAD, "en", "+07:00"))
    assert template.line(written, PAYLOAD, "en", "+07:00") == " ".join(expected.split())[: template.MAX_SUBJECT]


@given(st.text(max_size=3000))
def test_what_comes_from_outside_is_one_printable_line_and_is_never_a_template(name: str) -> None:
    given_ = {**PAYLOAD, "subject": {"name": name + "{rule}\u202e\r\nBcc: x"}}
    said = template.text("{subject}", given_, "en", "+07:00")
    assert said.endswith("\n")
    assert said[:-1].isprintable() or said == "\n"
    assert "vms.gap" not in said


def test_a_payload_of_any_transition_can_be_said() -> None:
    bare = payload(replace(transition(value=None), zone_id=None, lon=None, lat=None, details={}))
    said = write(options(), bare)
    assert "None" not in said.body
    assert "Value" not in said.body
    assert "Position" not in said.body
