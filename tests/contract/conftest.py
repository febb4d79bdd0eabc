"""A world for each live test."""

from collections.abc import Iterator

import pytest

from tests.live.world import World
from transport.paths import Root


@pytest.fixture
def world(root: Root) -> Iterator[World]:
    world = World(root)
    yield world
    world.close()
