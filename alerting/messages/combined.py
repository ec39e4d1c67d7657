"""What alerts of combined rules say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerting.messages.words import Text, clock, quantity, titled
from alerting.model import Event, SubjectKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alerting.model import Subject
    from alerting.rules import CombinedRule

#: Members that a text names: it has to fit a text message.
_NAMED: Final = 3


def combined(
    rule: CombinedRule, subject: Subject, members: Sequence[str], within_m: float | None, at: int, event: Event
) -> Text:
    """All conditions hold for a subject, with members by whom they do; or they do no longer.

    ``members``: names, the nearest first. ``within_m``: they are all within that distance, metres.
    """
    when = clock(at, rule.utc_offset)
    who = Text(subject.name, subject.name)
    if subject.kind is SubjectKind.TRANSPONDER:
        who = Text(f"vessel {subject.name}", f"tàu {subject.name}")
    if event is Event.RESOLVED:
        return titled(rule, f"over: {who.en}, at {when.en}", f"đã hết: {who.vi}, lúc {when.vi}")
    prefix = {Event.ESCALATED: Text("now more severe: ", "nghiêm trọng hơn: ")}.get(event, Text("", ""))
    prefix = {Event.DEESCALATED: Text("now less severe: ", "giảm mức: ")}.get(event, prefix)
    if not members:
        return titled(rule, f"{prefix.en}{who.en}, at {when.en}", f"{prefix.vi}{who.vi}, lúc {when.vi}")
    near = Text("", "")
    if within_m is not None:
        far = quantity(within_m / 1000, "km") if within_m >= 1000 else quantity(within_m, "m")
        near = Text(f" within {far.en}", f" trong vòng {far.vi}")
    names, more = ", ".join(members[:_NAMED]), len(members) - _NAMED
    rest = Text(f" and {more} more", f" và {more} đối tượng khác") if more > 0 else Text("", "")
    return titled(
        rule,
        f"{prefix.en}{who.en}, {len(members)}{near.en}: {names}{rest.en}, at {when.en}",
        f"{prefix.vi}{who.vi}, {len(members)} đối tượng{near.vi}: {names}{rest.vi}, lúc {when.vi}",
    )
