"""``python -m bench``: run rows, print a table, or with ``--json`` a line for each comparison.

Exit codes: 0 done, 1 a row failed, 2 refused (unknown row, nothing can run here). A target missed is no failure:
figures depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench import facts
from bench.harness import compare
from bench.places import NotHere, Places
from bench.processes import Failed
from bench.rows import ROWS
from bench.show import Shown
from services.errors import ServicesError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.harness import Line, Row


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit code."""
    asked = _parser().parse_args(arguments)
    known = {row.name: row for row in ROWS}
    unknown = [name for name in asked.only or () if name not in known]
    if unknown or asked.rounds < 1:
        rows = f"no row {unknown[0]!r}; there are {', '.join(known)}" if unknown else "--rounds is 1 or more"
        sys.stderr.write(f"bench: {rows}\n")
        return 2
    chosen = [known[name] for name in asked.only] if asked.only else list(ROWS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped on the way out
    shown = Shown(Console(highlight=False), Console(stderr=True, highlight=False))
    began, failed, done = time.monotonic(), 0, 0
    with Places(durable=not asked.quick) as places:
        if not asked.json:
            shown.machine()
        for number, kind in enumerate(chosen, start=1):
            shown.working(f"{number} of {len(chosen)}, {kind.name}")
            try:
                with kind(places, quick=asked.quick) as row:
                    lines = compare(row, asked.rounds, progress=shown.step)
                    _say(shown, row, lines, places, as_json=asked.json)
                    done += 1
            except NotHere as why:
                shown.problem(kind.name, f"left out: {why}")
            except (Failed, ServicesError) as why:
                shown.problem(kind.name, f"failed: {why}")
                failed += 1
        shown.idle()
        if not asked.json:
            shown.end(time.monotonic() - began, places.versions(), quick=asked.quick)
    if failed:
        return 1
    return 0 if done else 2


def _say(shown: Shown, row: Row, lines: Sequence[Line], places: Places, *, as_json: bool) -> None:
    if not as_json:
        shown.row(row, lines)
        return
    machine: dict[str, Any] = {"cores": facts.cores(), "processor": facts.processor(), "load": os.getloadavg()[0]}
    versions = {**facts.versions(), **places.versions()}
    for line in lines:
        said = {**line.as_dict(), "quick": row.quick, "notes": row.notes, "machine": machine, "versions": versions}
        sys.stdout.write(f"{json.dumps(said, ensure_ascii=False)}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="turns of each contestant (default 3)")
    parser.add_argument("--only", action="append", metavar="NAME", help="one row; can be given several times")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each comparison")
    parser.add_argument("--quick", action="store_true", help="tiny inputs: shows that it works, measures nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
