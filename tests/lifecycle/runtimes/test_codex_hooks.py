"""The options that give Codex its prompt; what the client makes of them is in tests/clients/test_prompt.py."""

import re
import subprocess
import tomllib
from pathlib import Path

from lifecycle.runtimes.base import PROMPT_PARTS
from lifecycle.runtimes.codex_hooks import HOOKS_KEY, hook_hash, prompt_words


def parsed(words: tuple[str, ...]) -> dict:
    assert words[::2] == ("-c", "-c")
    return tomllib.loads("\n".join(words[1::2]))["hooks"]


def test_the_hash_is_the_one_that_0_169_0_wrote_itself() -> None:
    written = "sha256:da789769ebc925aab2478500c3d6bdb739df2300a7142aea8a9e95999e705d89"
    assert hook_hash('cat "$PEERWAKE_PROMPT"', {}) == written


def test_each_part_has_a_hook_and_each_hook_is_trusted() -> None:
    hooks = parsed(prompt_words())
    (group,) = hooks["SessionStart"]
    commands = [hook["command"] for hook in group["hooks"]]
    assert len(commands) == PROMPT_PARTS
    assert hooks["state"] == {
        f"{HOOKS_KEY}:{number}": {"trusted_hash": hook_hash(command, {})} for number, command in enumerate(commands)
    }


def test_a_matcher_is_part_of_what_is_trusted() -> None:
    hooks = parsed(prompt_words("startup|clear"))
    (group,) = hooks["SessionStart"]
    assert group["matcher"] == "startup|clear"
    assert hooks["state"][f"{HOOKS_KEY}:0"]["trusted_hash"] == hook_hash(
        group["hooks"][0]["command"], {"matcher": "startup|clear"}
    )
    assert hooks["state"] != parsed(prompt_words())["state"]


def test_a_hook_prints_its_part_and_none_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "it's a prompt.md.2").write_text("the second\n")
    commands = [hook["command"] for hook in parsed(prompt_words())["SessionStart"][0]["hooks"]]
    for number, said in ((1, ""), (2, "the second\n")):
        done = subprocess.run(
            ["/bin/sh", "-c", commands[number - 1]],
            env={"PEER_PROMPT": str(tmp_path / "it's a prompt.md"), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (done.stdout, done.stderr) == (said, "")
        assert re.search(rf"\.{number}\b", commands[number - 1])
