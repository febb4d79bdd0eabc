"""Conversations that a real client cannot take up again: a message finds it fresh, `attach` says why and what to do."""

from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
import pytest

from lifecycle.states import End
from tests.clients.product import Product
from tests.clients.resuming import BOTH, NAME, conversation_of, crashes, logged, read_together, reap, say, transcript
from tests.live.control import Control

pytestmark = [pytest.mark.clients, pytest.mark.live]


def deleted(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00\xff this is no conversation\n" * 50)


SPOILT = pytest.mark.parametrize("spoil", [deleted, emptied, garbage])


def refused(product: Product) -> str:
    """Ask what `peerwake attach` asks, and return why it is refused."""
    with Control(product.root) as control:
        answer = control.call("attach", name=NAME)
    assert not answer["ok"], answer
    assert answer["error"]["code"] == "cannot-resume"
    text = str(answer["error"]["message"])
    assert f"peerwake new {NAME}" in text
    return text


@BOTH
@SPOILT
async def test_a_message_for_a_lost_conversation_finds_it_fresh(runtime: str, spoil: Callable[[Path], None]) -> None:
    async with Product() as product:
        await product.create(NAME, runtime)
        await product.serve()
        await say(product, "before", "release")
        path = transcript(await product.client(NAME))
        await reap(product)
        spoil(path)
        message_id = await say(product, "after", "release")
        assert await read_together(product, message_id) == [message_id]
        (failure,) = logged(product, "resume-failed")
        assert path.stem[-36:] in failure["reason"] + failure.get("ref", "")
        assert logged(product, "wake")[-1]["mode"] == "fresh"
        assert not crashes(product)


@BOTH
@SPOILT
async def test_attach_to_a_lost_conversation_is_refused(runtime: str, spoil: Callable[[Path], None]) -> None:
    async with Product() as product:
        await product.create(NAME, runtime)
        await product.serve()
        await say(product, "before", "release")
        path = transcript(await product.client(NAME))
        await reap(product)
        spoil(path)
        assert path.stem[-36:] in await anyio.to_thread.run_sync(refused, product)
        assert (await product.row(NAME))["state"] == "asleep"
        assert not crashes(product)


@BOTH
async def test_a_session_in_which_nothing_was_said_cannot_be_resumed(runtime: str) -> None:
    async with Product() as product:
        await product.create(NAME, runtime)
        await product.serve()
        assert (await anyio.to_thread.run_sync(product.attach, NAME))["mode"] == "fresh"
        await reap(product, End.STOPPED)
        assert "nothing was said" in await anyio.to_thread.run_sync(refused, product)
        message_id = await say(product, "hello", "release")
        assert await read_together(product, message_id) == [message_id]


async def test_a_codex_conversation_that_is_open_elsewhere_is_left_there() -> None:
    async with Product() as product:
        directory = await product.create(NAME, "codex")
        await product.serve()
        await say(product, "before", "release")
        reference = conversation_of(await product.client(NAME))
        await reap(product)
        product.directory("other").parent.joinpath(NAME).symlink_to(directory)
        elsewhere = await product.start("codex", NAME, resume=reference)
        assert "open in another app" in await anyio.to_thread.run_sync(refused, product)
        message_id = await say(product, "after", "release")
        assert await read_together(product, message_id) == [message_id]
        assert conversation_of(elsewhere) == reference
        assert not crashes(product)
        assert product.log("exits") == ""
        await elsewhere.end()
