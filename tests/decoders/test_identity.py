"""Ids are the same everywhere and apart from each other; an MMSI says who transmits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoders import identity
from decoders.identity import MmsiClass, is_ais, mid, mmsi_class, mmsi_classes, transponder_id


def test_ids_are_those_that_are_in_databases_already() -> None:
    assert identity.source_id("gateways") == 8404563573342433768
    assert identity.device_id("hue-gw-1", "kim-long") == 8703927000945367506
    assert identity.metric_id("water_level") == 4878279749954382016
    assert identity.transponder_id("vms", "HUE-0012") == 9097078207796306860
    assert identity.digest(b"13aENmgP1CPH`N`NJ2L0Mwwb2@Nj0") == 8631124909513837612


@given(st.text(), st.text())
def test_ids_fit_a_bigint_are_no_mmsi_and_differ_by_kind(gateway: str, device: str) -> None:
    ids = {
        identity.source_id(f"{gateway}/{device}"),
        identity.device_id(gateway, device),
        identity.metric_id(f"{gateway}/{device}"),
        identity.transponder_id(gateway, device),
    }
    assert len(ids) == 4
    assert all(1 << 62 <= one < 1 << 63 for one in ids)
    assert not any(is_ais(one) for one in ids)
    assert not is_ais(np.array(sorted(ids))).any()


@given(st.integers(0, 999_999_999))
def test_every_mmsi_is_the_id_of_an_ais_transponder(mmsi: int) -> None:
    assert is_ais(mmsi)
    assert is_ais(np.array([mmsi])).all()


@pytest.mark.parametrize(
    ("mmsi", "expected", "flag"),
    [
        (574123456, MmsiClass.SHIP, 574),
        (57412345, MmsiClass.GROUP, 574),
        (5741234, MmsiClass.BASE_STATION, 574),
        (111574123, MmsiClass.SAR_AIRCRAFT, 574),
        (857412345, MmsiClass.HANDHELD, 574),
        (970123456, MmsiClass.SART, None),
        (972123456, MmsiClass.MOB, None),
        (974123456, MmsiClass.EPIRB, None),
        (985741234, MmsiClass.CRAFT, 574),
        (995741234, MmsiClass.ATON, 574),
        (123456789, MmsiClass.UNKNOWN, None),
        (999999999, MmsiClass.ATON, None),
        (1, MmsiClass.BASE_STATION, None),
    ],
)
def test_the_form_of_an_mmsi_says_who_transmits_and_under_which_flag(
    mmsi: int, expected: MmsiClass, flag: int | None
) -> None:
    assert mmsi_class(mmsi) is expected
    assert list(MmsiClass)[mmsi_classes(np.array([mmsi]))[0]] is expected
    assert mid(mmsi) == flag


def test_what_is_no_mmsi_has_no_class() -> None:
    assert mmsi_class(transponder_id("device", "vms-provider/HUE-1")) is MmsiClass.UNKNOWN
