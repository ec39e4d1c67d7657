"""A receiver can tell that a webhook is ours, whole and fresh."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.channels.signature import sign, verify

SECRET = b"a secret of some length"
NOW = 1_795_000_000


def test_the_signature_is_the_documented_one() -> None:
    digest = hmac.new(SECRET, b'1795000000.{"a":1}', hashlib.sha256).hexdigest()
    assert sign([SECRET], b'{"a":1}', NOW) == f"t=1795000000,v1={digest}"


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=40), st.integers(0, 10**11))
def test_what_was_signed_verifies(body: bytes, secret: bytes, at: int) -> None:
    assert verify(secret, sign([secret], body, at), body, at)


@given(st.binary(min_size=1, max_size=60), st.data())
def test_nothing_else_does(body: bytes, data: st.DataObject) -> None:
    header = sign([SECRET], body, NOW)
    at = data.draw(st.integers(0, len(body) - 1))
    flipped = body[:at] + bytes([body[at] ^ data.draw(st.integers(1, 255))]) + body[at + 1 :]
    assert not verify(SECRET, header, flipped, NOW)
    assert not verify(SECRET + b"x", header, body, NOW)
    assert not verify(SECRET, header.replace(f"t={NOW}", f"t={NOW + 1}"), body, NOW)


@pytest.mark.parametrize(("late", "good"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_a_recorded_request_is_refused_later(late: float, good: bool) -> None:
    assert verify(SECRET, sign([SECRET], b"x", NOW), b"x", NOW + late) is good


def test_while_a_secret_is_changed_either_one_verifies() -> None:
    header = sign([b"new secret 12345", SECRET], b"x", NOW)
    assert verify(SECRET, header, b"x", NOW)
    assert verify(b"new secret 12345", header, b"x", NOW)
    assert not verify(b"another", header, b"x", NOW)


@given(st.one_of(st.text(), st.from_regex(r"(t=.{0,20},?|v1=.{0,20},?|v0=aa,?){0,4}")))
def test_a_header_that_is_none_is_wrong_and_no_error(header: str) -> None:
    assert not verify(SECRET, header, b"x", NOW)
