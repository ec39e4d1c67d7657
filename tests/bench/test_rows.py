"""Every row runs from end to end, against real servers, with inputs that measure nothing."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.harness import OURS, Contestant, Measure, Row, Sample, Target, compare
from bench.places import Places
from bench.rows import ROWS
from services.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.debian_root import DebianRoot

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def places(debian_root: DebianRoot) -> Iterator[Places]:
    with Places(durable=False) as found:
        yield found


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.name)
def test_a_row_gives_a_figure_for_each_of_its_measures(kind: type[Row], places: Places) -> None:
    with kind(places, quick=True) as row:
        lines = compare(row, 1)
    assert {line.measure.name for line in lines} == {measure.name for measure in kind.measures}
    for line in lines:
        assert math.isfinite(line.ours)
        assert line.ours > 0
        assert line.peer is None or line.peer > 0
        assert json.loads(json.dumps(line.as_dict())) == line.as_dict()
    targets = {(measure.name, peer) for measure in kind.measures for peer in measure.targets}
    judged = {(line.measure.name, line.against or "") for line in lines if line.met is not None}
    assert judged >= {target for target in targets if target[1] != "Node-RED"}  # which is not installed everywhere


class _Counting(Row):
    name = "counting"
    title = ""
    measures = (Measure("turns", "1", {"slow": Target(least=2.5)}), Measure("alone", "MB", {"": Target(most=3)}))

    def prepare(self) -> None:
        self.turns: list[str] = []

    def contestants(self) -> Sequence[Contestant]:
        ours, slow = iter([9.0, 6.0, 100.0]), iter([3.0, 1.0, 5.0])

        def turn(name: str, values: Iterator[float], *more: str) -> Sample:
            self.turns.append(name)
            value = next(values)
            return Sample({"turns": value, **dict.fromkeys(more, value / 2)}, value / 10)

        return [Contestant(OURS, lambda: turn(OURS, ours, "alone")), Contestant("slow", lambda: turn("slow", slow))]


def test_contestants_take_turns_and_medians_are_compared() -> None:
    with Places(durable=False) as places, _Counting(places) as row:
        ratio, alone = compare(row, 3)
    assert row.turns == [OURS, "slow"] * 3
    assert (ratio.ours, ratio.peer, ratio.ratio, ratio.met) == (9.0, 3.0, 3.0, True)
    assert (ratio.cpu_ours, ratio.cpu_peer) == (0.9, 0.3)
    assert (alone.ours, alone.peer, alone.ratio, alone.met) == (4.5, None, None, False)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )


def test_json_lines_say_what_was_compared_and_on_what() -> None:
    done = run("--only", "json", "--quick", "--rounds", "2", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["against"] for line in lines] == ["json", "pydantic", "orjson", "msgspec"]
    for line in lines:
        assert (line["name"], line["unit"], line["rounds"], line["target"], line["met"]) == (
            "json",
            "1/s",
            2,
            None,
            None,
        )
        assert line["ratio"] == pytest.approx(line["ours"] / line["peer"], rel=0.01)
        assert set(line["cpu"]) == {"ours", "peer"}
        assert {"haidang", "python", "msgspec"} <= set(line["versions"])


def test_the_table_fits_a_terminal_of_100_columns() -> None:
    done = run("--only", "json", "--only", "zones", "--quick", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert "STRtree.query bulk" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("arguments", [("--only", "nothing"), ("--rounds", "0")])
def test_what_cannot_be_run_is_refused_in_one_line(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("bench: ")
    assert len(done.stderr.splitlines()) == 1


def test_servers_and_files_are_gone_after_a_run_that_was_stopped(debian_root: DebianRoot, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "bench", "--only", "latency", "--quick", "--rounds", "1000"],
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        folders = debian_root.services_folder

        def database_runs() -> bool:
            return bool(list(folders.glob(f"bench-{process.pid}-*/postgres/process.json"))) and any(tmp_path.iterdir())

        try:
            assert wait_until(database_runs, 60)
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 143
    assert list(folders.glob(f"bench-{process.pid}-*")) == []
    assert list(tmp_path.iterdir()) == []
