"""Idle is proven with the real clients: silence is no idleness, and a touched file is no work."""

import os
import time
from pathlib import Path

import anyio
import pytest

from tests.clients.client import eventually
from tests.clients.product import Product
from tests.model_server import Rule, Say
from transport.identity import Identity

pytestmark = [pytest.mark.clients, pytest.mark.live]

BOTH = pytest.mark.parametrize("runtime", ["claude", "codex"])
IDLE_SECONDS = 4.0
SETTINGS = {"idle_seconds": IDLE_SECONDS, "tick_seconds": 0.5, "control_idle_seconds": 0.5}


def is_closed(product: Product, runtime: str) -> bool:
    return f"ev=close identity={runtime}-alice why=idle" in product.log("lifecycle")


async def closed(product: Product, runtime: str, *touched: Path) -> None:
    """Wait until the session is closed, touching these files all the time."""

    async def look() -> bool | None:
        for path in touched:
            os.utime(path)
        return is_closed(product, runtime) or None

    assert await eventually(look, 60), product.log("lifecycle")


@BOTH
async def test_a_session_is_not_closed_in_a_long_silent_generation(runtime: str) -> None:
    """The model says nothing for several times as long as an idle session may last."""
    rule = Rule("think hard", Say("thought it over", silence=3.5 * IDLE_SECONDS))
    async with Product((rule,), settings=SETTINGS) as product:
        await product.create("alice", runtime)
        await product.serve()
        assert (await product.send("alice", "think hard", "--wait", "60"))["status"] == "delivered"
        pane = product.session("alice").pane
        until = time.monotonic() + 3 * IDLE_SECONDS
        while time.monotonic() < until:
            assert not is_closed(product, runtime), product.log("lifecycle")
            await anyio.sleep(0.2)
        assert pane is not None and pane.is_alive()
        await closed(product, runtime)
        assert product.log("exits") == ""


@BOTH
async def test_an_idle_session_is_closed_though_its_files_are_touched(runtime: str) -> None:
    async with Product((), settings=SETTINGS) as product:
        await product.create("alice", runtime)
        await product.serve()
        assert (await product.send("alice", "hello", "--wait", "60"))["status"] == "delivered"
        files = [product.root.pane_log(Identity(runtime, "alice"))]
        files += [path for name in (".claude", ".codex") for path in (product.home / name).rglob("*.jsonl")]
        assert len(files) > 1
        await closed(product, runtime, *files)
        assert product.log("exits") == "" and "session-gone" not in product.log("lifecycle")
