"""Which vessels a rule is about: every key of a scope against a restatement of it, and what is refused."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from pydantic import ValidationError

from alerting.registry.register import BEGINNING, END, Carried, Licence, Registry, Vessel
from alerting.rules import RULE, Scope, ZoneRule
from decoders.identity import transponder_id

VMS = transponder_id("device", "gw/t1")
SHIP, FOREIGN, BUOY = 574_000_001, 412_000_002, 992_574_001
WORDS = ["fishing", "Fishing", "LƯỚI KÉO", "lưới kéo", unicodedata.normalize("NFD", "lưới kéo"), "logistics"]
LENGTHS = [5.9, 11.99, 12.0, 14.99, 15.0, 24.0]
NOW = 1_000
OF_AIS = ("ship_types", "mmsi", "flags")


def words() -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(WORDS), min_size=1, max_size=2)


vessels = st.none() | st.builds(
    Vessel,
    id=st.just("S-1"),
    flag=st.sampled_from([None, "VN", "CN"]),
    kind=st.sampled_from([None, *WORDS]),
    length_m=st.sampled_from([None, *LENGTHS]),
    gear=st.sampled_from([None, *WORDS]),
    home_port=st.sampled_from([None, *WORDS]),
    licensed=st.sampled_from([None, (BEGINNING, END), (0, NOW), (NOW, END), (0, NOW + 1), (BEGINNING, 5)]),
    lists=st.frozensets(st.sampled_from(WORDS), max_size=3),
)


@st.composite
def selections(draw: st.DrawFn) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for key, values in {
        "ship_types": st.sampled_from([[30], [70, "80-89"]]),
        "mmsi": st.sampled_from([[SHIP], [FOREIGN, BUOY]]),
        "flags": st.sampled_from([[574], [412, 416]]),
        "classes": words(),
        "flag_states": st.sampled_from([["VN"], ["CN", "TW"]]),
        "min_length_m": st.sampled_from(LENGTHS),
        "gears": words(),
        "licence": st.sampled_from(["valid", "expired", "none"]),
        "lists": words(),
        "home_ports": words(),
    }.items():
        if draw(st.integers(0, 4)) == 0:
            said[key] = draw(values)
    if draw(st.integers(0, 3)) == 0:
        said["below_length_m"] = draw(
            st.sampled_from([x for x in LENGTHS if x > said.get("min_length_m", 0)] or [99.0])
        )
    if draw(st.integers(0, 5)) == 0:
        said["registered"] = True
    return said


def same(a: str | None, b: str) -> bool:
    return a is not None and unicodedata.normalize("NFC", a).casefold() == unicodedata.normalize("NFC", b).casefold()


def of_ais(key: str, value: list[Any], transponder: int, ship_type: int | None) -> bool | None:
    """What a key on what is sent says: yes, no, or that it is not known."""
    ais = transponder < 10**9
    if key == "mmsi":
        return transponder in value
    if key == "flags":
        digits = f"{transponder:09d}"
        return ais and int(digits[2:5] if transponder == BUOY else digits[:3]) in value
    codes = {30} if value == [30] else {70, *range(80, 90)}
    return False if not ais else None if not ship_type else ship_type in codes


def of_registry(key: str, value: Any, vessel: Vessel | None) -> bool:
    """What a key on the vessel says."""
    if vessel is None:
        return False
    length, span = vessel.length_m, vessel.licensed
    stands = "none" if span is None or span[0] > NOW else "expired" if span[1] <= NOW else "valid"
    attribute = {"classes": "kind", "gears": "gear", "home_ports": "home_port", "flag_states": "flag"}.get(key)
    if attribute is not None:
        return any(same(getattr(vessel, attribute), word) for word in value)
    found: dict[str, bool] = {
        "registered": True,
        "min_length_m": length is not None and not length < value if key == "min_length_m" else False,
        "below_length_m": length is not None and not length >= value if key == "below_length_m" else False,
        "licence": stands == value,
        "lists": key == "lists" and any(same(one, word) for one in vessel.lists for word in value),
    }
    return found[key]


def selected(said: dict[str, Any], transponder: int, ship_type: int | None, vessel: Vessel | None) -> list[bool | None]:
    """What each key says."""
    return [
        of_ais(key, value, transponder, ship_type) if key in OF_AIS else of_registry(key, value, vessel)
        for key, value in said.items()
    ]


def all_of(said: list[bool | None]) -> bool | None:
    return False if False in said else None if None in said else True


@given(
    selections(),
    st.none() | selections(),
    st.booleans(),
    st.sampled_from([SHIP, FOREIGN, BUOY, VMS]),
    st.sampled_from([None, 30, 70, 85, 60]),
    vessels,
)
def test_every_key_must_match_and_what_is_excluded_never_does(
    said: dict[str, Any],
    excluded: dict[str, Any] | None,
    vms: bool,
    transponder: int,
    ship_type: int | None,
    vessel: Vessel | None,
) -> None:
    scope = Scope.model_validate(said | {"vms": vms} | ({} if excluded is None else {"exclude": excluded}))
    sent = {key: value for key, value in said.items() if key in OF_AIS}
    known = {key: value for key, value in said.items() if key not in OF_AIS}
    parts = selected(known, transponder, ship_type, vessel)
    if transponder == VMS:
        parts.append(vms or not sent)
    elif transponder == BUOY and BUOY not in said.get("mmsi", ()):
        parts.append(False)
    else:
        parts += selected(sent, transponder, ship_type, vessel)
    out = False if excluded is None else all_of(selected(excluded, transponder, ship_type, vessel))
    expected = all_of([*parts, {True: False, False: True, None: None}[out]])
    event(f"{expected}")
    assert scope.matches(transponder, ship_type, vessel, NOW) is expected
    asks = {*known, *(excluded or {})} - {*OF_AIS}
    assert scope.asks_registry is bool(asks)
    assert scope.asks_licence is ("licence" in asks)
    if not asks:
        assert scope.matches(transponder, ship_type) is expected


def test_the_law_s_classes_of_length_part_the_fleet() -> None:
    rules = [{"below_length_m": 12}, {"min_length_m": 12, "below_length_m": 15}, {"min_length_m": 15}]
    scopes = [Scope.model_validate(rule) for rule in rules]
    for length, which in ((11.999, 0), (12.0, 1), (14.999, 1), (15.0, 2), (90.0, 2)):
        vessel = Vessel("S-1", length_m=length)
        assert [scope.matches(SHIP, None, vessel, NOW) for scope in scopes] == [n == which for n in range(3)]
    assert not any(scope.matches(SHIP, None, Vessel("S-1"), NOW) for scope in scopes)


def test_who_is_not_registered_can_be_asked_for() -> None:
    scope = Scope.model_validate({"registered": False})
    assert scope.matches(SHIP, None, None, NOW) is True
    assert scope.matches(SHIP, None, Vessel("S-1"), NOW) is False


@pytest.mark.parametrize(
    ("scope", "fault"),
    [
        ({"min_length_m": 15, "below_length_m": 15}, "no length is 15 m or more and below 15 m"),
        ({"registered": False, "gears": ["x"]}, "gears: what is not registered has none"),
        ({"licence": "old"}, "'valid', 'expired' or 'none'"),
        ({"flag_states": ["574"]}, 'expected a flag State such as "VN"'),
        ({"lists": []}, "at least 1 item"),
        ({"min_length_m": 0}, "greater than 0"),
        ({"length_m": 15}, "Extra inputs are not permitted"),
        ({"exclude": {"vms": True}}, "Extra inputs are not permitted"),
    ],
)
def test_what_a_scope_cannot_mean_is_refused(scope: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Scope.model_validate(scope)


def test_a_licence_is_valid_within_its_span_and_expired_after_it() -> None:
    vessel = Vessel("S-1", licensed=(10, 20))
    stands = [vessel.licence(time) for time in (9, 10, 19, 20)]
    assert stands == [Licence.NONE, Licence.VALID, Licence.VALID, Licence.EXPIRED]
    assert Vessel("S-2").licence(0) is Licence.NONE


def test_the_registry_is_asked_for_who_carried_the_transponder_then() -> None:
    rule = RULE.validate_python(
        {
            "id": "r",
            "title": {"en": "T", "vi": "T"},
            "severity": "info",
            "source": "s",
            "kind": "zone",
            "condition": "inside",
            "zones": ["z"],
            "scope": {"below_length_m": 12},
        }
    )
    assert isinstance(rule, ZoneRule)
    short, long = Vessel("S", length_m=8.0), Vessel("L", length_m=20.0)
    registry = Registry({SHIP: [Carried(long, BEGINNING, END), Carried(short, 10, 20)]})
    assert [registry.vessel(SHIP, time) for time in (9, 10, 19, 20)] == [long, short, short, long]
    assert [rule.dropped(SHIP, registry, time) for time in (9, 10, 19, 20)] == [True, False, False, True]
    assert rule.dropped(FOREIGN, registry, 10)
