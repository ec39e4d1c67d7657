"""The page about channels: every type has an example there, every example loads and opens, every field is explained."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from alerting.channels import open_channel, template
from alerting.channels.settings import ChannelSettings
from alerting.channels.text import TextOptions, write
from ingest.settings import load
from tests.alerting.samples import queued, transition

PAGE = (Path(__file__).parents[3] / "docs" / "channels.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
TYPES = {model.model_fields["type"].default for model in get_args(get_args(ChannelSettings)[0])}


def channels(example: str) -> list[dict[str, Any]]:
    return list(tomllib.loads(example)["channels"].values())


def test_every_type_has_an_example_under_its_name() -> None:
    headed = re.findall(r"^## (\w+)\n\n```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert {name for name, _ in headed} == TYPES
    for name, example in headed:
        assert [one["type"] for one in channels(example)] == [name]


@pytest.mark.parametrize("example", EXAMPLES)
async def test_the_example_loads_and_opens(example: str, tmp_path: Path) -> None:
    (tmp_path / "haidang.toml").write_text(example)
    [made] = load(tmp_path / "haidang.toml").channels.values()
    async with open_channel(made):
        pass
    if isinstance(made, TextOptions):
        assert write(made, queued(transition()).payload).body


def test_every_field_of_texts_is_explained() -> None:
    table = PAGE[PAGE.index("| field | what |") :]
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`([\w.]+)`", row)
    }
    assert named == {*template.FIELDS, "details.NAME"}
