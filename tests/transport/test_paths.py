"""The root: private, ours, writable, and short enough for sockets."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from transport.identity import Identity
from transport.paths import SOCKET_PATH_BYTES, Root, RootUnusable, check_socket_path, root_from_environment

ALICE = Identity("claude", "alice")


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pw-", dir="/tmp") as name:
        yield Path(name)


def test_directories_are_made_private(home: Path) -> None:
    root = Root(home / "new")
    root.prepare()
    root.prepare()
    for path in (root.home, root.peers, root.run, root.run / "tmux", root.state, root.logs, root.logs / "panes"):
        assert path.stat().st_mode & 0o777 == 0o700, path


def test_every_place_is_below_the_root(home: Path) -> None:
    root = Root(home)
    assert root.tmux_socket(ALICE) == home / "run" / "tmux" / "claude-alice.sock"
    assert root.flag(ALICE, "stopped") == home / "state" / "claude-alice.stopped"
    assert root.pane_log(ALICE) == home / "logs" / "panes" / "claude-alice.log"
    places = [getattr(root, name) for name, value in vars(Root).items() if isinstance(value, property)]
    assert len(places) > 10
    assert all(place.is_relative_to(home) for place in places)


def test_a_root_too_long_for_sockets_is_refused_before_anything_is_made(home: Path) -> None:
    root = Root(home / ("x" * 80))
    with pytest.raises(RootUnusable, match="PEERWAKE_HOME"):
        root.prepare()
    assert not root.home.exists()


def test_a_socket_path_is_measured_in_bytes() -> None:
    check_socket_path(Path("/" + "x" * (SOCKET_PATH_BYTES - 1)))
    for path in ("/" + "x" * SOCKET_PATH_BYTES, "/" + "é" * (SOCKET_PATH_BYTES // 2)):
        with pytest.raises(RootUnusable, match="PEERWAKE_HOME"):
            check_socket_path(Path(path))


def test_a_root_open_to_others_is_refused(home: Path) -> None:
    root = Root(home)
    root.prepare()
    home.chmod(0o755)
    with pytest.raises(RootUnusable, match="chmod 700"):
        root.prepare()


def test_a_root_where_a_file_stands_is_refused(home: Path) -> None:
    (home / "state").write_text("x")
    with pytest.raises(RootUnusable, match="PEERWAKE_HOME"):
        Root(home).prepare()
    with pytest.raises(RootUnusable, match="PEERWAKE_HOME"):
        Root(home / "state" / "below").prepare()


def test_a_root_that_cannot_be_written_is_refused(home: Path) -> None:
    before = os.geteuid()
    home.chmod(0o755)
    (home / "root").mkdir(mode=0o555)
    try:
        if before == 0:
            os.seteuid(65534)
        with pytest.raises(RootUnusable, match="PEERWAKE_HOME"):
            Root(home / "root").prepare()
    finally:
        os.seteuid(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_else_s_root_is_refused(home: Path) -> None:
    root = Root(home / "root")
    root.prepare()
    os.chown(root.home, 65534, -1)
    with pytest.raises(RootUnusable, match="belongs to uid 65534"):
        root.check()


def test_the_environment_names_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for value, expected in {"": ".peerwake", "~/there": "there", "here": "here", str(tmp_path / "x"): "x"}.items():
        monkeypatch.setenv("PEERWAKE_HOME", value)
        assert root_from_environment() == Root(tmp_path / expected)
    monkeypatch.delenv("PEERWAKE_HOME")
    assert root_from_environment() == Root(tmp_path / ".peerwake")
