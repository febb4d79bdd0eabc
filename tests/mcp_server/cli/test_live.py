"""The command against a real server with real sessions."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lifecycle.attribution import recorded
from lifecycle.session import Sessions
from tests.live.world import World
from tests.mcp_server.cli.conftest import TOP, Run
from transport.clock import SystemClock
from transport.identity import OPERATOR, Identity
from transport.message import accept, check_draft
from transport.paths import Root
from transport.process import identify, terminate
from transport.spool.store import SpoolStore

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return the first answer that is true, or the last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := true()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def server_pid(root: Root) -> int:
    return int(json.loads(root.discovery.read_text())["pid"])


def end(pid: int, number: int = signal.SIGTERM) -> None:
    """End a process and wait until it is gone."""
    process = identify(pid)
    if process is not None and terminate(process, number):
        assert until(lambda: not process.is_alive())


@pytest.fixture
def serve(peerwake: Run, root: Root) -> Iterator[Callable[[], int]]:
    """Start a server in the background and return its pid; afterwards no server and no session is left."""

    def start() -> int:
        done = peerwake("serve", "--background", "--no-tcp", PEERWAKE_SYSTEMD_SCOPE="false")
        assert done.returncode == 0, done.stderr
        return server_pid(root)

    yield start
    # Sessions first: their bridges start a server in the place of one that has ended.
    World(root).close()


def send(peerwake: Run, *argv: str) -> dict[str, Any]:
    done = peerwake("send", *argv, "--json")
    return json.loads(done.stdout) | {"exit": done.returncode}


def test_a_message_wakes_a_peer_and_a_stopped_one_refuses(peerwake: Run, serve, root: Root) -> None:
    peerwake("create", "bob", "--runtime", "scripted")
    serve()
    woken = send(peerwake, "bob", "hello")
    assert (woken["exit"], woken["status"], woken["woke"]) == (0, "delivered", True)
    again = send(peerwake, "bob", "hello again")
    assert (again["exit"], again["woke"]) == (0, False)
    assert "live" in peerwake("list", "--live").stdout
    assert peerwake("queue", "show", again["message_id"]).stdout.count("consumed") >= 1
    assert peerwake("stop", "bob").stdout == "scripted-bob: stopped\n"
    refused = send(peerwake, "bob", "anybody there?")
    assert (refused["exit"], refused["error"]["code"]) == (4, "stopped")
    assert "stopped" in peerwake("list").stdout
    assert peerwake("start", "--all").returncode == 0
    assert send(peerwake, "bob", "hello")["exit"] == 0
    assert peerwake("doctor").returncode in (0, 1)


def test_what_was_spooled_without_a_server_is_delivered_by_the_next(peerwake: Run, serve, root: Root) -> None:
    peerwake("create", "bob", "--runtime", "scripted")
    sent = [send(peerwake, "bob", f"number {number}")["message_id"] for number in range(3)]
    serve()
    shown = [until(lambda each=each: "consumed" in peerwake("queue", "show", each).stdout) for each in sent]
    assert shown == [True, True, True]
    assert json.loads(peerwake("queue", "--json").stdout)["queues"] == []


def test_a_message_is_the_same_document_with_and_without_a_server(peerwake: Run, serve, root: Root) -> None:
    peerwake("create", "bob", "--runtime", "scripted")
    now, report = SystemClock().wall(), root.home / "report.md"
    report.write_text("all of it")
    with SpoolStore(root.spool) as store:
        first = accept(check_draft("question"), OPERATOR, Identity("scripted", "gone"), hops=0, now=now)
        draft = check_draft("more", topic="release", attachments=[str(report)], reply_to=first.id)
        second = accept(draft, OPERATOR, Identity("scripted", "bob"), hops=1, now=now)
        for letter in (first, second):
            store.enqueue(letter, cap=10, hop_limit=20)
            store.bury(letter.id, "nobody took it", now)
    asked = [("queue", "show", first.id), ("queue", "show", second.id), ("queue", "show", first.id, second.id)]
    asked.append(("queue", "--dead"))
    alone = [json.loads(peerwake(*words, "--json").stdout) for words in asked]
    serve()
    assert alone == [json.loads(peerwake(*words, "--json").stdout) for words in asked]
    assert (alone[1]["topic"], alone[1]["reply_to"], alone[1]["hops"]) == ("release", first.id, 1)
    assert [event[1:] for event in alone[1]["events"]][-1] == ["dead", "nobody took it"]
    assert all(each["host"] and each["tenant_id"] for each in alone[2]["messages"])


def test_a_server_killed_while_a_send_waits_loses_nothing_and_doubles_nothing(
    peerwake: Run, serve, root: Root, environ: dict[str, str], tmp_path: Path
) -> None:
    peerwake("create", "bob", "--", "sleep", "600")
    pid = serve()
    waiting = subprocess.Popen(
        [sys.executable, "-m", "mcp_server", "send", "bob", "hello", "--wait", "60", "--json"],
        env=environ,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert until(lambda: root.spool.exists() and depth(root) == 1)
    end(pid, signal.SIGKILL)
    out, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 3, err
    assert json.loads(out)["reason"] == "no-supervisor"
    assert depth(root) == 1


def depth(root: Root) -> int:
    with SpoolStore(root.spool) as store:
        return sum(store.waiting().values())


@pytest.mark.parametrize("with_server", [True, False], ids=["server", "no-server"])
def test_an_agent_s_own_shell_cannot_send_as_somebody_else(peerwake: Run, serve, root: Root, with_server: bool) -> None:
    peerwake("create", "bob", "--runtime", "scripted")
    peerwake("create", "carol", "--runtime", "scripted")
    script, as_carol = root.home / "forge.sh", "cd ../carol; PEERWAKE_CREDENTIAL= PEER_IDENTITY= peerwake send bob"
    script.write_text(
        f"""export PYTHONPATH={TOP}; cd {root.peers}/mallory
peerwake() {{ {sys.executable} -m mcp_server "$@"; }}
touch {root.home}/started
while [ ! -e {root.home}/go ]; do sleep 0.05; done
({as_carol} forged --from carol) 2>{root.home}/forged
echo $? >>{root.home}/forged
({as_carol} honest --wait 0 --json) >{root.home}/honest.new
mv {root.home}/honest.new {root.home}/honest
sleep 600
"""
    )
    peerwake("create", "mallory", "--", "sh", str(script))
    pid = serve()
    send(peerwake, "mallory", "wake up", "--wait", "0")
    assert until(lambda: (root.home / "started").exists() and recorded(Sessions(root)))
    if not with_server:
        end(pid)
    (root.home / "go").touch()
    assert until((root.home / "honest").exists)
    forged = (root.home / "forged").read_text()
    assert "you are command-mallory and cannot send as 'carol'" in forged
    assert forged.endswith("4\n")
    honest = json.loads((root.home / "honest").read_text())
    assert "sender:       command-mallory\n" in peerwake("queue", "show", honest["message_id"]).stdout


def test_nothing_is_left_of_a_stopped_server(peerwake: Run, serve, root: Root) -> None:
    end(serve())
    assert not root.server_socket.exists()
    assert not root.discovery.exists()
    assert os.listdir(root.run / "tmux") == []
