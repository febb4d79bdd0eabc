"""A store in a directory of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transport.spool.support import check_counts
from transport.spool.store import SpoolStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def store(path: Path) -> Iterator[SpoolStore]:
    """An empty store, checked for soundness when the test is over."""
    with SpoolStore(path) as store:
        yield store
        check_counts(store)
