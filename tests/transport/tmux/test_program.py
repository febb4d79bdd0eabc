"""Which tmux is good enough."""

from pathlib import Path

import pytest

from tests.terminal import directory
from transport.tmux import program
from transport.tmux.program import TmuxMissing, TmuxTooOld, find_tmux


def fake_tmux(path: Path, version: str) -> str:
    (path / "tmux").write_text(f"#!/bin/sh\necho '{version}'\n")
    (path / "tmux").chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("said", "known"), [("tmux 3.2", (3, 2)), ("tmux 3.3a", (3, 3)), ("tmux next-3.6", (3, 6))])
def test_versions(said: str, known: tuple[int, int]) -> None:
    with directory() as path:
        assert program.version(find_tmux(fake_tmux(path, said))) == known


@pytest.mark.parametrize("said", ["tmux master", "tmux openbsd-7.4"])
def test_development_versions_are_trusted(said: str) -> None:
    with directory() as path:
        assert program.version(find_tmux(fake_tmux(path, said))) == (99, 0)


def test_missing_and_old_versions_say_what_to_do() -> None:
    with directory() as path:
        with pytest.raises(TmuxMissing, match="apt install tmux"):
            find_tmux(str(path))
        with pytest.raises(TmuxTooOld, match=r"tmux 3\.1c.*3\.2"):
            find_tmux(fake_tmux(path, "tmux 3.1c"))
