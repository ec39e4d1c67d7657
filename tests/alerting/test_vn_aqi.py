"""VN_AQI: the worked examples of Decision 1459/QĐ-TCMT, and what its formulas say everywhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.engine import Engine
from alerting.rules import RULE
from alerting.vn_aqi import BANDS, BREAKPOINTS, INDEX, METRICS, band, daily, hourly, nowcast, sub_index
from decoders.identity import device_id, metric_id
from decoders.records import READING, Observations, empty

T0 = 1_767_229_200_000_000  # 2026-01-01T01:00Z

#: The decision's example, 09:00 to 20:00.
PM2_5 = [26.9, 24.7, 20.5, 23.5, 19.5, 16.5, 19.0, 16.5, 20.3, 22.4, 19.6, 20.6]


def test_the_decision_s_nowcast() -> None:
    assert min(PM2_5) / max(PM2_5) == pytest.approx(0.61, abs=0.005)
    found = nowcast(PM2_5[::-1])
    assert found == pytest.approx(20.3, abs=0.05)


def test_the_decision_s_hour() -> None:
    found = hourly({"pm2_5": PM2_5[::-1], "o3": [136.1], "no2": [118.7]})
    assert found is not None
    rounded = {metric: int(part + 0.5) for metric, part in found.parts.items()}
    assert rounded == {"pm2_5": 41, "o3": 43, "no2": 59}  # the decision prints 60: its formula gives 59.35
    assert found.parts["no2"] == pytest.approx(59.35)
    assert (found.value, found.main, found.band.vi) == (59, "no2", "trung bình")


@pytest.mark.parametrize(
    ("column", "concentration", "printed"),
    [("o3_8h", 89.3, 45), ("o3", 114.6, 36), ("no2", 130.8, 65), ("pm2_5", 55.7, 110)],
)
def test_the_decision_s_day_by_pollutant(column: str, concentration: float, printed: int) -> None:
    assert int(sub_index(column, concentration) + 0.5) == printed


def test_the_decision_s_day() -> None:
    ozone = [60.0] * 16 + [89.3] * 7 + [114.6]
    found = daily({"pm2_5": [55.7] * 24, "no2": [100.0] * 23 + [130.8], "o3": ozone})
    assert found is not None
    assert (found.value, found.main, found.band.id) == (110, "pm2_5", "poor")
    assert found.parts["o3"] == pytest.approx(sub_index("o3_8h", (89.3 * 7 + 114.6) / 8))


def test_ozone_over_8_h_does_not_count_above_400() -> None:
    found = daily({"pm10": [10.0] * 24, "o3": [401.0] * 24})
    assert found is not None
    assert found.parts["o3"] == sub_index("o3", 401.0) < 201


def test_nowcast_wants_two_of_the_newest_three() -> None:
    assert nowcast([None, 10.0, 10.0]) == 10.0
    assert nowcast([10.0, None, None, 10.0, 10.0]) is None
    assert nowcast([]) is None
    assert nowcast([0.0, 0.0]) == 0.0
    assert nowcast([40.0, 10.0]) == 40.0 / 2 + 10.0 / 4  # the least weight: not divided by the weights
    assert nowcast([*[10.0] * 12, 1000.0]) == pytest.approx(10.0)  # a thirteenth hour is not looked at


def test_without_particles_there_is_no_index() -> None:
    assert hourly({"o3": [500.0]}) is None
    assert daily({"no2": [500.0] * 24}) is None
    assert daily({"pm2_5": [50.0] * 17 + [None] * 7}) is None
    assert daily({"pm2_5": [50.0] * 18 + [None] * 6}) is not None


@given(st.sampled_from(sorted(BREAKPOINTS)), st.floats(0, 200_000), st.floats(0, 200_000))
def test_the_index_rises_with_the_concentration_and_meets_its_breakpoints(
    column: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert 0 <= sub_index(column, low) <= sub_index(column, high) <= 500
    for index, point in zip(INDEX, BREAKPOINTS[column], strict=False):
        assert sub_index(column, point) == index


@given(st.lists(st.one_of(st.none(), st.floats(0, 1000)), max_size=14))
def test_nowcast_lies_between_what_was_measured(means: list[float | None]) -> None:
    found = nowcast(means)
    there = [mean for mean in means[:12] if mean is not None]
    if found is not None:
        assert 0 <= found <= max(there) * (1 + 1e-9)


def test_bands_leave_no_gap() -> None:
    assert [band(value).id for value in (0, 50, 51, 100, 101, 150, 151, 200, 201, 300, 301, 500)] == [
        found.id for found in BANDS for _ in range(2)
    ]
    assert {found.rgb for found in BANDS} >= {(0, 228, 0), (126, 0, 35)}
    assert set(METRICS) <= set(BREAKPOINTS)


def test_an_alert_says_the_band_of_its_index_in_both_languages_and_its_colour() -> None:
    device, pm = device_id("hue-gw-1", "air-1"), metric_id("pm2_5")
    table = empty(READING, 4)
    table["device"], table["metric"], table["value"] = device, pm, [100.0, 100.0, 100.0, 1.0]
    table["time"] = table["received_at"] = [T0 + hour * 3_600_000_000 for hour in range(4)]
    table["message"] = range(4)
    rule = RULE.validate_python(
        {
            "id": "air",
            "kind": "vn_aqi",
            "title": {"en": "Air", "vi": "Không khí"},
            "levels": [{"severity": "warning", "band": "bad"}],
            "source": "test",
        }
    )
    engine = Engine([rule], [], names={("device", device): "hue-gw-1/air-1"})
    fired = engine.judge(Observations(messages=4, readings=table), int(table["time"][-1])).transitions[-1]
    found = hourly({"pm2_5": [100.0, 100.0, 100.0]})
    assert found is not None
    assert fired.value == found.value
    assert (fired.details["band"], fired.details["colour"]) == ({"en": "bad", "vi": "xấu"}, "#ff0000")
