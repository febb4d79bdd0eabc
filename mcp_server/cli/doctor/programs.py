"""Programs that are not ours: tmux and the clients, where they are and which versions they have."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lifecycle.runtimes.base import Runtime
from lifecycle.runtimes.table import UnknownRuntime, load_table
from mcp_server.cli.doctor.finding import Finding, error, ok, some, warning
from transport.errors import PeerwakeError
from transport.paths import Root
from transport.process import DeadlinePassed, run
from transport.registry import Registry
from transport.tmux.program import find_tmux, version

VERSION_SECONDS: Final = 15.0
VERSION: Final = re.compile(r"\d+(?:\.\d+)+[a-z]?")


def tmux() -> Iterator[Finding]:
    """tmux is installed and new enough."""
    try:
        path = find_tmux()
    except PeerwakeError as problem:
        yield error("tmux", str(problem), "brew install tmux" if sys.platform == "darwin" else "apt-get install tmux")
        return
    yield ok("tmux", f"{path}, version {'.'.join(map(str, version(path)))}")


def runtimes(root: Root) -> Iterator[Finding]:
    """Files in runtimes/ can be read, and every client that a peer needs is installed."""
    table = load_table(root.runtimes)
    for problem in table.problems:
        yield error("runtimes", str(problem), "mend or remove that file")
    used = _used(root)
    for name in sorted(used.keys() | {"claude", "codex"}):
        try:
            runtime = table.get(name)
        except UnknownRuntime as problem:
            yield error("runtimes", f"{problem} (declared by {some(used[name])})", f"add {root.runtimes / name}.toml")
            continue
        yield from _client(runtime, used.get(name, []), root.runtimes / f"{name}.toml")


def _used(root: Root) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {}
    for profile in Registry(root).snapshot().peers.values():
        for runtime in profile.runtimes:
            users.setdefault(runtime, []).append(profile.name)
    return users


def _client(runtime: Runtime, users: list[str], override: Path) -> Iterator[Finding]:
    program = runtime.argv[0] if runtime.argv else None
    if program is None or program.startswith("{"):
        return
    path = shutil.which(program)
    if path is not None:
        yield _found(runtime, path, users, override)
    elif users:
        yield error(
            "clients",
            f"{runtime.name}: {program} is not on your PATH; {some(users)} cannot be woken",
            runtime.install or f"install {program}",
        )
    else:
        yield ok("clients", f"{runtime.name}: not installed, and no peer needs it")


def _found(runtime: Runtime, path: str, users: list[str], override: Path) -> Finding:
    """Compare a client's version with those its screen rules were tried with."""
    shown, number = _version(path)
    text = f"{runtime.name}: {path}{shown}"
    if number is None or not runtime.verified or number in runtime.verified:
        return ok("clients", text)
    last = max(runtime.verified, key=_numbers)
    how = "newer than" if _numbers(number) > _numbers(last) else "not"
    text = f"{text}: {how} {last}, the last one its screens were verified with"
    if not users:
        return ok("clients", text)
    mend = f'try it (what it shows: peerwake why {users[0]}); when it works: verified = ["{number}"] in {override}'
    return warning("clients", text, mend)


def _version(path: str) -> tuple[str, str | None]:
    """Return what a program says of its version, in words and as a number."""
    try:
        done = run([path, "--version"], deadline=VERSION_SECONDS)
    except DeadlinePassed:
        return f" (gave no version in {VERSION_SECONDS:g} s)", None
    except PeerwakeError as problem:
        return f" ({problem})", None
    found = VERSION.search(done.stdout) or VERSION.search(done.stderr)
    return (f", version {found[0]}", found[0]) if found else ("", None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
