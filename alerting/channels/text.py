"""Channels that speak to people: in which language, and in what words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from alerting.channels import template
from alerting.channels.options import ChannelOptions, UtcOffset

if TYPE_CHECKING:
    from collections.abc import Mapping

Template = Annotated[str, Field(min_length=1, max_length=10_000), AfterValidator(template.checked)]
Templates = dict[Literal["vi", "en"], Template]

SUBJECT: Final = "[{severity}] {event}: {summary}"
BODY: Final[dict[str, str]] = {
    "vi": """\
{summary}

{event}: {at}
Mức độ: {severity}
Đối tượng: {subject}
Bắt đầu: {started_at}
Giá trị: {value}
Vị trí: {position}
Vùng: {zone}
Lý do: {details.reason}
Người thực hiện: {details.actor}
Ghi chú: {details.note}
Cần báo: {details.who}
Việc cần làm: {details.say}
Kênh không báo được: {details.unreachable}
Quy tắc: {rule} ({rule_version})
Mã cảnh báo: {alert_id}
{link}
""",
    "en": """\
{summary}

{event}: {at}
Severity: {severity}
Subject: {subject}
Since: {started_at}
Value: {value}
Position: {position}
Zone: {zone}
Reason: {details.reason}
By: {details.actor}
Note: {details.note}
To be told: {details.who}
To be done: {details.say}
Channels that could not be told: {details.unreachable}
Rule: {rule} ({rule_version})
Id: {alert_id}
{link}
""",
}


class TextOptions(ChannelOptions):
    """Of channels that carry text."""

    language: Literal["vi", "en", "both"] = Field(
        default="both", description="vi, en, or both: Vietnamese first, then English"
    )
    utc_offset: UtcOffset = Field(default="+07:00", description="Where the times in texts hold")
    subject: Templates = Field(default={}, description="Subject in each language (vi, en); unset: ours")
    template: Templates = Field(default={}, description="Text in each language (vi, en); unset: ours")


@dataclass(slots=True, frozen=True)
class Written:
    """One notification in words: a line, and a text that ends in a line end."""

    subject: str
    body: str


def write(options: TextOptions, payload: Mapping[str, Any]) -> Written:
    """A payload in the words of its channel."""
    languages: tuple[Literal["vi", "en"], ...]
    languages = ("vi", "en") if options.language == "both" else (options.language,)
    subjects, bodies = [], []
    for language in languages:
        subject, body = options.subject.get(language, SUBJECT), options.template.get(language, BODY[language])
        subjects.append(template.line(subject, payload, language, options.utc_offset))
        bodies.append(template.text(body, payload, language, options.utc_offset))
    return Written(" / ".join(dict.fromkeys(subjects)), "\n".join(dict.fromkeys(bodies)))
