"""The hash that makes a chain of rows, as the database computes it (``haidang_link``, migration ``audit``)."""

from __future__ import annotations

from hashlib import sha256


def link(previous: bytes | None, *fields: str | None) -> bytes:
    """SHA-256 of the hash before and the fields.

    Each field is written as its length in bytes (UTF-8), a colon and itself, NULL as ``-``; commas stand between. So no
    two lists of fields read the same.
    """
    return sha256((previous or b"") + b",".join(map(_written, fields))).digest()


def _written(field: str | None) -> bytes:
    if field is None:
        return b"-"
    data = field.encode()
    return b"%d:%b" % (len(data), data)
