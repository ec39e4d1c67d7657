"""Chat services by way of Apprise, which here speaks to a real HTTP target (its ``json://``)."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from alerting.channels.base import TemporaryFailure
from alerting.channels.chat import Chat
from alerting.channels.settings import AppriseSettings
from alerting.model import AlertState, Severity
from tests.alerting.samples import queued, transition
from tests.alerting.target import Target, answer, drip, drop, hang, target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.alerting.target import Step

TOKEN = "zqtoken7Kx"


def made(*ports: int, **more: Any) -> AppriseSettings:
    urls = [f"json://user:{TOKEN}@127.0.0.1:{port}/{TOKEN}?rto=30" for port in ports]
    return AppriseSettings.model_validate({"name": "chat", "urls": urls, "language": "en", **more})


@pytest.fixture
async def service() -> AsyncIterator[Target]:
    async with target() as running:
        yield running


@pytest.fixture
def passed_on() -> Iterator[list[logging.LogRecord]]:
    """What comes to the root logger, whose handlers write the program's log."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    keep = Keep(logging.WARNING)
    logging.getLogger().addHandler(keep)
    yield records
    logging.getLogger().removeHandler(keep)


def bodies(*services: Target) -> list[dict[str, Any]]:
    return [json.loads(seen.body) for one in services for seen in one.seen]


async def test_a_service_is_told_in_words(service: Target) -> None:
    firing = transition()
    async with Chat(made(service.port)) as channel:
        for moved in (
            firing,
            replace(firing, severity=Severity.WARNING),
            replace(firing, at=firing.at + 1, state=AlertState.RESOLVED),
        ):
            await channel.send(queued(moved, "chat"))
    told = bodies(service)
    assert told[0]["title"] == "[major] Alert: No position for 6.5 h"
    assert told[0]["message"].startswith("No position for 6.5 h\n\nAlert: 18:07 on 18 Nov (UTC+7)\n")
    assert [one["type"] for one in told] == ["failure", "warning", "success"]


@pytest.mark.parametrize(
    ("step", "why"),
    [(answer(503), "HTTP 503"), (answer(404), "HTTP 404"), (answer(302, Location="/"), ""), (drop, "no connection")],
)
async def test_whatever_it_answers_it_may_take_it_later(
    service: Target, step: Step, why: str, passed_on: list[logging.LogRecord]
) -> None:
    service.steps.extend([step] * 40)  # redirects are followed by the library, so far
    async with Chat(made(service.port)) as channel:
        with pytest.raises(TemporaryFailure, match=rf"url 1 \(JSON\): .*{why}") as caught:
            await channel.send(queued(transition(), "chat"))
        service.steps.clear()
        await channel.send(queued(transition(), "chat"))
    assert TOKEN not in str(caught.value)
    # What the library and those below it log may hold tokens for other services, so none of it is passed on.
    assert [one.name for one in passed_on if one.name.split(".")[0] in {"apprise", "urllib3", "requests"}] == []


async def test_of_several_services_those_that_took_it_are_not_told_again(service: Target) -> None:
    async with target() as other:
        other.steps.append(answer(500))
        async with Chat(made(service.port, other.port)) as channel:
            with pytest.raises(TemporaryFailure, match=r"^url 2 \(JSON\): not taken: HTTP 500$"):
                await channel.send(queued(transition(), "chat"))
            await channel.send(queued(transition(), "chat"))
        assert (len(service.seen), len(other.seen)) == (1, 2)


async def test_one_that_hangs_holds_no_other_and_its_threads_are_bounded(service: Target) -> None:
    async with target() as hanging, asyncio.timeout(60):
        hanging.steps.extend([hang] * 9)
        async with Chat(made(service.port, hanging.port, timeout_seconds=2.0, concurrency=2)) as channel:
            why = [r"no answer in 2 s", r"no answer in 2 s", r"2 earlier calls have not come back"]
            for number, reason in enumerate(why):
                with pytest.raises(TemporaryFailure, match=rf"^url 2 \(JSON\): {reason}"):
                    await channel.send(queued(transition(start=1_795_000_000_000_000 + number), "chat"))
            with pytest.raises(TemporaryFailure, match="an earlier try has not come back"):
                await channel.send(queued(transition(), "chat"))
            assert len(hanging.seen) == 2
            assert len(service.seen) == 3


async def test_one_that_drips_for_ever_is_left_in_time(service: Target) -> None:
    service.steps.append(drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"))
    async with asyncio.timeout(30), Chat(made(service.port, timeout_seconds=0.5)) as channel:
        with pytest.raises(TemporaryFailure, match="no answer"):
            await channel.send(queued(transition(), "chat"))


async def test_a_hung_service_does_not_hold_the_end_of_the_process(service: Target) -> None:
    service.steps.append(hang)
    code = f"""
        import asyncio
        from alerting.channels.base import TemporaryFailure
        from alerting.channels.chat import Chat
        from tests.alerting.samples import queued, transition
        from tests.alerting.channels.test_chat import made
        async def main():
            async with Chat(made({service.port}, timeout_seconds=0.5)) as channel:
                try:
                    await channel.send(queued(transition(), "chat"))
                except TemporaryFailure as failure:
                    print(failure)
        asyncio.run(main())
    """
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=25,
        check=True,
    )
    assert done.stdout == "url 1 (JSON): no answer in 0.5 s\n"
    assert TOKEN not in done.stderr


def test_secrets_do_not_show_in_a_printed_setting() -> None:
    settings = made(1)
    assert TOKEN not in repr(settings) + settings.model_dump_json()
