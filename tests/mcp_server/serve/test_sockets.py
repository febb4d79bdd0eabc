"""Listening sockets: a dead one is replaced, a living one never; addresses that cannot be listened on."""

import os
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from mcp_server.serve.options import AddressInUse, NotLoopback, ServeOptions, ServerRunning, is_loopback
from mcp_server.serve.sockets import CannotListen, http_address, tcp_listener, unix_listener
from transport.paths import Root, RootUnusable


def test_the_socket_is_private_and_goes_with_its_server(root: Root) -> None:
    path = root.server_socket
    with unix_listener(path):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.exists()
    assert [one.name for one in path.parent.iterdir() if one.name.endswith(".s")] == []


def test_a_dead_socket_is_replaced(root: Root) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(root.server_socket))
    dead.close()
    assert root.server_socket.exists()
    with unix_listener(root.server_socket), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(root.server_socket))


def test_a_file_in_its_place_is_replaced(root: Root) -> None:
    root.server_socket.write_text("what")
    with unix_listener(root.server_socket), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(root.server_socket))


def test_a_socket_that_answers_is_left_alone(root: Root) -> None:
    with unix_listener(root.server_socket):
        with pytest.raises(ServerRunning), unix_listener(root.server_socket):
            raise AssertionError("a second server listens")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(root.server_socket))


def test_a_socket_with_a_full_backlog_counts_as_answered(root: Root) -> None:
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(root.server_socket))
        busy.listen(0)
        for _ in range(8):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            try:
                client.connect(str(root.server_socket))
            except BlockingIOError:
                break
        with pytest.raises(ServerRunning), unix_listener(root.server_socket):
            raise AssertionError("a second server listens")


def test_a_successors_socket_is_not_removed(root: Root) -> None:
    with unix_listener(root.server_socket):
        root.server_socket.unlink()
        root.server_socket.write_text("somebody else's")
    assert root.server_socket.exists()


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RootUnusable, match="PEERWAKE_HOME"), unix_listener(tmp_path / ("x" * 101)):
        raise AssertionError("it listens")


def test_a_taken_port_is_refused() -> None:
    with tcp_listener(ServeOptions(port=0)) as first:
        assert first is not None
        port = first.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"port {port}"), tcp_listener(ServeOptions(port=port)):
            raise AssertionError("it listens")


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    options = ServeOptions(host="192.0.2.1", port=0, allow_remote=True)
    with pytest.raises(CannotListen, match=r"192\.0\.2\.1"), tcp_listener(options):
        raise AssertionError("it listens")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_a_host_that_is_not_loopback_needs_the_flag(host: str) -> None:
    with pytest.raises(NotLoopback, match="allow_remote"), tcp_listener(ServeOptions(host=host, port=0)):
        raise AssertionError("it listens")


def test_the_name_it_listens_on_is_known_in_lower_case() -> None:
    assert "mybox" in ServeOptions(host="MyBox").host_names


def test_without_a_port_there_is_no_tcp() -> None:
    with tcp_listener(ServeOptions(port=None)) as listener:
        assert listener is None


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_the_address_is_a_url(host: str, expected: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("no IPv6 here")
    with tcp_listener(ServeOptions(host=host, port=0)) as listener:
        assert listener is not None
        assert http_address(listener).startswith(expected)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_loopback() -> None:
    assert is_loopback("127.9.9.9")
    assert is_loopback("localhost")
    assert is_loopback("LocalHost")
    assert not is_loopback("localhost.example")
    assert os.geteuid() >= 0


def test_no_socket_at_all_is_told_like_any_other_refusal(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", full)
    with pytest.raises(CannotListen, match="Too many open files"), unix_listener(root.server_socket):
        raise AssertionError("it listens")


def test_a_socket_that_the_disk_does_not_take_is_told_and_leaves_nothing(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("mcp_server.serve.sockets.replace", full)
        with pytest.raises(CannotListen, match="No space left on device"), unix_listener(root.server_socket):
            raise AssertionError("it listens")
    assert [path.name for path in root.run.iterdir() if path.name.endswith((".s", ".sock"))] == []
    with unix_listener(root.server_socket):
        assert root.server_socket.exists()
