"""The registry: who carries what when, and what alerts say of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.model import Subject, SubjectKind
from alerting.registry.register import BEGINNING, END, Carried, Registry, Site, Vessel

WORD = st.none() | st.text(min_size=1, max_size=8)
TIME = st.integers(-62_000_000_000_000_000, 250_000_000_000_000_000)


def spans() -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.just(BEGINNING) | TIME, st.just(END) | TIME).filter(lambda span: span[0] < span[1])


carried = st.builds(
    lambda vessel, span: Carried(vessel, *span),
    st.builds(
        Vessel,
        id=st.text(min_size=1, max_size=8),
        name=WORD,
        registration_no=WORD,
        flag=WORD,
        kind=WORD,
        length_m=st.none() | st.floats(0.1, 500),
        gear=WORD,
        home_port=WORD,
        licence_no=WORD,
        licensed=st.none() | spans(),
        licence_zone=WORD,
        lists=st.frozensets(st.text(min_size=1, max_size=8), max_size=3),
    ),
    spans(),
)
sites = st.builds(
    Site,
    lon=st.none() | st.floats(-180, 180),
    lat=st.none() | st.floats(-90, 90),
    groups=st.frozensets(st.text(min_size=1, max_size=8), max_size=3),
)
registries = st.builds(
    Registry,
    st.dictionaries(st.sampled_from([1, 2, 3]), st.lists(carried, min_size=1, max_size=3)),
    st.dictionaries(st.sampled_from(["gw/a", "gw/b"]), sites),
)


@given(registries)
def test_what_is_written_of_a_registry_is_read_as_the_same(registry: Registry) -> None:
    assert Registry.read(json.loads(json.dumps(registry.told()))) == registry


@given(registries, st.sampled_from([1, 2, 3]), TIME)
def test_of_several_carriers_the_last_to_get_it_counts(registry: Registry, transponder: int, time: int) -> None:
    there = [one for one in registry.carried.get(transponder, []) if one.since <= time < one.until]
    found = registry.carrier(transponder, time)
    assert (found is None) == (not there)
    assert found is None or found.since == max(one.since for one in there)


@given(registries, st.sampled_from([1, 2, 3]), TIME, st.none() | carried)
def test_what_an_alert_says_stands_in_place_of_what_the_registry_says_now(
    registry: Registry, transponder: int, time: int, then: Carried | None
) -> None:
    if then is not None and not then.since <= time < then.until:
        then = Carried(then.vessel, BEGINNING, END)
    details: dict[str, Any] = {} if then is None else {"vessel": json.loads(json.dumps(then.told()))}
    as_told = registry.as_told(Subject(SubjectKind.TRANSPONDER, transponder, "x"), time, details)
    assert as_told.carrier(transponder, time) == then
    others = {id_: some for id_, some in registry.carried.items() if id_ != transponder}
    assert {id_: some for id_, some in as_told.carried.items() if id_ != transponder} == others


def test_a_device_stands_where_its_alert_says() -> None:
    registry = Registry(sites={"gw/a": Site(1.0, 2.0), "gw/b": Site(3.0, 4.0)})
    subject = Subject(SubjectKind.DEVICE, 1, "gw/a")
    moved = registry.as_told(subject, 0, {"site": Site(5.0, 6.0, frozenset({"x"})).told()})
    assert (moved.site("gw/a"), moved.site("gw/b")) == (Site(5.0, 6.0, frozenset({"x"})), Site(3.0, 4.0))
    assert registry.as_told(subject, 0, {}).site("gw/a") is None


def test_edges_are_where_something_begins_or_ends() -> None:
    licensed, other = Vessel("A", licensed=(5, END)), Vessel("B", licensed=(BEGINNING, 50))
    registry = Registry({1: [Carried(licensed, BEGINNING, 20), Carried(other, 20, 30)], 2: [Carried(other, 40, END)]})
    assert registry.edges(licences=False) == {20, 30, 40}
    assert registry.edges(licences=True) == {5, 20, 30, 40, 50}
    assert registry.of([2, 9], ["gw/none"]) == Registry({2: [Carried(other, 40, END)]})


@pytest.mark.parametrize("said", [{}, {"vessels": [{}], "devices": {}}, {"vessels": [], "devices": {"a": {}}}])
def test_what_is_not_of_that_form_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Registry.read(said)
