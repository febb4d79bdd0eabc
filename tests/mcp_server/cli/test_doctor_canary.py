"""What `doctor` says of the canary."""

import json
import os
import time

from lifecycle import canary
from lifecycle.session import Session, Sessions
from lifecycle.states import Mode
from tests.mcp_server.cli.conftest import Run
from transport.clock import iso
from transport.files import locked
from transport.identity import Identity
from transport.paths import Root
from transport.process import identify, start_time

BOB = Identity("scripted", "bob")


def found(peerwake: Run, subject: str) -> list[tuple[str, str]]:
    findings = json.loads(peerwake("doctor", "--json").stdout)["findings"]
    return [(each["level"], each["text"]) for each in findings if each["subject"] == subject]


def test_without_sessions_there_is_nothing_to_say(peerwake: Run, root: Root) -> None:
    assert found(peerwake, "canary") == []


def test_live_sessions_need_a_watcher(peerwake: Run, root: Root) -> None:
    Sessions(root).save(Session(BOB, "h", "t", "/", "f", 0.0, Mode.FRESH, "s", tmux=identify(os.getpid())))
    ((level, text),) = found(peerwake, "canary")
    assert level == "warning"
    assert "1 live session is not watched" in text
    with locked(canary.lock(root)):
        assert found(peerwake, "canary") == [("ok", "watches 1 session")]


def test_a_death_without_its_line_is_reported(peerwake: Run, root: Root) -> None:
    canary.directory(root).mkdir()
    claim = canary.directory(root) / ".claimed-scripted-bob.7"
    claim.write_text("7\n1\nx\n")
    assert found(peerwake, "canary") == []
    os.utime(claim, (1, 1))
    ((level, text),) = found(peerwake, "canary")
    assert level == "warning"
    assert "1 deaths" in text


def test_deaths_of_the_last_day_are_counted(peerwake: Run, root: Root) -> None:
    now = time.time()
    text = "".join(f"ts={iso(at)} ev=server-exit identity=scripted-bob\n" for at in (now - 100_000, now - 10, now))
    (root.logs / "exits.log").write_text(text)
    ((level, said),) = found(peerwake, "deaths")
    assert level == "ok"
    assert said.startswith("2 ")


def test_a_death_that_nobody_noticed(peerwake: Run, root: Root) -> None:
    canary.directory(root).mkdir()
    canary.watch_file(root, BOB, os.getpid()).write_text(f"{os.getpid()}\n{start_time(os.getpid())}\nboot\n")
    assert found(peerwake, "canary") == []
    dead = canary.watch_file(root, BOB, 7)
    dead.write_text("7\n1\nboot\n")
    ((level, text),) = found(peerwake, "canary")
    assert (level, text.partition(" is dead")[0]) == ("warning", "scripted-bob.7")
    dead.write_text("")
    assert found(peerwake, "canary") == []
