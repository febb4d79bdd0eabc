"""Who is calling: the table of contract section 15."""

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from lifecycle.requests import NotAllowed
from mcp_server.serve.callers import THREADS, Caller, Callers, Claim, SocketPeer
from mcp_server.serve.credentials import BadCredential, Credentials
from mcp_server.serve.peercred import PeerProcess
from tests.bulkheads import pipes
from tests.mcp_server.fronts import ALICE, BOB, team
from tests.mcp_server.memory_service import MemoryService
from transport.identity import OPERATOR, Identity
from transport.paths import Root
from transport.process import start_time

CREDENTIALS = Credentials(b"k" * 32)
STRANGER = Identity("claude", "stranger")


@pytest.fixture
def service(root: Root) -> MemoryService:
    return team(root)


@pytest.fixture
def callers(service: MemoryService) -> Callers:
    return Callers(service, CREDENTIALS)


def me() -> SocketPeer:
    return SocketPeer(PeerProcess(os.geteuid(), os.getpid()))


async def test_outside_every_session_the_caller_is_the_operator(callers: Callers) -> None:
    caller = await callers.on_socket(me(), Claim())
    assert caller == Caller(None, is_operator=True, peer_pid=os.getpid())
    assert caller.sender == OPERATOR


async def test_a_session_is_its_peer_whatever_it_claims(callers: Callers, service: MemoryService) -> None:
    with service.this_process_is(ALICE):
        assert (await callers.on_socket(me(), Claim())).identity == ALICE
        own = Claim(CREDENTIALS.credential_for(ALICE), "/")
        caller = await callers.on_socket(me(), own)
        assert caller.identity == ALICE
        assert not caller.is_operator
        for token in (CREDENTIALS.credential_for(BOB), CREDENTIALS.operator_credential()):
            with pytest.raises(NotAllowed, match="session of claude-alice"):
                await callers.on_socket(me(), Claim(token))
        with pytest.raises(BadCredential):
            await callers.on_socket(me(), Claim("pw1.claude-alice.forged"))


async def test_a_credential_decides_outside_sessions(callers: Callers) -> None:
    caller = await callers.on_socket(me(), Claim(CREDENTIALS.credential_for(BOB)))
    assert (caller.identity, caller.is_operator) == (BOB, False)
    caller = await callers.on_socket(me(), Claim(CREDENTIALS.operator_credential()))
    assert (caller.identity, caller.is_operator) == (None, True)
    with pytest.raises(BadCredential):
        await callers.on_socket(me(), Claim("nonsense"))


async def test_an_unexpanded_reference_is_no_credential(callers: Callers) -> None:
    assert (await callers.on_socket(me(), Claim("${PEERWAKE_CREDENTIAL}"))).identity is None
    with pytest.raises(BadCredential):
        callers.on_tcp("${PEERWAKE_CREDENTIAL}")


async def test_a_removed_peers_credential_is_refused(callers: Callers, service: MemoryService) -> None:
    with pytest.raises(NotAllowed, match="not registered"):
        await callers.on_socket(me(), Claim(CREDENTIALS.credential_for(STRANGER)))
    with pytest.raises(NotAllowed):
        callers.on_tcp(CREDENTIALS.credential_for(STRANGER))
    caller = callers.on_tcp(CREDENTIALS.credential_for(BOB))
    del service.rows["bob"]
    with pytest.raises(NotAllowed):
        callers.check(caller)


async def test_in_a_peers_directory_the_operator_speaks_for_it(
    callers: Callers, service: MemoryService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "dora" / "src"
    inside.mkdir(parents=True)
    service.add("dora", "codex", cwd=str(tmp_path / "dora"))
    monkeypatch.chdir(inside)
    caller = await callers.on_socket(me(), Claim(cwd=str(inside)))
    assert caller == Caller(Identity("codex", "dora"), is_operator=True, peer_pid=os.getpid())
    assert (await callers.on_socket(me(), Claim())).identity is None


async def test_a_directory_that_gives_no_answer_keeps_nobody_else_from_connecting(
    callers: Callers, service: MemoryService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.bulkhead.seconds = 0.2
    monkeypatch.chdir(tmp_path)
    with pipes(tmp_path, 1) as (pipe,):
        monkeypatch.setattr(service, "peer_at", lambda directory: pipe.open())
        for _ in range(2 * THREADS):
            with pytest.raises(NotAllowed, match=r"nobody can tell whose directory it is; ask from another one"):
                await callers.on_socket(me(), Claim(cwd=str(tmp_path)))
        with service.this_process_is(ALICE), anyio.fail_after(30):
            assert (await callers.on_socket(me(), Claim(cwd=str(tmp_path)))).identity == ALICE
        monkeypatch.undo()
        service.add("dora", "codex", cwd=str(Path.cwd()))
        assert (await callers.on_socket(me(), Claim(cwd=str(Path.cwd())))).identity == Identity("codex", "dora")


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="the kernel does not tell")
async def test_a_claimed_directory_does_not_count_where_the_kernel_tells(
    callers: Callers, service: MemoryService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dora").mkdir()
    service.add("dora", "codex", cwd=str(tmp_path / "dora"))
    monkeypatch.chdir("/")
    assert (await callers.on_socket(me(), Claim(cwd=str(tmp_path / "dora")))).identity is None


async def test_a_process_that_has_ended_is_not_the_operator(callers: Callers) -> None:
    ended = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])  # noqa: ASYNC220
    started = start_time(ended.pid)
    ended.wait()
    for process in (PeerProcess(os.geteuid(), ended.pid, started), PeerProcess(os.geteuid(), None)):
        with pytest.raises(NotAllowed, match="has ended"):
            await callers.on_socket(SocketPeer(process), Claim())
        caller = await callers.on_socket(SocketPeer(process), Claim(CREDENTIALS.credential_for(BOB)))
        assert caller.identity == BOB


async def test_another_process_with_the_same_number_is_not_the_operator(callers: Callers) -> None:
    with pytest.raises(NotAllowed, match="has ended"):
        await callers.on_socket(SocketPeer(PeerProcess(os.geteuid(), os.getpid(), "another start")), Claim())


def test_tcp_needs_a_credential(callers: Callers) -> None:
    with pytest.raises(BadCredential, match="Authorization: Bearer"):
        callers.on_tcp(None)
    assert callers.on_tcp(CREDENTIALS.operator_credential()).is_operator
    assert callers.on_tcp(CREDENTIALS.credential_for(ALICE)).identity == ALICE


async def test_a_sessions_process_is_looked_up_once(callers: Callers, service: MemoryService) -> None:
    peer = me()
    with service.this_process_is(ALICE):
        await callers.on_socket(peer, Claim())
    assert (await callers.on_socket(peer, Claim())).identity == ALICE


async def test_another_process_with_the_same_number_is_not_the_session(
    callers: Callers, service: MemoryService
) -> None:
    """It connected, ended, and its number went to a process of a session."""
    other = PeerProcess(os.geteuid(), os.getpid(), "another start")
    with service.this_process_is(ALICE):
        with pytest.raises(NotAllowed, match="has ended"):
            await callers.on_socket(SocketPeer(other), Claim())
        caller = await callers.on_socket(SocketPeer(other), Claim(CREDENTIALS.credential_for(BOB)))
        assert caller.identity == BOB
