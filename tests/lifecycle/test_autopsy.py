"""The class and the cause of a death are what exits.log has written down of exactly this server."""

from pathlib import Path

import pytest

from lifecycle.autopsy import DeathClass, Verdict, cause_in_words, class_of, verdicts
from tests.lifecycle.stage import scene
from transport.identity import Identity
from transport.logline import fields_of
from transport.logs import logfmt
from transport.paths import Root
from transport.process import ProcessId

ALICE, BOB = Identity("claude", "alice"), Identity("codex", "bob")
SEVEN, EIGHT, NINE = (ProcessId(pid, "1") for pid in (7, 8, 9))


def line(event: str, identity: Identity = ALICE, **fields: object) -> str:
    return logfmt(0.0, event, {"identity": identity, **fields}) + "\n"


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"dead_status": 0, "cause": "exit:0"}, DeathClass.SESSION_GONE, "the client exited with status 0"),
        ({"dead_status": "", "dead_signal": 11, "cause": "SIGSEGV"}, DeathClass.SESSION_GONE, "signal 11 (SIGSEGV)"),
        ({"dead_signal": 9, "cause": "SIGKILL", "oom_kills": 2}, DeathClass.SESSION_GONE, "out of memory: the kernel"),
        ({"dead_status": "", "dead_signal": "", "cause": "unknown"}, DeathClass.SESSION_GONE, "nobody could say how"),
        ({"cause": "SIGKILL"}, DeathClass.SERVER_DEAD, "its tmux server ended by SIGKILL"),
        ({"cause": "reboot"}, DeathClass.SERVER_DEAD, "its tmux server ended by reboot"),
    ],
)
def test_the_class_and_the_words(fields: dict[str, object], kind: DeathClass, words: str) -> None:
    event = "server-exit" if kind is DeathClass.SERVER_DEAD else "session-exit"
    found = fields_of(line(event, **fields))
    assert class_of(found) is kind
    assert words in cause_in_words(found)


def test_only_the_line_of_this_server_counts_and_the_last_of_it(tmp_path: Path) -> None:
    log = tmp_path / "exits.log"
    log.write_text(
        line("session-exit", server_pid=7, dead_status=1)
        + line("session-exit", server_pid=8, dead_status=2)
        + line("session-exit", BOB, server_pid=7, dead_status=3)
        + line("other", server_pid=7)
        + line("server-exit", server_pid=7, cause="SIGKILL")
        + "damaged identity=claude-alice server_pid=7"
    )
    assert verdicts(log, {(ALICE, SEVEN)}) == {
        (ALICE, SEVEN): Verdict(DeathClass.SERVER_DEAD, "its tmux server ended by SIGKILL")
    }
    assert verdicts(log, {(ALICE, EIGHT), (BOB, NINE)}) == {
        (ALICE, EIGHT): Verdict(DeathClass.SESSION_GONE, "the client exited with status 2")
    }
    assert verdicts(tmp_path / "none.log", {(ALICE, SEVEN)}) == {}
    assert verdicts(tmp_path, {(ALICE, SEVEN)}) == {}


def test_a_pid_that_comes_again_is_another_server(tmp_path: Path) -> None:
    log = tmp_path / "exits.log"
    times = ["300", "Sun Nov 29 18:34:40 2026"]
    former, latter, next_one = (ProcessId(7, started) for started in (*times, "400"))
    lines = [
        line("session-exit", server_pid=7, dead_status=n, server_started=started) for n, started in enumerate(times)
    ]
    log.write_text("".join(lines))
    assert verdicts(log, {(ALICE, former), (ALICE, latter), (ALICE, next_one)}) == {
        (ALICE, former): Verdict(DeathClass.SESSION_GONE, "the client exited with status 0", is_clean=True),
        (ALICE, latter): Verdict(DeathClass.SESSION_GONE, "the client exited with status 1"),
    }


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, 'ev=server-dead identity=scripted-alice tmux=77 reason="nothing in exits.log says why"'),
        (
            line("session-exit", Identity("scripted", "alice"), server_pid=77, dead_status=4),
            'ev=session-gone identity=scripted-alice tmux=77 reason="the client exited with status 4"',
        ),
        (
            line("server-exit", Identity("scripted", "alice"), server_pid=77, cause="SIGKILL"),
            'ev=server-dead identity=scripted-alice tmux=77 reason="its tmux server ended by SIGKILL"',
        ),
    ],
)
async def test_lifecycle_log_says_what_exits_log_says(root: Root, written: str | None, said: str) -> None:
    async with scene(root) as stage:
        if written is not None:
            (root.logs / "exits.log").write_text(written)
        stage.deck.deaths.obituaries.add("server-dead", Identity("scripted", "alice"), ProcessId(77, "1"))
        assert stage.log("lifecycle").rstrip().endswith(said)
