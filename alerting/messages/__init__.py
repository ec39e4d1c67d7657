"""What an alert says to people, in English and Vietnamese. One line each: it has to fit a text message.

One file a family of rules; the words they share are in ``alerting.messages.words``.
"""

from __future__ import annotations

from alerting.messages.devices import (
    no_data_fired,
    no_data_resolved,
    threshold_eased,
    threshold_reached,
    threshold_resolved,
)
from alerting.messages.figures import figure
from alerting.messages.words import (
    METRIC_NAMES,
    SEVERITIES,
    Text,
    clock,
    edited,
    iso,
    metric_name,
    out_of_force,
    quantity,
    retracted,
    revised,
    span,
    titled,
    told_late,
    withdrawn,
)
from alerting.messages.zones import zone_fired, zone_neared, zone_resolved

__all__ = [
    "METRIC_NAMES",
    "SEVERITIES",
    "Text",
    "clock",
    "edited",
    "figure",
    "iso",
    "metric_name",
    "no_data_fired",
    "no_data_resolved",
    "out_of_force",
    "quantity",
    "retracted",
    "revised",
    "span",
    "threshold_eased",
    "threshold_reached",
    "threshold_resolved",
    "titled",
    "told_late",
    "withdrawn",
    "zone_fired",
    "zone_neared",
    "zone_resolved",
]
