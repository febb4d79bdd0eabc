"""Whose a process is, decided by its ancestors and by the kernel's word, not by records alone."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from lifecycle.attribution import Attribution, listening, recorded
from lifecycle.requests import NotAllowed
from lifecycle.session import Session, Sessions
from lifecycle.states import Mode
from tests.lifecycle.workshop import me, until, workshop
from transport.identity import Identity
from transport.paths import Root
from transport.process import ProcessId
from transport.profile import make_profile
from transport.registry import Registry
from transport.tmux.listener import listener

ALICE, BOB = Identity("scripted", "alice"), Identity("scripted", "bob")


def attribution(root: Root, *known: tuple[Identity, ProcessId], others: Callable[[], list] = list) -> Attribution:
    return Attribution(lambda: known, Registry(root), others)


def test_a_descendant_belongs_to_its_session_and_others_to_nobody(root: Root) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        assert attribution(root, (ALICE, me())).of_process(child.pid) == ALICE
        assert attribution(root, (ALICE, me())).of_process(os.getpid()) == ALICE
        assert attribution(root, (ALICE, ProcessId(os.getpid(), "1"))).of_process(child.pid) is None
        assert attribution(root).of_process(child.pid) is None
    finally:
        child.kill()
        child.wait()


def test_the_nearest_session_wins(root: Root) -> None:
    """A server that a session's bridge started lives below that session, and so do all it starts."""
    above = ProcessId(os.getppid(), "unknown")
    assert attribution(root, (BOB, above), (ALICE, me())).of_process(os.getpid()) == ALICE


def test_a_process_that_is_gone_is_nobody_s_and_no_operator_either(root: Root) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(NotAllowed, match="has ended"):
        attribution(root).of_process(child.pid)


def test_a_process_is_known_by_the_socket_of_its_session_before_any_record(root: Root) -> None:
    with socket.socket(socket.AF_UNIX) as tmux:
        tmux.bind(str(root.tmux_socket(ALICE)))
        tmux.listen()
        found = attribution(root, others=lambda: listening(root))
        assert found.of_process(os.getpid()) == ALICE
        assert listening(root, {ALICE}) == []
    assert listening(root) == []


def test_odd_names_in_the_socket_directory_name_nobody(root: Root) -> None:
    (root.run / "tmux" / "not an identity.sock").touch()
    (root.run / "tmux" / "noise").touch()
    assert listening(root) == []
    assert listening(Root(root.home / "elsewhere")) == []


def test_an_unreadable_record_hides_no_other(root: Root) -> None:
    sessions = Sessions(root)
    session = Session(BOB, "h", "t", "/", "f", 1.0, Mode.FRESH, "s", tmux=me())
    sessions.save(session)
    sessions.path(ALICE).write_text("{")
    assert recorded(sessions) == [(BOB, me())]


def profile(root: Root, name: str, cwd: Path) -> None:
    known = {
        "runtimes": ("scripted",),
        "default_runtime": "scripted",
        "host": "h",
        "tenant_id": "t",
        "created_at": "now",
    }
    cwd.mkdir(parents=True, exist_ok=True)
    Registry(root).add(make_profile(name=name, cwd=cwd.resolve(), **known))


def test_a_directory_belongs_to_the_registered_peer_that_lives_there(root: Root, tmp_path: Path) -> None:
    profile(root, "alice", tmp_path / "work")
    deep = tmp_path / "work" / "a" / "b"
    deep.mkdir(parents=True)
    found = attribution(root)
    assert found.of_directory(deep) == ALICE
    assert found.of_directory(tmp_path) is None


def test_a_copied_or_forged_profile_makes_no_peer(root: Root, tmp_path: Path) -> None:
    profile(root, "alice", tmp_path / "work")
    forged = tmp_path / "forged" / ".peerwake"
    forged.mkdir(parents=True)
    (forged / "profile.json").write_bytes((tmp_path / "work/.peerwake/profile.json").read_bytes())
    assert attribution(root).of_directory(tmp_path / "forged") is None
    (forged / "profile.json").write_text("{")
    assert attribution(root).of_directory(tmp_path / "forged") is None


@pytest.mark.live
async def test_a_client_is_attributed_from_its_very_first_moment(root: Root) -> None:
    """Neither the record nor the supervisor knows the session while it starts; the socket does."""
    async with workshop(root) as shop:
        shop.peer()
        async with shop.supervised(), anyio.create_task_group() as tasks:
            tasks.start_soon(shop.deck.waker.wake, ALICE)
            server = await until(lambda: listener(root.tmux_socket(ALICE)))
            assert shop.parts.application.resolve_pane(server.pid) == ALICE
        assert shop.parts.application.resolve_pane(os.getpid()) is None
        shop.deck.sessions.path(ALICE).write_text("{")
        pane = shop.tmux(ALICE, "display-message", "-p", "#{pane_pid}")
        assert shop.parts.application.resolve_pane(int(pane)) == ALICE


def test_where_nobody_can_look_there_is_no_peer(root: Root, tmp_path: Path) -> None:
    """A directory whose path is so long that nothing in it can be named."""
    profile(root, "alice", tmp_path / "work")
    found = attribution(root)
    assert found.of_directory(tmp_path / "work" / "d" / ("/".join(["d" * 200] * 21))) == ALICE
    assert found.of_directory(tmp_path / ("x" * 300)) is None
