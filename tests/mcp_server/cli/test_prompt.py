"""`peerwake prompt`: exactly what the next wake passes, without any server."""

import json

import pytest

from lifecycle.prompt.layers import Layer
from tests.mcp_server.cli.conftest import Run
from transport.create import NewPeer, create
from transport.paths import Root
from transport.profile import Profile
from transport.registry import Registry


@pytest.fixture
def alice(root: Root) -> Profile:
    return create(Registry(root), NewPeer(runtimes=("claude", "codex"), name="alice", description="Keeps the log"))


def doctrine(alice: Profile, mode: int = 0o600) -> None:
    path = alice.cwd / ".peerwake" / "PEER.md"
    path.write_text("Be kind.\n")
    path.chmod(mode)


def test_it_prints_the_prompt_and_nothing_else(peerwake: Run, alice: Profile) -> None:
    doctrine(alice)
    done = peerwake("prompt", "alice")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("<!-- peerwake prompt, edition ")
    assert done.stdout.endswith('PEER.md" -->\nBe kind.\n')
    assert 'runtime: "claude"' in done.stdout
    assert 'runtime: "codex"' in peerwake("prompt", "alice", "--runtime", "codex").stdout


def test_a_bare_start_is_said_on_the_side(peerwake: Run, alice: Profile) -> None:
    done = peerwake("prompt", "alice")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"peerwake: alice starts bare: there is no {alice.cwd}/.peerwake/PEER.md\n"
    shown = json.loads(peerwake("prompt", "alice", "--json").stdout)
    assert (shown["is_bare"], shown["bytes"], shown["text"], shown["edition"]) == (True, 0, "", None)


def test_as_json_it_has_the_size_of_each_layer(peerwake: Run, alice: Profile, root: Root) -> None:
    doctrine(alice)
    (root.home / "PEERS.md").write_text("x" * 60_000)
    shown = json.loads(peerwake("prompt", "alice", "--json").stdout)
    assert list(shown["layers"]) == list(Layer)
    assert shown["layers"]["doctrine"]["files"] == [f"{alice.cwd}/.peerwake/PEER.md"]
    assert shown["layers"]["registry"] == {"bytes": 0, "files": []}
    assert shown["bytes"] == len(shown["text"].encode()) <= shown["limit_bytes"]
    assert shown["flaws"][0]["path"] == f"{root.home}/PEERS.md"
    assert (shown["host"], shown["identity"]) == (alice.host, "claude-alice")


def test_what_is_left_out_is_said_on_the_side_too(peerwake: Run, alice: Profile) -> None:
    doctrine(alice, 0o666)
    done = peerwake("prompt", "alice")
    assert done.returncode == 0
    assert "others can write it; run: chmod go-w" in done.stderr
    assert "Be kind" not in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nobody",), "there is no peer 'nobody'"),
        (("alice", "--runtime", "opencode"), "does not declare the runtime 'opencode'"),
        ((), "PEER is missing"),
    ],
)
def test_bad_input(peerwake: Run, alice: Profile, words: tuple[str, ...], said: str) -> None:
    done = peerwake("prompt", *words)
    assert done.returncode != 0 and said in done.stderr and done.stdout == ""
