"""``python -m quality``: run scenarios, print precision, recall and time to detect; ``--json`` prints a line a kind.

Exit codes: 0 as good as the floors, 1 worse or a scenario failed, 2 refused (unknown scenario, nothing can run here).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench.places import Places
from quality.run import Failed, run
from quality.scenarios import scenarios
from quality.scenarios.ordinary import week
from quality.score import Score
from services.errors import ServicesError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quality.scenario import Scenario

#: The least that precision and recall may be: (clean, noisy).
FLOORS = (1.0, 0.95)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit code."""
    asked = _parser().parse_args(arguments)
    known = {scenario.name: scenario for scenario in [*scenarios(asked.seed), week(asked.seed)]}
    unknown = [name for name in asked.only or () if name not in known]
    if unknown:
        sys.stderr.write(f"quality: no scenario {unknown[0]!r}; there are {', '.join(known)}\n")
        return 2
    chosen = [known[name] for name in asked.only] if asked.only else list(known.values())
    if not asked.week and not asked.only:
        chosen = [scenario for scenario in chosen if scenario.name != "week"]
    try:
        return _run(chosen, as_json=asked.json)
    except ServicesError as error:
        sys.stderr.write(f"quality: {error}\n")
        return 2


def _run(chosen: Sequence[Scenario], *, as_json: bool) -> int:
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    found: dict[tuple[str, bool], Score] = {}
    failed = False
    with Places(durable=False) as places:
        for number, scenario in enumerate(chosen, start=1):
            if errors.is_terminal:
                errors.print(f"[dim]{number} of {len(chosen)}: {scenario.name}[/]")
            try:
                with places.migrated() as dsn:
                    kinds = run(scenario, dsn, Path(places.folder))
            except Failed as why:
                errors.print(f"quality: {why}")
                failed = True
                continue
            for kind, one in kinds.items():
                for missed in one.missed:
                    errors.print(f"{scenario.name}: missed {missed.rule} of {missed.subject}")
                for false in one.false:
                    errors.print(f"{scenario.name}: not expected: {false.rule} of {false.subject}, {false.worst}")
                found.setdefault((kind, scenario.noisy), Score()).add(one)
    worse = [place for place, one in found.items() if min(one.precision, one.recall) < FLOORS[place[1]]]
    _say(console, found, as_json=as_json)
    return 1 if failed or worse else 0


def _say(console: Console, found: dict[tuple[str, bool], Score], *, as_json: bool) -> None:
    table = Table(title="Alerts against labelled scenarios")
    for column in ("kind", "", "expected", "precision", "recall", "time to detect"):
        table.add_column(column, justify="left" if column in {"kind", ""} else "right")
    for (kind, noisy), one in sorted(found.items()):
        expected = one.hits + len(one.missed)
        if as_json:
            said = {"kind": kind, "noisy": noisy, "expected": expected, "false": len(one.false)}
            said |= {"precision": one.precision, "recall": one.recall, "delay_seconds": one.delay_s}
            sys.stdout.write(json.dumps(said) + "\n")
            continue
        delay = "" if one.delay_s is None else f"{one.delay_s / 60:.1f} min"
        figures = f"{one.precision:.2f}", f"{one.recall:.2f}"
        table.add_row(kind, "noisy" if noisy else "clean", str(expected), *figures, delay)
    if not as_json:
        console.print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m quality", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", action="append", metavar="NAME", help="a scenario; may be given several times")
    parser.add_argument("--seed", type=int, default=1, help="of noise, loss and ordinary boats")
    parser.add_argument("--week", action="store_true", help="also a week of 400 honest vessels and 60 stations")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each kind")
    return parser


if __name__ == "__main__":
    sys.exit(main())
