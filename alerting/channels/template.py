"""Texts with fields of the payload in braces: ``{summary}``. Substitution and nothing else: no code, no attributes.

``{{`` and ``}}`` are braces. A line whose fields are all empty is left out, so a text may name what only some alerts
have. What comes from outside (names of vessels above all) loses line ends, control and direction characters.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from string import Formatter
from typing import TYPE_CHECKING, Any, Final

from alerting.channels import words
from alerting.messages import clock, quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alerting.messages import Text

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Language = str  # "vi" or "en"

MAX_SUBJECT: Final = 200
MAX_BODY: Final = 20_000
_MAX_FIELD: Final = 2_000

#: Under details: what a rule says of its alerts, which differs from rule to rule.
_DETAIL: Final = re.compile(r"details\.[a-z][a-z0-9_]*")


def _text(name: str) -> Callable[[Mapping[str, Any], Language, str], str]:
    return lambda payload, _language, _offset: _plain(payload.get(name))


def _subject(name: str) -> Callable[[Mapping[str, Any], Language, str], str]:
    return lambda payload, _language, _offset: _plain((payload.get("subject") or {}).get(name))


def _time(name: str) -> Callable[[Mapping[str, Any], Language, str], str]:
    return lambda payload, language, offset: (
        _in(clock(_microseconds(payload[name]), offset), language) if payload.get(name) else ""
    )


def _value(payload: Mapping[str, Any], language: Language, _offset: str) -> str:
    value = payload.get("value")
    return "" if value is None else _in(quantity(value, payload.get("unit") or "1"), language)


def _position(payload: Mapping[str, Any], _language: Language, _offset: str) -> str:
    lat, lon = payload.get("lat"), payload.get("lon")
    return "" if lat is None or lon is None else f"{lat:.5f}, {lon:.5f}"


#: What a text may name, and where each comes from.
FIELDS: Final[dict[str, Callable[[Mapping[str, Any], Language, str], str]]] = {
    "summary": lambda payload, language, _: _plain(payload.get(f"summary_{language}")),
    "event": lambda payload, language, _: _in(words.event(_plain(payload.get("event"))), language),
    "severity": lambda payload, language, _: _in(words.severity(_plain(payload.get("severity"))), language),
    "state": _text("state"),
    "rule": _text("rule"),
    "rule_version": _text("rule_version"),
    "subject": _subject("name"),
    "subject_id": _subject("id"),
    "subject_kind": _subject("kind"),
    "at": _time("at"),
    "started_at": _time("started_at"),
    "value": _value,
    "unit": _text("unit"),
    "position": _position,
    "lat": _text("lat"),
    "lon": _text("lon"),
    "zone": _text("zone"),
    "key": _text("key"),
    "alert_id": _text("alert_id"),
    "notification_id": _text("notification_id"),
    "link": _text("link"),
}


def checked(template: str) -> str:
    """The template itself.

    Raises:
        ValueError: it names what no payload has, or its braces do not match; one line.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{error} (write a brace as {{{{ or }}}})") from None
    for _, field, form, conversion in parts:
        if field is None:
            continue
        if field not in FIELDS and not _DETAIL.fullmatch(field):
            raise ValueError(f"unknown {{{field}}}: a text may use {', '.join(FIELDS)} and details.NAME")
        if form or conversion:
            raise ValueError(f"{{{field}}}: a field is written as it is, without a format")
    return template


def line(template: str, payload: Mapping[str, Any], language: Language, utc_offset: str) -> str:
    """The template filled in, as one line of at most ``MAX_SUBJECT`` characters."""
    filled, _ = _filled(" ".join(template.split()), payload, language, utc_offset)
    return " ".join(filled.split())[:MAX_SUBJECT]


def text(template: str, payload: Mapping[str, Any], language: Language, utc_offset: str) -> str:
    """The template filled in line by line, ending in a line end."""
    lines = []
    for one in template.splitlines():
        filled, empty = _filled(one, payload, language, utc_offset)
        if not empty:
            lines.append(filled.rstrip())
    return "\n".join(lines).strip("\n")[:MAX_BODY] + "\n"


def _filled(template: str, payload: Mapping[str, Any], language: Language, utc_offset: str) -> tuple[str, bool]:
    """The text, and whether it names fields all of which are empty."""
    out, values = [], []
    for literal, field, _, _ in Formatter().parse(template):
        out.append(literal)
        if field is not None:
            if field in FIELDS:
                value = FIELDS[field](payload, language, utc_offset)
            else:
                value = _detail((payload.get("details") or {}).get(field.removeprefix("details.")), language)
            values.append(value)
            out.append(value)
    return "".join(out), bool(values) and not any(values)


def _detail(value: object, language: Language) -> str:
    if isinstance(value, float):
        return _in(quantity(value, "1"), language)
    if isinstance(value, list):
        return ", ".join(_detail(one, language) for one in value)
    if isinstance(value, dict):  # the same in both languages, or nothing that can be said
        return _plain(value.get(language)) if value.keys() == {"en", "vi"} else ""
    return _plain(value)


def _plain(value: object) -> str:
    if value is None:
        return ""
    return "".join(char if char.isprintable() else " " for char in str(value)[:_MAX_FIELD])


def _in(text: Text, language: Language) -> str:
    return text.vi if language == "vi" else text.en


def _microseconds(iso: str) -> int:
    moment = datetime.fromisoformat(iso)
    return (moment - _EPOCH) // timedelta(microseconds=1)
