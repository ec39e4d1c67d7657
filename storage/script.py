"""Migration files: their header directives, and their text cut into statements.

Lexical rules after PostgreSQL's manual, 4.1: quoted strings and identifiers, dollar quotes, nested block comments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from typing import Final

_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_DIRECTIVE: Final = re.compile(r"--\s*(transaction|requires)\s*:\s*(\S+)\s*")
_ALLOWED: Final = {"transaction": ("none",), "requires": ("timescaledb", "tsl", "plain")}
_TOKEN: Final = re.compile(
    r"""
      (?P<skip> --[^\n]* )
    | (?P<block> /\* )
    | (?P<string> \b[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" )
    | (?P<dollar> \$(?:[^\W\d]\w*)?\$ )
    | (?P<end> ; )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE: Final = re.compile(r"/\*|\*/")


@dataclass(slots=True, frozen=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    text: str
    checksum: str  # SHA-256 of the file, hex
    requires: str | None = None  # "timescaledb" | "tsl" | "plain"
    transactional: bool = True


def parse(filename: str, text: str) -> Migration:
    """A migration from its file.

    Raises:
        ValueError: the name is not ``NNNN_name.sql``, or a directive is unknown.
    """
    named = _NAME.fullmatch(filename)
    if named is None:
        raise ValueError(f"{filename}: a migration is named NNNN_name.sql")
    directives: dict[str, str] = {}
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        if found := _DIRECTIVE.fullmatch(line):
            key, value = found.groups()
            if value not in _ALLOWED[key]:
                raise ValueError(f"{filename}: {key}: {value} is none of {', '.join(_ALLOWED[key])}")
            directives[key] = value
    return Migration(
        version=int(named[1]),
        name=named[2],
        text=text,
        checksum=sha256(text.encode()).hexdigest(),
        requires=directives.get("requires"),
        transactional="transaction" not in directives,
    )


def packaged() -> list[Migration]:
    """The migrations that ship with the program, in order.

    Raises:
        ValueError: two files have one number.
    """
    files = (resources.files("storage") / "migrations").iterdir()
    found = sorted(
        (parse(file.name, file.read_text(encoding="utf-8")) for file in files if file.name.endswith(".sql")),
        key=lambda migration: migration.version,
    )
    if len({migration.version for migration in found}) != len(found):
        raise ValueError("two migrations have one number")
    return found


def statements(text: str) -> list[str]:
    """The statements of a script, without the semicolons between them; comments alone are no statement."""
    found: list[str] = []
    start = at = 0
    substance = False  # anything but blanks and comments since `start`
    while token := _TOKEN.search(text, at):
        substance = substance or bool(text[at : token.start()].strip())
        at = token.end()
        match token.lastgroup:
            case "block":
                at = _end_of_comment(text, at)
            case "dollar":
                close = text.find(token[0], at)
                at = len(text) if close < 0 else close + len(token[0])
                substance = True
            case "string":
                substance = True
            case "end":
                if substance:
                    found.append(text[start : token.start()].strip())
                start, substance = at, False
    if substance or text[at:].strip():
        found.append(text[start:].strip())
    return found


def _end_of_comment(text: str, at: int) -> int:
    depth = 1
    while depth and (edge := _BLOCK_EDGE.search(text, at)):
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return at if depth == 0 else len(text)
