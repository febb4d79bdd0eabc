"""A world for each live test."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bench.ground import processes_of
from tests.live.workers import REPLY, settle_on
from tests.live.world import World, until
from transport.paths import Root


@pytest.fixture
def world(root: Root) -> Iterator[World]:
    world = World(root)
    yield world
    world.close()


@pytest.fixture
def ready(world: World) -> Iterator[World]:
    """A world with short windows and the peers `worker` (ephemeral) and `bob`."""
    settle_on(world)
    world.create("worker", "--ephemeral", rules=REPLY)
    world.create("bob")
    yield world
    world.close()
    # A bridge may have begun to start a server when the last one was killed.
    for pid in processes_of(world.root.home):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    until(lambda: not processes_of(world.root.home), 20, "the end of all processes of this world")
