"""Class and cause of every death agree wherever they are told: exits.log, lifecycle.log, `peerwake why`."""

import random
import re
import signal
from pathlib import Path

import pytest

from tests.contract.private_mount import fill, on_a_small_disk
from tests.live.control import Control
from tests.live.memory_cgroup import joining, memory_cgroup
from tests.live.test_deaths import ended, exits, under_watch, watched
from tests.live.world import World, until
from transport.logline import fields_of
from transport.paths import Root
from transport.process import terminate

pytestmark = pytest.mark.live

ALICE = "scripted-alice"
DEATHS = ("session-gone", "server-dead")
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")
ROUNDS = 20


def obituaries(world: World, count: int) -> list[dict[str, str]]:
    """Return the deaths in lifecycle.log once there are so many."""

    def found() -> list[dict[str, str]]:
        lines = [fields_of(line) for line in world.log("lifecycle").splitlines()]
        return [line for line in lines if line["ev"] in DEATHS]

    until(lambda: len(found()) >= count, 15, f"{count} obituaries")
    return found()


@pytest.fixture
def lasting(world: World) -> World:
    """A world in which an agent may die as often as it likes."""
    world.extra |= {"PEERWAKE_CRASH_COUNT": "1000", "PEERWAKE_MASS_DEATH_COUNT": "1000"}
    return world


def test_the_end_of_a_client_and_of_its_tmux_server_are_told_apart(lasting: World) -> None:
    lasting.create("alice", rules=[{"match": "die", "exit": 3}])
    lasting.serve()
    lasting.send("alice", "hello")
    tmux = lasting.tmux(ALICE)
    lasting.send("alice", "die", "--wait", "0")
    ended(tmux)
    (gone,) = obituaries(lasting, 1)
    assert (gone["ev"], gone["reason"]) == ("session-gone", "the client exited with status 3")
    lasting.send("alice", "hello")
    second = lasting.tmux(ALICE)
    under_watch(lasting, second)
    terminate(second, signal.SIGKILL)
    _, dead = obituaries(lasting, 2)
    assert (dead["ev"], dead["reason"]) == ("server-dead", "its tmux server ended by SIGKILL")
    assert dead["tmux"] == str(second.pid)
    (_, _, why) = lasting.run("why", "alice").stdout.splitlines()
    assert "server-dead: its tmux server ended by SIGKILL, see logs/server-deaths/" in why
    lines = [fields_of(line) for line in lasting.log("exits").splitlines()]
    assert all(STAMP.fullmatch(line["ts"]) for line in lines)
    assert [(line["cause"], line["server_pid"]) for line in lines] == [
        ("exit:3", str(tmux.pid)),
        ("SIGKILL", str(second.pid)),
    ]


def test_idle_reap_and_new_are_silent(world: World) -> None:
    world.extra |= {"PEERWAKE_IDLE_SECONDS": "1", "PEERWAKE_TICK_SECONDS": "0.3"}
    world.create("alice")
    world.create("bob", rules=[{"match": "work", "busy_seconds": 30}])
    world.serve()
    world.send("alice", "hello")
    first = world.tmux(ALICE)
    ended(first)
    until(lambda: f"ev=close identity={ALICE} why=idle" in world.log("lifecycle"), 10, "the end of the idle one")
    world.send("bob", "work", "--wait", "5")
    busy = world.tmux("scripted-bob")
    assert world.run("new", "bob").returncode == 0
    ended(busy)
    until(lambda: "ev=close identity=scripted-bob why=new" in world.log("lifecycle"), 10, "the end of the former one")
    world.servers[0].terminate()
    world.servers[0].wait(20)
    assert exits(world) == []
    assert not (world.root.logs / "server-deaths").exists()
    assert not any(
        line.split()[1] in ("ev=session-gone", "ev=server-dead") for line in world.log("lifecycle").splitlines()
    )


def test_a_client_without_memory_in_its_cgroup(root: Root) -> None:
    eat = "x = []\nwhile True: x.append(bytearray(b'x' * (1 << 24)))"
    with memory_cgroup(f"peerwake-test-{root.home.name}", 600 << 20) as place:
        world = World(root, prefix=joining(place))
        try:
            world.run("create", "eater", "--runtime", "command", "--", "/usr/bin/env", "python3", "-c", eat)
            world.serve()
            world.send("eater", "hello", "--wait", "0")
            until(lambda: exits(world), 60, "the line")
            world.run("stop", "eater")
            line = exits(world)[0]
            assert (line["ev"], line["dead_signal"], line["cause"]) == ("session-exit", "9", "SIGKILL")
            assert int(line["oom_kills"]) >= 1
            assert "out of memory: the kernel has killed" in world.run("why", "eater").stdout
        finally:
            world.close()
            until(lambda: not watchers_in(place), 20, "the end of everything in the cgroup")


def watchers_in(place: Path) -> list[str]:
    return (place / "cgroup.procs").read_text().split()


@pytest.mark.parametrize(("trap", "cause"), [("", "SIGHUP"), ("trap '' HUP; ", "exit:7")])
def test_a_client_that_lets_go_of_its_terminal_first(lasting: World, trap: str, cause: str) -> None:
    """tmux sees the end of the terminal before that of the process, and hangs up; the line waits for the truth."""
    script = f"{trap}exec <&- >&- 2>&-; sleep 1; exit 7"
    lasting.run("create", "shy", "--runtime", "command", "--", "/bin/sh", "-c", script)
    lasting.serve()
    lasting.send("shy", "hello", "--wait", "0")
    until(lambda: exits(lasting), 40, "the line")
    assert lasting.run("stop", "shy").returncode == 0
    assert {(line["ev"], line["cause"]) for line in exits(lasting)} == {("session-exit", cause)}


def test_a_missing_interpreter_is_an_exit(lasting: World) -> None:
    script = lasting.root.home / "ghost"
    script.write_text("#!/nonexistent/interpreter\n")
    script.chmod(0o700)
    lasting.run("create", "ghost", "--runtime", "command", "--", str(script), "x")
    lasting.serve()
    lasting.send("ghost", "hello", "--wait", "2")
    until(lambda: exits(lasting), 30, "the line")
    assert lasting.run("stop", "ghost").returncode == 0
    assert {line["cause"] for line in exits(lasting)} <= {"exit:1", "exit:126", "exit:127"}


def test_twenty_rounds_of_random_deaths_are_accounted_for_with_their_class(lasting: World) -> None:
    """A client that exits or is killed, a tmux server that is killed, and ends that somebody meant, at random."""
    seed = 20
    chance = random.Random(seed)
    rules = [{"match": f"exit{code}", "exit": code} for code in (0, 1, 137)]
    rules += [{"match": f"crash{name}", "crash": name} for name in ("SIGKILL", "SIGSEGV", "SIGABRT")]
    lasting.create("alice", rules=rules)
    lasting.serve()
    expected: list[tuple[str, str]] = []
    with Control(lasting.root) as control:
        for number in range(ROUNDS):
            control.send("alice", f"hello {number}", wait_seconds=60)
            tmux = lasting.tmux(ALICE)
            match chance.choice(["exit", "crash", "tmux", "tmux", "stop"]):
                case "exit":
                    code = chance.choice([0, 1, 137])
                    control.send("alice", f"exit{code}", wait_seconds=0)
                    expected.append(("session-gone", f"exit:{code}"))
                case "crash":
                    name = chance.choice(["SIGKILL", "SIGSEGV", "SIGABRT"])
                    control.send("alice", f"crash{name}", wait_seconds=0)
                    expected.append(("session-gone", name))
                case "tmux":
                    sent = chance.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
                    under_watch(lasting, tmux)
                    terminate(tmux, sent)
                    expected.append(("server-dead", sent.name))
                case _:
                    assert control.call("stop", name="alice")["ok"]
                    assert control.call("start", name="alice")["ok"]
            ended(tmux)
            until(lambda: len(exits(lasting)) == len(expected), 15, f"the line of round {number} (seed {seed})")
    until(lambda: not watched(lasting), 10, "the end of the watch")
    classes = {"session-exit": "session-gone", "server-exit": "server-dead"}
    assert [(classes[line["ev"]], line["cause"]) for line in exits(lasting)] == expected
    assert [line["ev"] for line in obituaries(lasting, len(expected))] == [kind for kind, _ in expected]


def test_a_full_disk_of_logs_fails_nothing_and_is_counted(root: Root) -> None:
    def run() -> None:
        (root.logs / "panes").mkdir()
        world = World(root)
        try:
            world.create("alice")
            world.serve()
            world.send("alice", "before")
            fill(root.logs / "ballast")
            for number in range(30):
                assert world.send("alice", f"message {number} " + "x" * 200)["status"] == "delivered"
            (found,) = [each for each in doctor(world) if "could not be written" in each["text"]]
            assert (found["level"], found["subject"]) == ("warning", "logs")
            (root.logs / "ballast").unlink()
            assert world.send("alice", "after")["status"] == "delivered"
            assert all(fields_of(line).get("ev") for line in world.log("delivery").splitlines()[-2:] if line)
        finally:
            (root.logs / "ballast").unlink(missing_ok=True)
            world.close()

    on_a_small_disk(root.logs, 1, run)


def doctor(world: World) -> list[dict[str, str]]:
    found: list[dict[str, str]] = world.json("doctor")["findings"]
    return found


def test_each_look_leaves_a_line_only_where_that_is_asked_for(world: World) -> None:
    world.extra["PEERWAKE_TICK_SECONDS"] = "0.2"
    world.create("alice")
    server = world.serve("--verbose")
    world.send("alice", "hello")
    until(lambda: f"ev=look identity={ALICE} presence=alive" in world.log("lifecycle"), 15, "a look")
    server.terminate()
    server.wait(20)
    count = world.log("lifecycle").count(" ev=look ")
    world.serve()
    world.send("alice", "hello again")
    until(lambda: world.log("lifecycle").count(" ev=adopt ") >= 1, 15, "the adoption")
    world.servers[-1].terminate()
    world.servers[-1].wait(20)
    assert world.log("lifecycle").count(" ev=look ") == count
