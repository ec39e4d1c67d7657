"""Mailboxes as people write them: ``duty@example.org`` or ``Trực ban <duty@example.org>``. Pure."""

from __future__ import annotations

import re
from email.headerregistry import Address
from typing import Final

#: RFC 5322, 3.4: a name and an address; without comments, quoted local parts, domain literals or groups.
_ATOM: Final = r"[^\s@<>(),:;.\"\\\[\]]+"
_SPEC: Final = rf"{_ATOM}(?:\.{_ATOM})*@{_ATOM}(?:\.{_ATOM})*"
_MAILBOX: Final = re.compile(
    rf'(?:"(?P<quoted>[^"\\]*)"|(?P<name>[^<>@,;:"\\()\[\]]*?))\s*<(?P<angle>{_SPEC})>|(?P<bare>{_SPEC})'
)


def mailbox(value: str) -> str:
    """The mailbox itself: ``duty@example.org`` or ``Trực ban <duty@example.org>``.

    Raises:
        ValueError: it is none, or more than one.
    """
    address(value)
    return value


def address(value: str) -> Address:
    """The parts of a mailbox.

    Raises:
        ValueError: see ``mailbox``.
    """
    found = _MAILBOX.fullmatch(value) if value.isprintable() else None
    if found is None:
        raise ValueError('expected an address such as "duty@example.org" or "Duty officer <duty@example.org>"')
    spec = found["angle"] or found["bare"]
    if not spec.isascii():
        raise ValueError("the address itself must be ASCII (the domain as punycode); the name before it need not")
    return Address((found["quoted"] or found["name"] or "").strip(), addr_spec=spec)
