"""The prompt on its way to a client: files, parts, what is asked of the client, and what goes wrong quietly."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.prompt.compose import PROMPT_BYTES
from lifecycle.prompt.layers import Layer, Piece, Prompt
from lifecycle.prompt.passing import Abilities, Prompts, prompt_path, split, write_prompt
from lifecycle.runtimes.base import PROMPT_PARTS, LaunchSpec
from lifecycle.runtimes.claude import CLAUDE
from lifecycle.runtimes.codex import CODEX
from lifecycle.runtimes.scripted import SCRIPTED
from lifecycle.session import Session
from lifecycle.states import Mode
from tests.lifecycle.prompt.kitchen import Kitchen
from transport.identity import Identity
from transport.logs import Logs

ALICE = Identity("scripted", "alice")


@pytest.fixture
def prompts(kitchen: Kitchen) -> Prompts:
    return Prompts(kitchen.composer, Logs(kitchen.root.logs, kitchen.clock), Abilities())


def spec(kitchen: Kitchen, mode: Mode = Mode.FRESH, reference: str | None = None) -> LaunchSpec:
    return LaunchSpec(mode, "s", kitchen.root.peers / "alice", Path("/h"), "python", session_ref=reference)


def prepare(kitchen: Kitchen, prompts: Prompts, mode: Mode = Mode.FRESH, reference: str | None = None):
    known = kitchen.registry.get("alice")
    assert known is not None
    return prompts.prepare(known, SCRIPTED, spec(kitchen, mode, reference))


def log(kitchen: Kitchen) -> str:
    path = kitchen.root.logs / "lifecycle.log"
    return path.read_text() if path.exists() else ""


def test_a_prompt_is_written_for_its_owner_alone(kitchen: Kitchen, prompts: Prompts) -> None:
    kitchen.doctrine("Be kind.")
    launch, edition = prepare(kitchen, prompts)
    assert launch.prompt_file == prompt_path(kitchen.root, ALICE)
    assert launch.prompt_file.read_text() == kitchen.compose().text
    assert launch.prompt_file.stat().st_mode & 0o777 == 0o600
    assert launch.prompt_file.parent.stat().st_mode & 0o777 == 0o700
    assert f"ev=prompt identity=scripted-alice edition={edition} bytes=" in log(kitchen)
    assert "Be kind" not in log(kitchen)


def test_a_bare_peer_is_passed_nothing_and_what_it_had_goes(kitchen: Kitchen, prompts: Prompts) -> None:
    path = kitchen.doctrine()
    prepare(kitchen, prompts)
    path.unlink()
    assert prepare(kitchen, prompts) == (spec(kitchen), None)
    assert not prompt_path(kitchen.root, ALICE).exists()


def test_flaws_are_logged(kitchen: Kitchen, prompts: Prompts) -> None:
    path = kitchen.doctrine()
    os.mkfifo(path.parent / "pipe.md")
    assert prepare(kitchen, prompts)[1] is not None
    assert f"ev=prompt-flaw identity=scripted-alice path={path.parent}/pipe.md reason=" in log(kitchen)


def test_a_prompt_that_cannot_be_written_keeps_nobody_from_waking(kitchen: Kitchen, prompts: Prompts) -> None:
    kitchen.doctrine()
    (kitchen.root.run / "prompts").write_text("in the way")
    assert prepare(kitchen, prompts) == (spec(kitchen), None)
    assert "ev=prompt-failed identity=scripted-alice" in log(kitchen)


def test_a_registry_that_cannot_be_read_neither(kitchen: Kitchen, prompts: Prompts) -> None:
    kitchen.doctrine()
    known = kitchen.registry.get("alice")
    assert known is not None
    kitchen.composer.registry.__init__(kitchen.root, kitchen.clock)  # type: ignore[misc]
    kitchen.root.registry.write_text('{"version": 99, "peers": []}')
    assert prompts.prepare(known, SCRIPTED, spec(kitchen)) == (spec(kitchen), None)
    assert "ev=prompt-flaw" in log(kitchen)


@pytest.mark.parametrize(
    ("mode", "reference", "edition", "is_held"),
    [
        (Mode.RESUME, "r-1", "same", True),
        (Mode.RESUME, "r-1", "older", False),
        (Mode.RESUME, "r-2", "same", False),
        (Mode.FRESH, None, "same", False),
    ],
)
def test_a_conversation_holds_what_its_last_session_was_given(
    kitchen: Kitchen, prompts: Prompts, mode: Mode, reference: str | None, edition: str, is_held: bool
) -> None:
    kitchen.doctrine()
    given_then = kitchen.compose().edition if edition == "same" else "0123456789ab"
    last = Session(ALICE, "h", "t", "/", "f", 0.0, Mode.FRESH, "s", session_ref="r-1", prompt=given_then)
    kitchen.sessions.save(last)
    kitchen.sessions.retire(last)
    assert prepare(kitchen, prompts, mode, reference)[0].is_prompt_held == is_held


def test_a_record_that_cannot_be_read_holds_nothing(kitchen: Kitchen, prompts: Prompts) -> None:
    kitchen.doctrine()
    kitchen.root.flag(ALICE, "last").write_text("{")
    launch, edition = prepare(kitchen, prompts, Mode.RESUME, "r-1")
    assert not launch.is_prompt_held and edition is not None


def test_parts_stand_beside_the_whole_and_old_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "prompts" / "x.md"
    write_prompt(path, Prompt((Piece(Layer.DOMAIN, "line\n" * 5_000),)), 9_000)
    assert sorted(each.name for each in path.parent.iterdir()) == ["x.md", "x.md.1", "x.md.2", "x.md.3"]
    write_prompt(path, Prompt((Piece(Layer.DOMAIN, "short"),)), 9_000)
    assert sorted(each.name for each in path.parent.iterdir()) == ["x.md", "x.md.1"]
    assert (path.parent / "x.md.1").read_text() == path.read_text()
    write_prompt(path, Prompt((Piece(Layer.DOMAIN, "short"),)), None)
    assert sorted(each.name for each in path.parent.iterdir()) == ["x.md"]


@given(st.text(max_size=400), st.integers(8_000, 10_000))
def test_parts_are_the_whole_within_the_limit(text: str, limit: int) -> None:
    data = text.encode("utf-8", "ignore").decode() * 200
    parts = split(data, limit)
    assert all(len(part.encode()) <= limit for part in parts)
    bodies = parts if len(parts) == 1 else [part.partition("\n")[2] for part in parts]
    assert "".join(bodies) == data
    for number, part in enumerate(parts, 1):
        assert len(parts) == 1 or part.startswith(f"<!-- part {number} of {len(parts)} of your instructions -->\n")


@pytest.mark.parametrize("unit", ["x", "é", "\N{GRINNING FACE}", "word \n", "x" * 700 + "\n", "x" * 8_500 + "\n"])
def test_the_longest_prompt_fits_into_the_parts_that_there_are(unit: str) -> None:
    text = unit * (PROMPT_BYTES // len(unit.encode()))
    assert CODEX.prompt_part_bytes is not None
    assert len(split(text, CODEX.prompt_part_bytes)) <= PROMPT_PARTS


def client(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n[ \"$1\" = --help ] || exit 3\necho asked >> {path}.asked\necho '{text}'\n")
    path.chmod(0o755)
    return path


def asked(path: Path) -> int:
    return len(Path(f"{path}.asked").read_text().splitlines())


def test_a_client_is_asked_once_until_it_is_another(tmp_path: Path) -> None:
    abilities, path = Abilities(), client(tmp_path / "claude", "  --system-prompt-snapshot <on|off>")
    env = {"PATH": os.environ["PATH"]}
    assert abilities.has(str(path), "--system-prompt-snapshot", env)
    assert abilities.has(str(path), "--system-prompt-snapshot", env)
    assert asked(path) == 1
    client(path, "an older one")
    assert not abilities.has(str(path), "--system-prompt-snapshot", env)
    assert asked(path) == 2


def test_a_client_that_does_not_answer_can_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifecycle.prompt.passing.HELP_SECONDS", 0.2)
    path = tmp_path / "claude"
    path.write_text("#!/bin/sh\nexec sleep 60\n")
    path.chmod(0o755)
    assert not Abilities().has(str(path), "--x", {"PATH": os.environ["PATH"]})
    assert not Abilities().has(str(tmp_path / "absent"), "--x", {})


@pytest.mark.parametrize(("text", "is_renewed"), [("--system-prompt-snapshot", True), ("none", False)])
def test_claude_is_told_to_read_the_prompt_anew_where_it_can(
    kitchen: Kitchen, prompts: Prompts, tmp_path: Path, text: str, is_renewed: bool
) -> None:
    path = client(tmp_path / "claude", text)
    launch = LaunchSpec(Mode.RESUME, "s", Path("/"), Path("/h"), "python", session_ref="r", prompt_file=Path("/p"))
    settled = prompts.settled(launch, CLAUDE, str(path), {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    words = CLAUDE.command(settled)
    assert words[3:5] == ("--append-system-prompt-file", "/p")
    assert words[5:] == (("--system-prompt-snapshot", "off") if is_renewed else ())


def test_a_program_of_the_peers_own_is_not_run_outside_its_session(
    kitchen: Kitchen, prompts: Prompts, tmp_path: Path
) -> None:
    """A peer writes the PATH of its launch.env; what the server starts for it would pass for the operator's."""
    (tmp_path / "operator").mkdir()
    client(tmp_path / "operator" / "claude", "--system-prompt-snapshot")
    path = client(tmp_path / "claude", "--system-prompt-snapshot")
    launch = LaunchSpec(Mode.RESUME, "s", Path("/"), Path("/h"), "python", session_ref="r", prompt_file=Path("/p"))
    settled = prompts.settled(launch, CLAUDE, str(path), {"PATH": str(tmp_path / "operator")})
    assert not settled.is_prompt_renewable
    assert not Path(f"{path}.asked").exists()


def test_nobody_is_asked_where_it_makes_no_difference(kitchen: Kitchen, prompts: Prompts, tmp_path: Path) -> None:
    path = client(tmp_path / "claude", "")
    for launch, runtime in (
        (LaunchSpec(Mode.FRESH, "s", Path("/"), Path("/h"), "python", prompt_file=Path("/p")), CLAUDE),
        (LaunchSpec(Mode.RESUME, "s", Path("/"), Path("/h"), "python", session_ref="r"), CLAUDE),
        (LaunchSpec(Mode.RESUME, "s", Path("/"), Path("/h"), "python", session_ref="r", prompt_file=Path("/p")), CODEX),
    ):
        assert prompts.settled(launch, runtime, str(path), {}) == launch
    assert not Path(f"{path}.asked").exists()
