"""The metric catalogue: every metric has a unit, a range that something lies in, and says where that is from."""

from __future__ import annotations

from decoders.catalogue import METRICS


def test_every_metric_has_a_unit_a_range_and_its_source() -> None:
    assert len(METRICS) > 30
    for name, metric in METRICS.items():
        assert name == metric.name
        assert metric.low < metric.high
        assert all((metric.unit, metric.description, metric.source)), name
