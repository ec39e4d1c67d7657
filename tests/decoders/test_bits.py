"""The bits of one message: what pyais reads of the same payload, whatever is asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pyais.bit_vector import bit_vector

from decoders.bits import BitString

ARMOUR = bytes([*range(48, 88), *range(96, 120)])

payloads = st.lists(st.sampled_from(ARMOUR), min_size=1, max_size=170).map(bytes)
fills = st.integers(0, 5)


@given(payloads, fills, st.integers(0, 1100), st.integers(0, 256))
def test_any_field_is_what_pyais_reads_also_where_it_ends_behind_the_last_bit(
    payload: bytes, fill: int, first: int, width: int
) -> None:
    ours, theirs = BitString(payload, fill), bit_vector(payload, fill)
    assert ours.length == len(theirs)
    assert ours.unsigned(first, width) == theirs.get(first, width)
    assert ours.octets(first, width) == theirs.get_bytes(first, width)


@given(payloads, fills, st.data())
def test_signed_numbers_and_text_are_what_pyais_reads(payload: bytes, fill: int, data: st.DataObject) -> None:
    ours, theirs = BitString(payload, fill), bit_vector(payload, fill)
    first = data.draw(st.integers(0, ours.length - 1))
    width = data.draw(st.integers(1, ours.length - first))
    assert ours.signed(first, width) == theirs.get_signed(first, width)
    whole = width // 6 * 6
    assert ours.text(first, whole).rstrip("@").strip() == theirs.get_str(first, whole)


@given(payloads)
def test_six_bits_a_character_as_the_standard_gives_them(payload: bytes) -> None:
    bits = BitString(payload)
    sixes = [c - 48 if c < 88 else c - 56 for c in payload]
    assert [bits.unsigned(6 * place, 6) for place in range(len(payload))] == sixes
    assert bits.text(0, bits.length) == "".join(chr(six + 64 if six < 32 else six) for six in sixes)
