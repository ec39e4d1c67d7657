"""``haidang run``: the service."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.commands.options import Config
from ingest.loop import runner
from ingest.output import refusals
from ingest.service import Service
from ingest.settings import check_runnable, load
from ingest.telemetry import configure_logging

if TYPE_CHECKING:
    from ingest.settings import Settings


@refusals
def run(
    config: Config,
    wait: Annotated[float, typer.Option(help="Seconds to wait at start for parts that do not answer yet.", min=0)] = 0,
) -> None:
    """Take in, judge, store and tell, until SIGTERM; then commit and ack what was received.

    Rules and zones that change are taken over while it runs; SIGHUP has them looked at now.
    """
    settings = load(config)
    configure_logging(settings.service.log_format, settings.service.log_level)
    check_runnable(settings, config)
    with runner() as loop:
        loop.run(_serve(settings, wait))


async def _serve(settings: Settings, wait: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    service = Service(settings)
    loop.add_signal_handler(signal.SIGHUP, service.reload)
    await service.check(wait)
    # What start-up made is there to stay: do not walk it at every collection.
    gc.freeze()
    await service.run(stop)
