"""Another user of the host: reads nothing, is believed nothing, and what it put in our way is refused by name."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.bad_input import credential, refused, stored, unchanged
from tests.contract.wires import TOP, bridge_wire
from tests.live.alice import consumed
from tests.live.world import World, until
from tests.security.other_user import THEIRS, as_them, lived_in, needs_root, theirs
from transport.identity import parse_identity
from transport.paths import Root, RootUnusable

pytestmark = [pytest.mark.live, needs_root]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with lived_in() as world:
        yield world


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory where other users may make files, as in /tmp; the one for a root is not there yet."""
    with tempfile.TemporaryDirectory(prefix="pw-", dir="/tmp") as place:
        Path(place).chmod(0o1777)
        yield Path(place) / "root"


MAKE_THEIRS = """
import json, os, socket, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid}); os.umask(0)
home = {home!r}
os.makedirs(home + "/run", exist_ok=True)
with open(home + "/taken", "w") as taken:
    pass
listener = socket.socket(socket.AF_UNIX)
listener.bind(home + "/run/server.sock")
listener.listen(8)
listener.settimeout(60)
print(json.dumps("ready"), flush=True)
try:
    while True:
        connection, _ = listener.accept()
        connection.settimeout(5)
        try:
            data = connection.recv(65536)
            if data:
                with open(home + "/taken", "ab") as taken:
                    taken.write(data)
                connection.sendall(b'{{"ok": true, "version": "1", "pid": 1, "identity": null, "operator": true}}\\n')
        except OSError:
            pass
except TimeoutError:
    pass
"""


@pytest.fixture
def impostor(home: Path) -> Iterator[Path]:
    """Another user's server where ours would be, in a root that user made before us; it notes what it is told."""
    program = MAKE_THEIRS.format(uid=THEIRS, home=str(home))
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b'"ready"\n'
        yield home
        server.kill()


def test_a_root_made_by_another_user_is_refused_by_every_command(world: World, impostor: Path) -> None:
    env = {"PEERWAKE_HOME": str(impostor), "PEERWAKE_CREDENTIAL": credential(world, "scripted-bob")}
    for words in (("send", "alice", "psst"), ("list",), ("stop", "alice"), ("queue",)):
        done = world.run(*words, env=env)
        assert done.returncode != 0, (words, done.stdout)
        assert "another user" in done.stderr or f"uid {THEIRS}" in done.stderr, (words, done.stderr)
    for words in (("serve",), ("create", "carol", "--runtime", "scripted")):
        refused(world.run(*words, env=env), 1, str(impostor), f"uid {THEIRS}", "PEERWAKE_HOME")
    assert (impostor / "taken").read_bytes() == b""


def test_the_bridge_tells_another_users_server_nothing(world: World, impostor: Path) -> None:
    words = ("--home", str(impostor), "--reconnect-seconds", "1")
    with bridge_wire(world, credential(world, "scripted-bob"), *words) as stdio:
        error = stdio.call("send_to_peer", {"personality": "alice", "message": "psst"})["error"]
    assert f"another user (uid {THEIRS})" in error["message"]
    assert (impostor / "taken").read_bytes() == b""


def test_the_bridge_starts_no_server_in_another_users_root(world: World, impostor: Path) -> None:
    (impostor / "run/server.sock").unlink()
    started = impostor.with_name("started")
    argv = [sys.executable, "-I", "-S", str(TOP / "mcp_server/serve/bridge.py"), "--home", str(impostor)]
    argv += ["--reconnect-seconds", "1", "--", "/usr/bin/touch", str(started)]
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_peers", "arguments": {}}}
    before = {path.name for path in impostor.rglob("*")}
    done = subprocess.run(
        argv,
        input=json.dumps(call) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr
    assert not started.exists()
    assert {path.name for path in impostor.rglob("*")} == before


def link_to_theirs(path: Path) -> None:
    there = path.parent.parent / "elsewhere" if path.name != "run" else path.parent / "elsewhere"
    there.mkdir()
    theirs(there)
    path.symlink_to(there)
    os.chown(path, THEIRS, THEIRS, follow_symlinks=False)


def made_before(path: Path) -> None:
    path.mkdir()
    theirs(path)


def made_ours_but_open(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


DIRECTORIES = [
    *("run", "state", "logs", "peers", "runtimes"),
    *("run/tmux", "run/prompts", "state/canary", "logs/panes", "logs/server-deaths"),
]


@pytest.mark.parametrize("make", [made_before, link_to_theirs, made_ours_but_open])
@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_directory_of_the_root_made_by_another_user_is_refused(
    world: World, home: Path, name: str, make: Callable[[Path], None]
) -> None:
    """As it is after somebody made the root open, others wrote into it, and the advice was to run chmod 700."""
    home.mkdir(mode=0o700)
    (home / name).parent.mkdir(mode=0o700, exist_ok=True)
    make(home / name)
    with pytest.raises(RootUnusable, match=str(home / name)) as refusal:
        Root(home).prepare()
    assert any(text in str(refusal.value) for text in ("chmod", f"uid {THEIRS}", "symbolic link"))
    if name == "logs":
        refused(world.run("serve", env={"PEERWAKE_HOME": str(home)}), 1, str(home / name))
        assert not (home / "run" / "server.sock").exists()


def test_a_socket_of_another_user_is_told_nothing_and_replaced(world: World, home: Path) -> None:
    other = World(Root(home))
    other.root.prepare()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(other.root.server_socket))
    theirs(other.root.server_socket)
    try:
        assert "another user" in other.run("stop", "alice").stderr
        other.serve()
        assert other.root.server_socket.stat().st_uid == os.geteuid()
        assert other.run("list").returncode == 0
    finally:
        other.close()


def steering(world: World) -> dict[str, Path]:
    """Return the files that say what is started and who may send."""
    launch = world.root.peers / "bob/.peerwake/runtimes/scripted/launch.env"
    return {
        "secret": world.root.secret,
        "profile": world.root.peers / "bob/.peerwake/profile.json",
        "launch": launch,
        "runtime": world.root.runtimes / "mine.toml",
    }


RUNTIME = 'kind = "agent"\nfresh = ["/bin/true"]\n'


@pytest.mark.parametrize("spoil", ["another owner", "a link"])
@pytest.mark.parametrize("name", ["profile", "launch", "runtime"])
def test_a_file_that_steers_us_and_is_not_ours_alone_is_not_followed(world: World, name: str, spoil: str) -> None:
    path = steering(world)[name]
    kept = path.read_bytes() if path.exists() else None
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    elsewhere = world.root.home / "home" / f"their-{name}"
    (elsewhere if spoil == "a link" else path).write_bytes(kept or (b"X=1\n" if name == "launch" else RUNTIME.encode()))
    try:
        if spoil == "a link":
            theirs(elsewhere, 0o644)
            path.unlink(missing_ok=True)
            path.symlink_to(elsewhere)
        else:
            theirs(path, 0o644)
        says = f"{path}" if name != "runtime" else "mine.toml"
        if name == "profile":
            found = world.run("verify")
        elif name == "runtime":
            found = world.run("doctor")
        else:
            world.send("bob", "wake up")
            assert "launch.env" in world.log("lifecycle")
            assert not world.root.tmux_socket(parse_identity("scripted-bob")).exists()
            return
        assert found.returncode != 0
        assert says in found.stdout + found.stderr
    finally:
        path.unlink(missing_ok=True)
        elsewhere.unlink(missing_ok=True)
        if kept is not None:
            path.write_bytes(kept)
            path.chmod(0o600)


@pytest.mark.parametrize("make", [made_before, link_to_theirs, made_ours_but_open])
def test_a_body_is_not_put_where_another_user_could_exchange_it(world: World, make: Callable[[Path], None]) -> None:
    """What a client does not take as keys it reads from its peer's inbox, whatever stands there by then."""
    name = make.__name__.replace("_", "-")
    inbox = world.create(name) / ".peerwake/inbox"
    make(inbox)
    sent = world.send(name, "long " * 4_000, "--wait", "0")
    why = until(lambda: world.json("queue", "show", sent["message_id"])["reason"], 20, "a reason")
    assert str(inbox) in why
    assert "chmod 700" in why or "put the directory itself there" in why
    assert list(inbox.iterdir()) == []
    inbox.unlink() if inbox.is_symlink() else inbox.rmdir()
    assert consumed(world, sent["message_id"])
    assert [path.name for path in inbox.iterdir()] == [f"{sent['message_id']}.txt"]


def test_what_another_user_may_replace_under_our_feet_is_noticed(world: World, home: Path) -> None:
    """A parent that others may write to without the sticky bit: the whole root can be exchanged while we run."""
    home.parent.chmod(0o777)
    home.mkdir(mode=0o700)
    other = World(Root(home))
    other.root.prepare()
    other.create("carol")
    other.serve()
    moved = home.with_name("moved")
    try:
        as_them(EXCHANGE, old=str(home), new=str(moved))
        with bridge_wire(other, "secret-words", "--reconnect-seconds", "1") as stdio:
            assert "another user" in stdio.call("list_peers", {})["error"]["message"]
        assert world.run("send", "carol", "psst", env={"PEERWAKE_HOME": str(home)}).returncode != 0
        assert (home / "taken").read_bytes() == b""
    finally:
        for pid in json.loads((home.parent / "pid").read_text()) if (home.parent / "pid").exists() else ():
            os.kill(pid, 9)
        for path in sorted(home.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        home.rmdir()
        moved.rename(home)
        other.close()


EXCHANGE = """
import json, os, socket
os.setgroups([]); os.setgid({uid}); os.setuid({uid}); os.umask(0)
os.rename({old!r}, {new!r})
ready, tell = os.pipe()
child = os.fork()
if child:
    os.read(ready, 1)
    with open(os.path.dirname({old!r}) + "/pid", "w") as file:
        json.dump([child], file)
    print("null")
    raise SystemExit
os.setsid()
for number in (0, 1, 2):
    os.close(number)
os.makedirs({old!r} + "/run")
open({old!r} + "/taken", "w").close()
listener = socket.socket(socket.AF_UNIX)
listener.bind({old!r} + "/run/server.sock")
listener.listen(8)
os.write(tell, b"x")
listener.settimeout(60)
while True:
    connection, _ = listener.accept()
    data = connection.recv(65536)
    with open({old!r} + "/taken", "ab") as taken:
        taken.write(data)
"""


def test_after_all_of_this_the_server_works_and_nothing_was_queued_by_others(world: World) -> None:
    with unchanged(world):
        assert {row[1] for row in stored(world)} <= {"cli-operator", "scripted-bob"}
    assert world.send("alice", "still here")["status"] == "delivered"
