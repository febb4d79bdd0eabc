"""The layers of a prompt, in order, bounded, and silent about nothing that is missing."""

import os
from pathlib import Path

import pytest

from lifecycle.prompt.compose import PROMPT_BYTES, comment
from lifecycle.prompt.layers import Prompt
from lifecycle.prompt.rules import RULES
from lifecycle.prompt.sources import FILE_BYTES
from tests.lifecycle.prompt.kitchen import GOLDEN, Kitchen, profile
from transport.vocabulary import Intelligence


def full(kitchen: Kitchen) -> None:
    kitchen.doctrine("# Alice\n\nYou keep the changelog.\n")
    kitchen.peer("bob", description="Tests releases")
    kitchen.peer("carol", intelligence=Intelligence.NATURAL, runtimes=("terminal",), default_runtime="terminal")
    kitchen.write("PEERS.md", "Nobody pushes on Fridays.\r\n")
    kitchen.write("zoo.md", "The zoo.")
    kitchen.write("art.md", "The art.")
    kitchen.write("peers/alice/.peerwake/build.md", "How to build.")
    kitchen.write("fragments/b.md", "Fragment of the host.")
    kitchen.write("peers/alice/.peerwake/fragments/a.md", "Fragment of the peer.")


def sparse(kitchen: Kitchen) -> None:
    kitchen.doctrine("")
    kitchen.write("PEERS.md", " \n\n")
    kitchen.write("peers/alice/.peerwake/notes.txt", "not taken")
    kitchen.write("peers/alice/.peerwake/.hidden.md", "not taken")


def flawed(kitchen: Kitchen) -> None:
    path = kitchen.doctrine("Be kind.\n")
    kitchen.write("PEERS.md", "x" * (FILE_BYTES + 1))
    os.mkfifo(kitchen.root.home / "pipe.md")
    (path.parent / "link.md").symlink_to(path)
    kitchen.write("peers/alice/.peerwake/open --> door.md", "Not mine.", 0o666)
    kitchen.write("latin.md", "caf\xe9".encode("latin-1"))


@pytest.mark.parametrize("case", [full, sparse, flawed], ids=lambda case: case.__name__)
def test_golden(kitchen: Kitchen, case) -> None:
    case(kitchen)
    assert kitchen.shown(kitchen.compose()) == (GOLDEN / f"{case.__name__}.txt").read_text("utf-8")


def test_without_a_doctrine_of_its_own_a_peer_starts_bare(kitchen: Kitchen) -> None:
    full(kitchen)
    (kitchen.root.peers / "alice/.peerwake/PEER.md").unlink()
    assert kitchen.compose() == Prompt()
    assert kitchen.compose().text == ""


def test_a_doctrine_that_cannot_be_used_does_not_silence_that_of_the_host(kitchen: Kitchen) -> None:
    kitchen.doctrine("Trust everybody.").chmod(0o622)
    kitchen.write("PEERS.md", "Trust nobody.")
    prompt = kitchen.compose()
    assert "Trust nobody." in prompt.text
    assert "Trust everybody." not in prompt.text
    assert 'PEER.md" is left out: others can write it' in prompt.text


def test_a_linked_directory_is_not_read(kitchen: Kitchen, tmp_path: Path) -> None:
    directory = kitchen.doctrine().parent
    directory.rename(tmp_path / "elsewhere")
    directory.symlink_to(tmp_path / "elsewhere")
    prompt = kitchen.compose()
    assert prompt.is_bare
    assert [flaw.problem for flaw in prompt.flaws] == ["it is a symbolic link; put the directory itself there"]


def test_the_whole_is_bounded_and_says_what_is_missing(kitchen: Kitchen) -> None:
    kitchen.doctrine("Be kind.")
    for number in range(40):
        kitchen.write(f"{number:02}-{'n' * 200}.md", "é" * 5_000)
    prompt = kitchen.compose()
    assert 50_000 < len(prompt.text.encode()) <= PROMPT_BYTES
    noted = sum("is left out: the prompt would be over the limit of 63,000 bytes" in line for line in lines(prompt))
    assert 5 < noted < len(prompt.flaws)
    assert lines(prompt)[-1] == f"<!-- {len(prompt.flaws) - noted} more are left out -->"
    assert "Be kind." in prompt.text


@pytest.mark.parametrize("letter", ["n", "\x07", "\U000e0001", "\N{GRINNING FACE}"])
def test_names_of_files_do_not_break_the_bound(kitchen: Kitchen, letter: str) -> None:
    kitchen.doctrine("x" * 45_000)
    for number in range(100):
        kitchen.write(f"{number:02}{letter * (240 // len(letter.encode()))}.md", "y" * 10_500)
    assert 55_000 < len(kitchen.compose().text.encode()) <= PROMPT_BYTES


def lines(prompt: Prompt) -> list[str]:
    return prompt.text.rstrip("\n").split("\n")


def test_a_small_file_is_taken_after_a_large_one_was_left_out(kitchen: Kitchen) -> None:
    kitchen.doctrine("x" * 40_000)
    kitchen.write("large.md", "y" * 40_000)
    kitchen.write("small.md", "the small one")
    prompt = kitchen.compose()
    assert "the small one" in prompt.text
    assert [flaw.path.name for flaw in prompt.flaws] == ["large.md"]


def test_the_rules_are_the_one_text_that_mcp_clients_are_told(kitchen: Kitchen) -> None:
    from mcp_server.tools.schemas import INSTRUCTIONS

    kitchen.doctrine()
    assert INSTRUCTIONS == RULES
    assert RULES in kitchen.compose().text


def test_the_edition_changes_with_the_doctrine_and_not_with_the_day_or_the_registry(kitchen: Kitchen) -> None:
    kitchen.doctrine("One.")
    first = kitchen.compose()
    kitchen.peer("bob")
    kitchen.clock.now += 86_400
    later = kitchen.compose()
    assert later.edition == first.edition
    assert later.text != first.text
    kitchen.doctrine("Two.")
    assert kitchen.compose().edition != first.edition
    assert first.text.startswith(f"<!-- peerwake prompt, edition {first.edition} -->\n")


def test_the_edition_changes_with_what_a_peer_is_told_of_itself(kitchen: Kitchen) -> None:
    kitchen.doctrine("One.")
    moved = profile("alice", cwd=kitchen.root.peers / "alice", description="Another")
    editions = {kitchen.compose().edition, kitchen.composer.compose(moved, "scripted").edition}
    assert len(editions | {kitchen.compose(runtime="claude").edition}) == 3


def test_a_missing_spool_or_many_peers_are_no_obstacle(kitchen: Kitchen) -> None:
    kitchen.doctrine()
    for number in range(250):
        kitchen.peer(f"p{number:03}")
    assert "p000" in kitchen.compose().text
    assert "more are not shown" in kitchen.compose().text


@pytest.mark.parametrize("name", ["a-->b.md", 'a"b.md', "a\nb.md", "--", "a-\u2028-->.md", "x" * 250])
def test_no_path_ends_the_comment_that_names_it(name: str) -> None:
    line = comment(Path("/srv") / name)
    assert line.startswith("<!-- ") and line.endswith(" -->")
    assert "--" not in line[5:-4] and line.isprintable()
