"""The server: whether it answers, which version it is, and who supervises."""

import fcntl
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.doctor.finding import Finding, error, ok, warning
from mcp_server.cli.doctor.records import server_pid
from mcp_server.cli.failures import Failure, NoServer, Refused
from mcp_server.version import VERSION
from transport.paths import Root

STATUS_SECONDS = 10.0
START = "peerwake serve --background"


def server(context: Context, root: Root) -> Iterator[Finding]:
    """A server answers, runs the installed version, and somebody supervises."""
    try:
        status: dict[str, Any] = ask(context, "status", seconds=STATUS_SECONDS)
    except NoServer as absent:
        yield from _absent(root, absent)
        return
    except Refused as refused:
        yield warning("server", str(refused), "run doctor outside every peer's session")
        return
    except Failure as problem:
        yield error("server", str(problem), f"tail {shlex.quote(str(root.logs / 'lifecycle.log'))}")
        return
    addresses = status.get("addresses") or {}
    where = addresses.get("http") or "unix socket only"
    yield ok("server", f"pid {status['pid']}, version {status['version']}, {where}")
    if status["version"] != VERSION:
        yield _other_version(status)
    if addresses.get("no_http"):
        yield _without_port(root, status, addresses["no_http"])
    yield from _supervisor(root, status)
    yield from _counts(status)


def _without_port(root: Root, status: dict[str, Any], reason: object) -> Finding:
    restart = f"then restart it (sessions stay): kill {status['pid']}; {START}"
    return warning("port", str(reason), f"free that port, or set another in {root.config}, {restart}")


def _other_version(status: dict[str, Any]) -> Finding:
    theirs, pid = str(status["version"]), status["pid"]
    if _numbers(theirs) > _numbers(VERSION):
        text = f"it runs version {theirs}, newer than this command, which is {VERSION}"
        return warning("server", text, "use the newer peerwake, or upgrade this one: type -a peerwake")
    text = f"it runs version {theirs}, this command is {VERSION}"
    return warning("server", text, f"restart it (sessions stay): kill {pid}; {START}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def _absent(root: Root, absent: NoServer) -> Iterator[Finding]:
    held = _is_held(root)
    if held:
        yield error("server", f"{absent}; yet a process holds {root.supervisor_lock}", _who_holds(root))
    else:
        yield warning("server", str(absent).split(";")[0], START)
    if held is False and os.path.lexists(root.server_socket):
        yield warning("leftovers", f"{root.server_socket} was left by a server that died", START)


def _supervisor(root: Root, status: dict[str, Any]) -> Iterator[Finding]:
    role = status.get("role")
    if role == "supervisor":
        yield ok("supervisor", f"pid {status['pid']}")
    elif _is_held(root):
        yield ok("supervisor", f"{_holder(root)}; this server is its hot standby")
    else:
        yield error("supervisor", f"nobody supervises: the server says {role!r}", f"kill {status['pid']}; {START}")


def _counts(status: dict[str, Any]) -> Iterator[Finding]:
    failures = int(status.get("log_failures") or 0)
    if failures:
        yield warning("logs", f"{failures} log lines could not be written", "check the disk: df -h")


def _is_held(root: Root) -> bool | None:
    """Tell whether a process holds the supervisor lock, None when that cannot be known."""
    try:
        descriptor = os.open(root.supervisor_lock, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def _holder(root: Root) -> str:
    """Return who holds the supervisor's lock, as far as the kernel tells."""
    try:
        mark = f":{root.supervisor_lock.stat().st_ino} "
        rows = [line.split() for line in Path("/proc/locks").read_text("ascii").splitlines() if mark in line]
        return next(f"pid {row[4]}" for row in rows if row[1] != "->")
    except (OSError, StopIteration, IndexError):
        return "another process of this host"


def _who_holds(root: Root) -> str:
    pid = server_pid(root)
    if pid is None:
        return f"fuser {shlex.quote(str(root.supervisor_lock))}"
    return f"see what it does: ps -p {pid}; if it hangs: kill {pid}"
