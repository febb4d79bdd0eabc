"""Which servers of the tests are forked, and which start cold."""

import sys

import pytest

from tests.live import warm
from tests.live.world import World
from transport.paths import Root


@pytest.mark.skipif(sys.platform != "linux", reason="servers are forked on Linux only")
def test_an_ordinary_server_is_forked(root: Root) -> None:
    assert warm.origin(World(root).env) is not None


@pytest.mark.parametrize("name", ["PYTHONPATH", "LD_PRELOAD"])
def test_a_server_with_a_variable_for_the_interpreter_or_the_linker_starts_cold_also_as_the_first(
    root: Root, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(warm, "_origin", [])
    assert warm.origin(World(root, {name: "/nowhere"}).env) is None
