"""What is said of incidents: how many alerts, of what, and how many of them last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerting.messages.words import Text, clock
from alerting.model import Event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Subjects that a text names: it has to fit a text message.
_NAMED: Final = 5
_OFFSET: Final = "+07:00"
_UNNAMED: Final = {"en": "Incident", "vi": "Sự cố"}


def incident(
    event: Event, title: Mapping[str, str] | None, opened_at: int, members: Sequence[Mapping[str, Any]]
) -> Text:
    """Of an incident whose first alert became known at ``opened_at`` (microseconds UTC).

    ``members``: its alerts, with ``subject_name`` and ``lasts``, in the order in which they became known.
    """
    called, since = title or _UNNAMED, clock(opened_at, _OFFSET)
    subjects = list(dict.fromkeys(str(member["subject_name"]) for member in members))
    named = ", ".join(subjects[:_NAMED])
    more = len(subjects) - _NAMED
    en = named + (f" and {more} more" if more > 0 else "")
    vi = named + (f" và {more} nơi khác" if more > 0 else "")
    count, lasting = len(members), sum(bool(member["lasts"]) for member in members)
    alerts = "1 alert" if count == 1 else f"{count} alerts"
    if event is Event.INCIDENT_OVER:
        return Text(
            f"{called['en']}: over: {alerts} since {since.en}" + (f": {en}" if en else ""),
            f"{called['vi']}: đã hết: {count} cảnh báo từ {since.vi}" + (f": {vi}" if vi else ""),
        )
    return Text(
        f"{called['en']}: {alerts} since {since.en}, {lasting} of them open: {en}",
        f"{called['vi']}: {count} cảnh báo từ {since.vi}, {lasting} chưa hết: {vi}",
    )
