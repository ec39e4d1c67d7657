"""The command line: ``haidang``. What it needs is loaded within ``main``, for loading too may be interrupted."""

from __future__ import annotations

import errno
import os
import sys


def main() -> None:
    """Entry point of the console script."""
    try:
        _plug()
        try:
            from ingest.commands.root import app  # noqa: PLC0415  # see above

            app()
        finally:
            sys.stdout.flush()  # here, where a full disk can still be told of
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as exc:
        if exc.errno not in {errno.EPIPE, errno.ENOSPC, errno.EBADF}:
            raise
        if exc.errno != errno.EPIPE:  # else whoever read our output has gone: nobody is left to be told
            sys.stderr.write(f"haidang: standard output: {exc.strerror}\n")
        # What is left in the buffer goes nowhere, without a word at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _plug() -> None:
    """Have the standard streams that we were started without: else a socket would be number 1.

    Writing to a standard output that is closed fails; what goes to such a standard error is lost.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY), "r")
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


if __name__ == "__main__":
    main()
