"""One clock for both halves, and a demonstration in which something happens early, whatever the hour."""

from __future__ import annotations

import pytest

from alerting import pack
from simulators.areas import load_areas
from simulators.events import SECOND, Publish, Sentences, Truth, iso
from simulators.scenario import as_publish, demonstration, scenario_events
from tests.simulators.samples import START

ZONES = load_areas(pack.PACKS / "hue" / "zones.geojson")


@pytest.mark.parametrize("hour", range(0, 24, 3))
@pytest.mark.parametrize("seed", [1, 20])
def test_the_demonstration_enters_a_zone_and_passes_an_alarm_level_within_25_seconds(seed: int, hour: int) -> None:
    start = START + hour * 3600 * SECOND
    config = demonstration(seed=seed, start=start, seconds=60.0, zones=ZONES)
    told = [event for event in scenario_events(config) if isinstance(event, Truth)]
    early = [t.fields for t in told if t.time <= start + 25 * SECOND and "at_start" not in t.fields]
    assert any(f["kind"] == "zone_entered" and f["zone"].startswith("demo-") for f in early)
    assert any(f["kind"] == "threshold" and f["subject"].endswith("/kim-long") for f in early)
    kim_long = [t.fields["level"] for t in told if str(t.fields["subject"]).endswith("/kim-long")]
    assert kim_long[:3] == [1.0, 2.0, 3.5]
    assert not any(t.fields.get("at_start") for t in told if t.fields["kind"] == "threshold")


def test_both_halves_speak_in_one_order_and_the_same_each_time() -> None:
    config = demonstration(seed=1, start=START, seconds=60.0, zones=ZONES)
    events = list(scenario_events(config))
    assert events == list(scenario_events(config))
    assert [e.time for e in events] == sorted(e.time for e in events)
    assert {type(e) for e in events} == {Sentences, Publish, Truth}


def test_a_receiver_publishes_its_sentences_on_its_raw_topic() -> None:
    event = Sentences(START, "hue-ais-1", b"!AIVDM\r\n")
    assert as_publish(event) == Publish(START, "hue-ais-1", "haidang/v1/hue-ais-1/nmea", b"!AIVDM\r\n")


def test_an_instant_is_told_with_milliseconds_in_utc() -> None:
    assert iso(START + 123_999) == "2026-09-21T14:13:20.123Z"
