"""The page of an evidence file that people read: what is known of an alert, in Vietnamese and in English. Pure."""

from __future__ import annotations

from base64 import b64decode
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: (key of the alert, Vietnamese, English)
_SAID: Final = (
    ("id", "Mã cảnh báo", "Alert"),
    ("subject_name", "Đối tượng", "Subject"),
    ("severity", "Mức độ", "Severity"),
    ("state", "Trạng thái", "State"),
    ("started_at", "Bắt đầu", "Since"),
    ("fired_at", "Phát cảnh báo", "Fired at"),
    ("known_at", "Hệ thống biết lúc", "Known at"),
    ("resolved_at", "Kết thúc", "Over at"),
    ("value", "Giá trị", "Value"),
    ("zone_id", "Vùng", "Zone"),
    ("lon", "Kinh độ (°Đ)", "Longitude (°E)"),
    ("lat", "Vĩ độ (°B)", "Latitude (°N)"),
    ("rule_id", "Quy tắc", "Rule"),
    ("rule_version", "Phiên bản quy tắc", "Rule version"),
    ("acknowledged_by", "Người xác nhận", "Acknowledged by"),
    ("resolved_by", "Người kết thúc", "Ended by"),
)
_STYLE: Final = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}"
    "th,td{text-align:left;padding:.2rem .8rem .2rem 0;vertical-align:top;border-bottom:1px solid #ccc}"
    "code{word-break:break-all}"
)


#: How to verify, and what is not there.
_HOW: Final = (
    "<p>Kiểm chứng: <code>haidang alerts verify TỆP</code> kiểm tra mọi mã băm và tính lại cảnh báo từ dữ liệu",
    "kèm theo, không cần cơ sở dữ liệu. Bản tin gốc chỉ được lưu nguyên văn nếu quyết định cảnh báo; dữ liệu khác là",
    "nội dung đã giải mã, còn <code>digest</code> là mã băm của bản tin đã phát.</p>",
    "<p lang=en>To verify: <code>haidang alerts verify FILE</code> checks every sum and comes to the alert again by",
    "the rows, without a database. Of the messages that decided the bytes are kept; other rows are what messages said,",
    "and <code>digest</code> is the digest of what was transmitted.</p>",
)


def page(
    facts: Mapping[str, Any],
    rows: Mapping[str, int],
) -> str:
    """The page, as HTML: the facts of an evidence, and how many rows there are by table. Times are UTC."""
    alert, history, notifications = facts["alert"], facts["history"], facts["notifications"]
    details, software = alert["details"], facts["software"]
    said = [(f"{vi} / {en}", alert[key]) for key, vi, en in _SAID if alert.get(key) is not None]
    said += [(f"<code>{escape(str(key))}</code>", value) for key, value in details.items() if value is not None]
    changes = [
        (h["at"], h["actor"], h["change"], h["details"].get("severity", ""), h.get("note") or "") for h in history
    ]
    told = [(n["channel"], n["event"], n["state"], n.get("sent_at") or "") for n in notifications]
    sent = [_sent(message) for message in facts["messages"]]
    parts = [
        '<!doctype html><html lang="vi"><head><meta charset="utf-8"><title>Hải Đăng</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(alert['summary_vi'])}</h1><p lang=en>{escape(alert['summary_en'])}</p>",
        "<table>" + "".join(f"<tr><th>{key}<td>{_shown(value)}" for key, value in said) + "</table>",
        _table("Diễn biến / History", ("UTC", "Ai / Who", "Việc / What", "Mức / Severity", "Ghi chú / Note"), changes),
        _table("Đã thông báo / Notified", ("Kênh / Channel", "Việc / Event", "Tình trạng / State", "UTC"), told),
        _table("Bản tin gốc / Messages", ("UTC", "Nguồn / Origin", "Nội dung / Bytes"), sent),
        _table("Dữ liệu kèm theo / Rows", ("Bảng / Table", "Số dòng / Rows"), list(rows.items())),
        *_HOW,
        f"<p>Hải Đăng {escape(software)}</p></body></html>\n",
    ]
    return "\n".join(parts)


def _table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{name}" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{_shown(value)}" for value in row) for row in rows)
    return f"<h2>{heading}</h2><table><tr>{head}{body}</table>"


def _sent(message: Mapping[str, Any]) -> tuple[str, str, str]:
    text = b64decode(message["raw"]).decode("ascii", "backslashreplace")
    return message["received_at"], message["origin"], text


def _shown(value: Any) -> str:
    return escape(str(value))
