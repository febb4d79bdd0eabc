"""launch.env and what a session's environment is made of."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.environment import LaunchEnvInvalid, launch_env_path, read_launch_env, session_environment
from lifecycle.runtimes.base import LaunchSpec
from lifecycle.runtimes.table import load_table
from lifecycle.states import Mode
from transport.identity import Identity
from transport.paths import Root

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True).filter(
    lambda name: not name.startswith(("PEER_", "PEERWAKE_", "TMUX"))
)
VALUES = st.text(
    st.characters(exclude_characters="\0\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", exclude_categories=["Cs"])
)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_quoted_values_come_back_as_they_are(tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("env") / "launch.env"
    path.write_text("".join(f'export {name}="{value}"\n' for name, value in values.items()), "utf-8")
    assert read_launch_env(path) == values


@given(st.text())
def test_any_text_is_read_or_refused_by_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("env") / "launch.env"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = read_launch_env(path)
    except LaunchEnvInvalid as error:
        assert str(path) in str(error)
        return
    assert not any("\0" in value or "\n" in value for value in found.values())


def test_comments_blank_lines_quotes_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "launch.env"
    path.write_bytes(b"# c\r\n\r\n A = no\r\nB= x y \r\nC='a b'\nD=\"\nE=a=b#c\n".replace(b" A = no\r\n", b""))
    assert read_launch_env(path) == {"B": "x y", "C": "a b", "D": '"', "E": "a=b#c"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A = b\n", r":1: not NAME=value"),
        ("ok=1\n1A=b\n", r":2: not NAME=value"),
        ("PEERWAKE_HOME=/x\n", r":1: PEERWAKE_HOME is set by peerwake; remove the line"),
        ("TMUX=x\n", "TMUX is set by peerwake"),
        ("A=a\0b\n", "holds NUL"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "launch.env"
    path.write_text(text)
    with pytest.raises(LaunchEnvInvalid, match=problem):
        read_launch_env(path)


@pytest.mark.parametrize("kind", ["writable", "link", "fifo", "directory", "huge"])
def test_a_file_that_cannot_be_trusted_or_read_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "launch.env"
    match kind:
        case "writable":
            path.write_text("A=b\n")
            path.chmod(0o622)
        case "link":
            (tmp_path / "real").write_text("A=b\n")
            path.symlink_to(tmp_path / "real")
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "huge":
            path.write_text("A=b\n" * 20_000)
    with pytest.raises(LaunchEnvInvalid):
        read_launch_env(path)


def test_no_file_is_no_variables(tmp_path: Path) -> None:
    assert read_launch_env(tmp_path / "launch.env") == {}


def test_a_session_gets_its_own_and_nobody_elses_identity(root: Root, tmp_path: Path) -> None:
    path = launch_env_path(tmp_path, "scripted")
    path.parent.mkdir(parents=True)
    path.write_text("HOME=/home/elsewhere\nMINE=1\n")
    operator = {"HOME": "/home/me", "PATH": "/bin", "SECRET_TOKEN": "x", "PEER_IDENTITY": "claude-mallory"}
    operator |= {"PEERWAKE_CREDENTIAL": "another", "TMUX": "/tmp/x", "TMUX_PANE": "%1", "TERM": "xterm"}
    spec = LaunchSpec(Mode.FRESH, "s1", tmp_path, Path("/home/me"), "python")
    env = session_environment(
        load_table(root.runtimes).get("scripted"),
        spec,
        operator=operator,
        root=root,
        identity=Identity("scripted", "alice"),
        credential="mine",
    )
    ours = {name: value for name, value in env.items() if name.startswith("PEER")}
    assert ours == {
        "PEER_PERSONALITY": "alice",
        "PEER_RUNTIME": "scripted",
        "PEER_IDENTITY": "scripted-alice",
        "PEERWAKE_HOME": str(root.home),
        "PEERWAKE_CREDENTIAL": "mine",
    }
    assert (env["HOME"], env["MINE"], env["PATH"]) == ("/home/elsewhere", "1", "/bin")
    assert not {"SECRET_TOKEN", "TMUX", "TMUX_PANE", "TERM"} & set(env)
