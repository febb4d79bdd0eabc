"""Tests against the real clients are skipped, and counted, where there are none."""

from collections.abc import Iterator

import pytest

from tests.clients.harness import VARIABLE, clients_bin


@pytest.fixture(autouse=True)
def real_clients(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("clients") and clients_bin() is None:
        pytest.skip(f"NO REAL CLIENTS: {VARIABLE} does not name a directory with claude and codex in it")
    yield
