"""Which alerts are meant: globs on their labels, and the same as regular expressions of PostgreSQL."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What an alert can be told by. ``kind`` is its rule's; ``gateway`` and ``device`` are of alerts about devices, the
#: former of those about gateways, too; ``source`` is of alerts about sources, and about silence: by which it was heard.
LABELS: Final = (
    *("rule", "kind", "severity", "subject_kind", "subject", "gateway", "device", "source", "zone", "key", "metric"),
)

_BRACKET: Final = re.compile(r"\[(!?+)(\]?+[^\]]*)\]")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_]")


def regex(glob: str) -> str:
    """A regular expression, as PostgreSQL reads it, for what ``fnmatch.fnmatchcase`` matches."""
    out, place = [], 0
    while place < len(glob):
        char = glob[place]
        if char == "*":
            out.append(".*")
        elif char == "?":
            out.append(".")
        elif char == "[" and (found := _BRACKET.match(glob, place)):
            out.append(_bracket(found[2], negated=bool(found[1])))
            place = found.end() - 1
        else:
            out.append(char if _PLAIN.match(char) or not char.isascii() else f"\\{char}")
        place += 1
    return f"^(?:{''.join(out)})$"


def _bracket(members: str, *, negated: bool) -> str:
    """One of the members, "a-c" being a range; a range that ends before it starts has none."""
    choices, place = [], 0
    while place < len(members):
        low = high = members[place]
        if members[place + 1 : place + 2] == "-" and place + 2 < len(members):
            high = members[place + 2]
            place += 2
        place += 1
        if low <= high:
            choices.append(f"{_code(low)}-{_code(high)}")
    if not choices:
        return "." if negated else "(?!.)."
    return f"[{'^' if negated else ''}{''.join(choices)}]"


def _code(char: str) -> str:
    return f"\\U{ord(char):08x}"


def _globs(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _labels(value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    if unknown := sorted(value.keys() - set(LABELS)):
        raise ValueError(f"unknown label {', '.join(unknown)}: there are {', '.join(LABELS)}")
    return value


Globs = Annotated[tuple[str, ...], BeforeValidator(_globs), Field(min_length=1)]
#: Label to globs, any of which may match; all labels must. An alert that lacks a label does not match. Case matters.
Matcher = Annotated[dict[str, Globs], Field(min_length=1), AfterValidator(_labels)]


def matches(matcher: Mapping[str, tuple[str, ...]], labels: Mapping[str, str | None]) -> bool:
    """Whether an alert with these labels is meant."""
    for label, globs in matcher.items():
        value = labels.get(label)
        if value is None or not any(fnmatchcase(value, glob) for glob in globs):
            return False
    return True


def may_meet(one: Mapping[str, tuple[str, ...]], other: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether there may be an alert that both mean. What is in brackets counts as any character."""
    return all(any(_meet(a, b) for a in one[label] for b in other[label]) for label in one.keys() & other.keys())


def _meet(one: str, other: str) -> bool:
    """Whether some text may match both globs."""
    one, other = (_BRACKET.sub("?", glob) for glob in (one, other))

    @cache
    def from_(i: int, j: int) -> bool:
        if one[i : i + 1] == "*":
            return from_(i + 1, j) or (j < len(other) and from_(i, j + 1))
        if other[j : j + 1] == "*":
            return from_(i, j + 1) or (i < len(one) and from_(i + 1, j))
        if i == len(one) or j == len(other):
            return i == len(one) and j == len(other)
        return (one[i] == other[j] or "?" in (one[i], other[j])) and from_(i + 1, j + 1)

    return from_(0, 0)


def compiled(matcher: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """The same for the database."""
    return {label: [regex(glob) for glob in globs] for label, globs in matcher.items()}
