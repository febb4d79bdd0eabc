"""The suite and the inspector as `scripts/conformance` installs them, and one quiet world for a module."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.bad_input import HTTP, private_world
from tests.live.world import World

VARIABLE = "PEERWAKE_PROTOCOL_BIN"


@pytest.fixture(scope="session")
def programs() -> Path:
    """The directory with `conformance`, `mcp-inspector` and `node`."""
    named = os.environ.get(VARIABLE)
    if not named or not (Path(named) / "conformance").exists():
        pytest.skip(f"NO CONFORMANCE SUITE: {VARIABLE} does not name its directory; run scripts/conformance")
    return Path(named)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A server with every listener, and two sleeping peers, alice and bob."""
    with private_world(**HTTP) as world:
        world.create("alice")
        world.create("bob")
        world.serve()
        yield world
