"""Fixtures for all tests: asyncio only, and a short private root each time."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import warm
from transport.paths import Root

warm.enable()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def root() -> Iterator[Root]:
    """A prepared root on a path short enough for unix sockets, removed afterwards."""
    home = Path(tempfile.mkdtemp(prefix="pw-", dir="/tmp"))
    root = Root(home)
    root.prepare()
    yield root
    shutil.rmtree(home, ignore_errors=True)
