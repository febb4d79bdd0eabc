"""The sends of one connection in their order, and who is cancelled while it waits for its turn."""

import asyncio

import anyio
import pytest

from mcp_server.serve.turns import Turns, to_the_end


async def test_who_comes_while_a_turn_is_taken_waits_for_it_in_order() -> None:
    turns, done = Turns(), list[int]()
    gates = [anyio.Event() for _ in range(3)]

    async def send(number: int) -> None:
        async with turns.take():
            await gates[number].wait()
        done.append(number)

    assert not turns.is_taken
    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(send, number)
        await anyio.wait_all_tasks_blocked()
        assert turns.is_taken
        gates[2].set()
        gates[1].set()
        await anyio.wait_all_tasks_blocked()
        assert done == []
        gates[0].set()
    assert done == [0, 1, 2]
    assert not turns.is_taken


async def test_a_turn_that_failed_keeps_nobody() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="it is broken"):
        async with turns.take():
            raise ValueError("it is broken")
    assert not turns.is_taken
    async with turns.take():
        assert turns.is_taken


async def test_who_is_cancelled_as_a_task_is_so_at_the_first_wait_after_it() -> None:
    future = asyncio.get_running_loop().create_future()
    seen: list[object] = []

    async def work() -> None:
        seen.append(await to_the_end(future))
        seen.append("accepted")
        await asyncio.sleep(3600)

    task = asyncio.ensure_future(work())
    for _ in range(2):
        await anyio.wait_all_tasks_blocked()
        task.cancel()
    await anyio.wait_all_tasks_blocked()
    assert seen == []
    future.set_result("looked at")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["looked at", "accepted"]


async def test_who_is_cancelled_with_its_scope_is_so_at_the_first_wait_after_it() -> None:
    future = asyncio.get_running_loop().create_future()
    seen: list[object] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        asyncio.get_running_loop().call_soon(future.set_result, "looked at")
        seen.append(await to_the_end(future))
        await anyio.sleep(3600)
    assert seen == ["looked at"]
    assert scope.cancelled_caught


async def test_what_a_future_raises_is_raised() -> None:
    future = asyncio.get_running_loop().create_future()
    future.set_exception(FileNotFoundError("gone"))
    with pytest.raises(FileNotFoundError):
        await to_the_end(future)
