"""What people call events, in both languages; one that is not in here is told by its name. So are severities."""

from __future__ import annotations

from typing import Final

from alerting.messages import SEVERITIES, Text

EVENTS: Final[dict[str, Text]] = {
    "firing": Text("Alert", "Cảnh báo"),
    "escalated": Text("More severe", "Tăng mức"),
    "deescalated": Text("Less severe", "Giảm mức"),
    "revised": Text("Corrected", "Đính chính"),
    "acknowledged": Text("Acknowledged", "Đã tiếp nhận"),
    "unacknowledged": Text("Acknowledgement taken back", "Hủy tiếp nhận"),
    "retracted": Text("Withdrawn", "Rút lại"),
    "resolved": Text("Over", "Đã kết thúc"),
    "reminded": Text("Reminder", "Nhắc lại"),
    "overdue": Text("Overdue", "Quá hạn"),
    "over_budget": Text("Too many alerts", "Quá nhiều cảnh báo"),
    "grouped": Text("Several alerts", "Nhiều cảnh báo cùng sự cố"),
    "incident_over": Text("Incident over", "Sự cố đã kết thúc"),
    "assigned": Text("Assigned", "Đã phân công"),
    "commented": Text("Comment", "Ý kiến"),
    "closed": Text("Closed", "Đã đóng"),
}


def event(name: str) -> Text:
    """An event as people call it."""
    said = name.replace("_", " ")
    return EVENTS.get(name) or Text(said[:1].upper() + said[1:], f"Cập nhật ({said})")


def severity(name: str) -> Text:
    """A severity as people call it."""
    return SEVERITIES.get(name) or Text(name, name)
