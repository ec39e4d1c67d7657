"""What alerts about gateways and sources say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerting.messages.words import Text, clock, span, titled
from alerting.model import SubjectKind

if TYPE_CHECKING:
    from alerting.rules.links import LinkRule


def link_silent(rule: LinkRule, name: str, heard: int, waited: int) -> Text:
    """Nothing has come by it for too long."""
    last, after = clock(heard, rule.utc_offset), span(waited)
    if rule.subject is SubjectKind.GATEWAY:
        return titled(
            rule,
            f"nothing from any device of gateway {name} for more than {after.en}, last heard at {last.en}",
            f"không có dữ liệu từ thiết bị nào của cổng {name} quá {after.vi}, lần cuối lúc {last.vi}",
        )
    return titled(
        rule,
        f"nothing by source {name} for more than {after.en}, last heard at {last.en}",
        f"không nhận được gì từ nguồn {name} quá {after.vi}, lần cuối lúc {last.vi}",
    )


def link_back(rule: LinkRule, name: str, at: int) -> Text:
    """Something does again."""
    when = clock(at, rule.utc_offset)
    what = Text("gateway", "cổng") if rule.subject is SubjectKind.GATEWAY else Text("source", "nguồn")
    return titled(
        rule,
        f"over: {what.en} {name} heard again at {when.en}",
        f"đã hết: có lại dữ liệu từ {what.vi} {name} lúc {when.vi}",
    )
