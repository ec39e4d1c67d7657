"""The demonstration, where neither root nor Debian is at hand: the same program on plain tables.

With the real parts it is a step of its own of ``.ci/run``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson
import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(150)
async def test_without_root_the_demonstration_shows_all_of_it_on_plain_tables(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingest.cli", "demo", "--plain", "--for", "5", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HAIDANG_HOME": str(tmp_path)},
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    shown = orjson.loads(out)
    assert shown["faults"] == []
    assert urlsplit(shown["dsn"]).path == "/haidang_demo"  # of its own
    assert all(count >= 0 for count in shown["rows"].values())
    assert shown["edition"] == "plain"
    assert shown["delivered"]["zone"] > 0
    assert shown["delivered"]["threshold"] > 0
    assert "No root or no Debian here" in err.decode()
