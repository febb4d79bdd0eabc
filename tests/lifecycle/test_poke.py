"""A pause that news cut short, on any clock."""

import anyio

from lifecycle.poke import Poke
from tests.clock import FakeClock


async def test_a_pause_ends_at_its_time() -> None:
    clock = FakeClock()
    poke, ended = Poke(clock), anyio.Event()

    async def pause() -> None:
        await poke.pause(5)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pause)
        await clock.advance(4.9)
        assert not ended.is_set()
        await clock.advance(0.2)
        assert ended.is_set()
    assert clock.sleeping == 0


async def test_news_before_and_during_a_pause_end_it_once() -> None:
    clock = FakeClock()
    poke = Poke(clock)
    poke.set()
    poke.set()
    await poke.pause(1000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poke.pause, 1000)
        await clock.advance(1)
        assert clock.sleeping == 1
        poke.set()
    assert clock.sleeping == 0


async def test_a_cancelled_pause_leaves_no_sleeper() -> None:
    clock = FakeClock()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Poke(clock).pause, 1000)
        await clock.advance(1)
        tasks.cancel_scope.cancel()
    assert clock.sleeping == 0
