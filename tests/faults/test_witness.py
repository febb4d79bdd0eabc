"""What is seen of sessions, flags and drafts is what there is."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.faults.processes import has_client
from tests.faults.sightings import Line
from tests.faults.vigil import GONE_SECONDS, Standing
from tests.faults.witness import Witness
from tests.live.world import World
from transport.clock import SystemClock
from transport.logs import Logs
from transport.paths import Root
from transport.process import identify

ALICE = "scripted-alice"
CLIENT = ("-c", "import sys; print('up', flush=True); sys.stdin.read()", "agents/scripted.py")

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fault machine finds processes in /proc")


@pytest.fixture
def world(root: Root) -> World:
    return World(root)


@pytest.fixture
def client(world: World) -> Iterator["subprocess.Popen[str]"]:
    """A process that looks like alice's client."""
    env = world.env | {"PEER_IDENTITY": ALICE}
    argv = [sys.executable, *CLIENT]
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def record(world: World, pid: int, tmux: int) -> None:
    found = identify(pid)
    assert found is not None
    text = {"fence": "f1", "tmux": {"pid": tmux, "started": "1"}, "pane": {"pid": pid, "started": found.started}}
    (world.root.state / f"{ALICE}.session").write_text(json.dumps(text))


@linux
def test_a_session_is_seen_to_live_and_to_end(world: World, client: "subprocess.Popen[str]") -> None:
    witness = Witness(world)
    record(world, client.pid, 77)
    witness.look()
    witness.look()
    (life,) = witness.seen.lives
    assert (life.identity, life.agent, life.tmux, life.gone_at) == (ALICE, client.pid, 77, None)
    client.kill()
    client.wait()
    witness.look()
    assert life.gone_at is not None


@linux
def test_a_stop_takes_effect_when_no_client_runs_any_more(world: World, client: "subprocess.Popen[str]") -> None:
    witness, flag = Witness(world), world.root.state / f"{ALICE}.stopped"
    flag.touch()
    witness.look()
    assert (len(witness.seen.flagged), witness.seen.stops) == (1, [])
    assert has_client(world, ALICE) and not has_client(world, "scripted-bob")
    client.kill()
    client.wait()
    witness.look()
    witness.look()
    (flagged,), (stop,) = witness.seen.flagged, witness.seen.stops
    assert flagged.began < stop.began <= stop.ended
    flag.unlink()
    ended = stop.ended
    witness.look()
    assert stop.ended == ended


def test_a_crash_loop_is_seen_for_as_long_as_its_flag_stands(world: World) -> None:
    witness, flag = Witness(world), world.root.state / f"{ALICE}.failed"
    witness.look()
    assert witness.seen.failed == []
    flag.mkdir()
    witness.look()
    witness.look()
    (failed,) = witness.seen.failed
    assert failed.identity == ALICE and failed.began < failed.ended
    flag.rmdir()
    ended = failed.ended
    witness.look()
    assert (failed.ended, witness.seen.flagged, witness.seen.stops) == (ended, [], [])


def test_lines_of_ends_are_read_from_all_logs(world: World) -> None:
    logs = world.root.logs
    (logs / "exits.log").write_text(
        f"ts=1 ev=session-exit identity={ALICE} dead_signal=9 cause=SIGKILL server_pid=5 server_started=3\n"
        f"ts=1 ev=server-exit identity={ALICE} server_pid=6 server_started=4 cause=SIGTERM forensics=none\nhalf a li"
    )
    (logs / "exits.log.1").write_text(f"ts=1 ev=server-exit identity={ALICE} server_pid=7 cause=unknown\n")
    (logs / "lifecycle.log").write_text(
        f"ts=1 ev=close identity={ALICE} why=idle tmux=8\nts=1 ev=wake identity={ALICE} tmux=9\n"
    )
    witness = Witness(world)
    witness.read_logs()
    found = {(line.kind, line.tmux, line.why, line.started) for line in witness.seen.lines}
    assert found == {
        ("session-exit", 5, "SIGKILL", "3"),
        ("server-exit", 6, "SIGTERM", "4"),
        ("server-exit", 7, "unknown", ""),
        ("close", 8, "idle", ""),
    }


@pytest.mark.parametrize(("is_closing", "found"), [(True, [Line("close", ALICE, 5, "stopped")]), (False, [])])
def test_a_close_whose_line_is_missing_stands_in_the_last_record(
    world: World, is_closing: bool, found: list[Line]
) -> None:
    record = {"tmux": {"pid": 5, "started": "1"}, "end": "stopped", "is_closing": is_closing}
    (world.root.state / f"{ALICE}.last").write_text(json.dumps(record))
    witness = Witness(world)
    witness.look()
    witness.read_logs()
    assert witness.seen.lines == found


@pytest.mark.parametrize(
    ("looks", "is_gone"),
    [
        (["", "dra", "draft"], False),
        (["draft1a", "draft1ab"], False),
        (["draft1a", ""], True),
        (["draft1a", "", "draft1a"], False),
        (["draft1a", "", None], False),
        (["draft1a", None, ""], True),
        (["draft1a", "of another"], True),
        (["a message draf\nt1ab"], False),
        (["", ""], False),
    ],
)
def test_a_draft_is_gone_when_it_was_seen_and_is_missing_for_a_while(looks: list[str | None], is_gone: bool) -> None:
    standing = Standing("draft1abc")
    moments = [(look, number * 10.0) for number, look in enumerate(looks)]
    assert not any(standing.look(look, at) for look, at in moments)
    look, at = moments[-1]
    assert standing.look(look, at + GONE_SECONDS) is is_gone


@pytest.mark.parametrize(
    ("looks", "is_judged"),
    [
        ([(0.0, "draft1a")], False),
        ([(0.0, "draft1a"), (GONE_SECONDS / 2, "")], False),
        ([(0.0, "draft1a"), (GONE_SECONDS, "draft1ab")], True),
        ([(0.0, "draft1a"), (GONE_SECONDS, "")], True),
        ([(0.0, "draft1a"), (GONE_SECONDS, None)], False),
        ([(0.0, "dra"), (GONE_SECONDS, "draft1a")], False),
    ],
)
def test_a_draft_is_judged_when_its_end_would_have_been_noticed(
    looks: list[tuple[float, str | None]], is_judged: bool
) -> None:
    standing = Standing("draft1abc")
    for at, look in looks:
        standing.look(look, 1.0 + at)
    assert standing.is_judged is is_judged


def test_who_has_not_taken_what_is_told_first_stands_in_the_log(world: World) -> None:
    log = Logs(world.root.logs, SystemClock()).lifecycle
    for ev, fields in (
        ("initial-prompt", {"taken": True}),
        ("initial-prompt", {"taken": False}),
        ("initial-prompt-failed", {"reason": "dead"}),
        ("seed", {"taken": False}),
    ):
        log.write(ev, identity=ALICE, **fields)
    witness = Witness(world)
    witness.read_logs()
    assert witness.seen.untold == {ALICE: 2}
