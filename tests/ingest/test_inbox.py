"""The inbox: bounded, in order, and it wakes everyone when it ends."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.delivery import Delivery, count_lines
from ingest.inbox import Inbox, InboxClosed


def delivery(n: int, messages: int = 1, size: int = 10) -> Delivery:
    return Delivery(b"x" * size, "s", str(n), n, messages=messages)


async def test_a_batch_is_what_has_arrived_in_order_up_to_the_size() -> None:
    inbox = Inbox()
    for n in range(10):
        await inbox.put(delivery(n, messages=3))
    batch = await inbox.take(10)
    assert [d.origin for d in batch] == ["0", "1", "2"]
    assert [d.origin for d in await inbox.take(1_000)] == [str(n) for n in range(3, 10)]
    assert inbox.messages == 0
    assert inbox.bytes == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), max_size=30))
async def test_every_message_has_an_instant_of_its_own_and_none_is_moved_without_need(
    arrivals: list[tuple[int, int]],
) -> None:
    inbox, at, free = Inbox(), 1_000_000, 0
    for n, (later, messages) in enumerate(arrivals):
        at += later
        await inbox.put(delivery(n, messages)._replace(received_at=at))
    for (later, messages), taken in zip(arrivals, await inbox.take(1_000, 0) if arrivals else [], strict=True):
        free = max(free, taken.received_at)
        assert taken.received_at == free  # after all instants of those before
        free += messages
        del later
    sent = [1_000_000 + sum(later for later, _ in arrivals[: n + 1]) for n in range(len(arrivals))]
    inbox = Inbox()
    for n, time in enumerate(sent):
        await inbox.put(delivery(n)._replace(received_at=time + 10 * n))
    taken_in = await inbox.take(1_000, 0) if arrivals else []
    assert [d.received_at for d in taken_in] == [time + 10 * n for n, time in enumerate(sent)]


async def test_a_clock_that_was_put_back_is_followed() -> None:
    inbox = Inbox()
    await inbox.put(delivery(0)._replace(received_at=3_600_000_000))
    await inbox.put(delivery(1)._replace(received_at=1))
    assert [d.received_at for d in await inbox.take(10)] == [3_600_000_000, 1]


async def test_a_delivery_larger_than_a_batch_still_comes_whole() -> None:
    inbox = Inbox(max_messages=5)
    await inbox.put(delivery(1, messages=50))
    assert [d.messages for d in await inbox.take(10)] == [50]


async def test_full_holds_the_source_until_there_is_room() -> None:
    inbox = Inbox(max_messages=2)
    await inbox.put(delivery(1))
    await inbox.put(delivery(2))
    assert not inbox.offer(delivery(3))
    waiting = asyncio.create_task(inbox.put(delivery(4)))
    await asyncio.sleep(0)
    assert not waiting.done()
    await inbox.take(1)
    await asyncio.wait_for(waiting, 5)
    assert inbox.messages == 2


async def test_bytes_bound_too() -> None:
    inbox = Inbox(max_messages=1_000, max_bytes=100)
    await inbox.put(delivery(1, size=100))
    assert not inbox.offer(delivery(2))


async def test_closing_wakes_producers_and_consumer_and_leaves_what_waits() -> None:
    inbox = Inbox(max_messages=1)
    await inbox.put(delivery(1))
    producer = asyncio.create_task(inbox.put(delivery(2)))
    await asyncio.sleep(0)
    inbox.close()
    with pytest.raises(InboxClosed):
        await producer
    assert len(await inbox.take(10)) == 1
    assert await inbox.take(10) == []
    with pytest.raises(InboxClosed):
        inbox.force(delivery(3))


async def test_waiting_for_nothing_gives_an_empty_batch_for_the_tick() -> None:
    assert await Inbox().take(10, wait=0.001) == []


@given(st.lists(st.integers(1, 40), max_size=50), st.integers(1, 60), st.integers(1, 100))
def test_nothing_is_lost_doubled_or_reordered(sizes: list[int], batch: int, bound: int) -> None:
    async def run() -> list[int]:
        inbox = Inbox(max_messages=bound)

        async def produce() -> None:
            for n, size in enumerate(sizes):
                await inbox.put(delivery(n, messages=size))
            inbox.close()

        producer = asyncio.create_task(produce())
        taken: list[int] = []
        while got := await inbox.take(batch):
            assert len(got) == 1 or sum(d.messages for d in got) <= batch
            taken.extend(int(d.origin) for d in got)
        await producer
        return taken

    assert asyncio.run(run()) == list(range(len(sizes)))


@given(st.lists(st.binary(max_size=5).filter(lambda b: b"\n" not in b), max_size=20), st.booleans())
def test_lines_are_counted_with_or_without_a_last_line_end(lines: list[bytes], ended: bool) -> None:
    payload = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    oracle = payload.split(b"\n")
    if oracle[-1] == b"":
        oracle.pop()
    assert count_lines(payload) == len(oracle)
