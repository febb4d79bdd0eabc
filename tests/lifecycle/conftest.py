"""The tests of lifecycle spend no time on the disk, except those that are live."""

import pytest


@pytest.fixture(autouse=True)
def quick_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the fsync of flags, records and the registry; the spool keeps its own."""
    if request.node.get_closest_marker("live") is None:
        monkeypatch.setattr("transport.files.fsync", lambda descriptor: None)
