"""``python -m services up [NAME...] | down [NAME...] | status | root``: the local services as daemons of this checkout.

``up`` ends with one line of JSON on stdout that says where they are. Exit codes: 0 done, 1 failed, 2 refused.
"""

from __future__ import annotations

import argparse
import sys

from services import debian_root, local
from services.errors import ServicesError, ServicesUnavailable


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m services", description="The real parts on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start, and print where they are as one line of JSON")
    up.add_argument("--metrics", default=local.METRICS, metavar="HOST:PORT", help="what Prometheus scrapes")
    down = commands.add_parser("down", help="stop; data stays")
    for command in (up, down):
        command.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(local.NAMES)} (default: all)")
    commands.add_parser("status", help="print where those that run are")
    commands.add_parser("root", help="make the private Debian that they run in, and start nothing")
    asked = parser.parse_args(arguments)
    try:
        match asked.command:
            case "up":
                endpoints = local.start(asked.names or local.NAMES, metrics=asked.metrics, progress=_say)
                sys.stdout.write(f"{endpoints.as_json()}\n")
            case "down":
                if not local.stop(asked.names or local.NAMES, progress=_say):
                    _say("nothing was running")
            case "root":
                debian_root.obtain(progress=_say)
            case _:
                sys.stdout.write(f"{local.status().as_json()}\n")
    except (ServicesUnavailable, ValueError) as error:
        _say(f"services: {error}")
        return 2
    except ServicesError as error:
        _say(f"services: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
