"""``haidang run``: the service."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.commands.options import Config
from ingest.loop import runner
from ingest.output import refusals
from ingest.service import LOOK_AGAIN_SECONDS, Service
from ingest.settings import ConfigError, load
from ingest.telemetry import configure_logging
from ingest.watch import rule_book
from storage.errors import DatabaseAway

if TYPE_CHECKING:
    from alerting.pack import RuleBook
    from ingest.settings import Settings


@refusals
def run(
    config: Config,
    wait: Annotated[float, typer.Option(help="Seconds to wait at start for parts that do not answer yet.", min=0)] = 0,
) -> None:
    """Take in, judge, store and tell, until SIGTERM; then commit and ack what was received."""
    settings = load(config)
    configure_logging(settings.service.log_format, settings.service.log_level)
    if not settings.sources:
        raise ConfigError(f"{config}: no sources: add a table such as [sources.coast]")
    with runner() as loop:
        loop.run(_serve(settings, wait))


async def _serve(settings: Settings, wait: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    deadline = time.monotonic() + wait
    book = await _rule_book(settings, deadline)
    service = Service(settings, book)
    await service.check(max(0.0, deadline - time.monotonic()))
    # What start-up made is there to stay: do not walk it at every collection.
    gc.freeze()
    await service.run(stop)


async def _rule_book(settings: Settings, deadline: float) -> RuleBook:
    """The rules and zones, once the database is there to keep them."""
    while True:
        try:
            return await rule_book(settings)
        except DatabaseAway:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
