"""A rule kept as JSON is the same rule when it is read again."""

from __future__ import annotations

import orjson
import pytest

from alerting import pack
from alerting.rules import RULE, Rule


@pytest.mark.parametrize("rule", pack.load(["pack:hue"]).rules, ids=lambda rule: rule.id)
def test_a_rule_survives_being_stored(rule: Rule) -> None:
    again = RULE.validate_json(orjson.dumps(rule.body))
    assert again == rule
    assert again.version == rule.version


def test_a_long_duration_survives_too() -> None:
    body = {
        "kind": "no_data",
        "id": "quiet",
        "title": {"en": "Quiet", "vi": "Im lặng"},
        "severity": "info",
        "source": "test",
        "devices": ["*"],
        "metric": "water_level",
        "after": "400d",
    }
    rule = RULE.validate_python(body)
    assert RULE.validate_json(orjson.dumps(rule.body)) == rule
