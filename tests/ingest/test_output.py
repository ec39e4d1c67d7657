"""How commands speak: listings that can be read and copied from, and JSON that every reader holds exactly."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from ingest.output import json_line, listing

COLUMNS = {"time": "started", "rule": "rule", "assignee": "assignee", "what": "what", "id": "id"}
TEXT = "TTH-90123-TS entered the protection core Dien Hai at 3.4 kn, 200 m from its edge, and is under way"


def rows(count: int = 3) -> list[dict[str, Any]]:
    return [
        {"time": "2026-10-05T06:00", "rule": f"rule-{n}", "assignee": None, "what": TEXT, "id": str(uuid4())}
        for n in range(count)
    ]


def listed(capsys: pytest.CaptureFixture[str], found: list[dict[str, Any]]) -> list[str]:
    listing(found, COLUMNS, as_json=False, empty="none")
    return capsys.readouterr().out.splitlines()


def test_for_a_program_a_row_is_a_line_with_all_that_it_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    found = rows()
    heading, *lines = listed(capsys, found)
    assert heading.split() == ["started", "rule", "what", "id"]  # nobody has an assignee
    for row, line in zip(found, lines, strict=True):
        assert line.split("  ")[-1].strip() == row["id"]
        assert TEXT in line


@pytest.mark.parametrize(("columns", "lines"), [(80, 1), (105, 3), (400, 1)])
def test_a_narrow_screen_breaks_texts_and_no_id(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int, lines: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    found = rows(1)
    _, *body = listed(capsys, found)
    assert len(body) == lines
    assert found[0]["id"] in body[0]


def test_an_assignee_is_shown_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows()
    found[1]["assignee"] = "Lan"
    heading, *_ = listed(capsys, found)
    assert "assignee" in heading


def test_integers_that_not_every_reader_holds_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    json_line({"mmsi": 574000001, "subject_id": 2**62 + 1, "of": [{"source_id": -(2**60)}], "yes": True})
    assert json.loads(capsys.readouterr().out) == {
        "mmsi": 574000001,
        "subject_id": str(2**62 + 1),
        "of": [{"source_id": str(-(2**60))}],
        "yes": True,
    }
