"""Figures made of readings: what is kept of these (meters), and what is seen of it (gauges)."""

from __future__ import annotations

from alerting.meters.air import Air
from alerting.meters.base import HOUR, UNLOOKED, Figure, begins, offset
from alerting.meters.panel import GaugeRule, Look, Panel
from alerting.rules import AqiRule

__all__ = ["HOUR", "UNLOOKED", "Air", "Figure", "FigureRule", "GaugeRule", "Look", "Panel", "begins", "offset"]

FigureRule = GaugeRule | AqiRule
