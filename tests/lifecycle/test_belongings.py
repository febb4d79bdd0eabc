"""What belongs to one peer and nobody else."""

from pathlib import Path

import pytest

from lifecycle.belongings import copy_state, forget, identities_of, moved_path, pane_logs_of, state_of
from lifecycle.operator_env import FILE
from transport.identity import Identity
from transport.paths import Root

OURS = ("claude-al.stopped", "claude-al.last", "codex-al.deaths", "codex-al.wake.lock", "claude-al.new")
OTHERS = ("claude-al-b.stopped", "claude-b-al.stopped", "al.stopped", ".claude-al.x.tmp", "spool.db", "claude-al")


@pytest.fixture
def filled(root: Root) -> Root:
    for name in (*OURS, *OTHERS):
        (root.state / name).write_text(name)
    return root


def test_a_name_that_contains_another_is_another(filled: Root) -> None:
    assert {found.path.name for found in state_of(filled, "al")} == set(OURS)
    assert identities_of(filled, "al") == {Identity("claude", "al"), Identity("codex", "al")}
    forget(filled, "al")
    assert {path.name for path in filled.state.iterdir()} == set(OTHERS)


def test_the_operators_environment_belongs_to_no_peer(root: Root) -> None:
    (root.state / FILE).write_text("{}")
    forget(root, "env")
    assert (root.state / FILE).exists()


def test_a_copy_leaves_locks_and_what_cannot_be_read(filled: Root) -> None:
    for _ in range(2):
        copy_state(filled, "al", "alba", (Path("/a"), Path("/b")))
    copied = {found.path.name: found.path.read_text() for found in state_of(filled, "alba")}
    assert copied == {
        "claude-alba.stopped": "claude-al.stopped",
        "claude-alba.new": "claude-al.new",
        "codex-alba.deaths": "codex-al.deaths",
    }
    forget(filled, "alba", with_locks=False)
    assert state_of(filled, "alba") == []


def test_locks_are_kept_where_they_are_held(filled: Root) -> None:
    forget(filled, "al", with_locks=False)
    assert [found.path.name for found in state_of(filled, "al")] == ["codex-al.wake.lock"]


def test_sockets_logs_and_prompts_go_too(root: Root) -> None:
    ours = [root.tmux_socket(Identity("claude", "al")), root.run / "claude-al.hb", root.run / "prompts/claude-al.md"]
    ours += [root.logs / "panes" / name for name in ("claude-al.log", "claude-al.log.1")]
    theirs = [root.logs / "panes" / "claude-al-b.log", root.run / "server.json"]
    for path in (*ours, *theirs):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert [log.under("alba").name for log in pane_logs_of(root, "al")] == ["claude-alba.log", "claude-alba.log.1"]
    forget(root, "al")
    assert [path for path in ours if path.exists()] == []
    assert all(path.exists() for path in theirs)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/p/al", "/p/alba"), ("/p/al/x", "/p/alba/x"), ("/p/al-b/x", "/p/al-b/x"), ("/q/p/al", "/q/p/al"), ("", "")],
)
def test_only_paths_in_the_directory_move(path: str, expected: str) -> None:
    assert moved_path(path, (Path("/p/al"), Path("/p/alba"))) == expected
