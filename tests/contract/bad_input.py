"""What the tests of bad input share: a world for a whole module, and the proof that nothing was changed."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_server.serve.credentials import load_credentials
from tests.live.world import World
from transport.identity import parse_identity
from transport.paths import Root

HTTP = {"PEERWAKE_TCP": "true", "PEERWAKE_PORT": "0"}
AS_ANYBODY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--")
NOBODY = 65534


class QuietWorld(World):
    """A world whose agents have no tools: no bridge of theirs starts a server when a test ends one."""

    def create(self, name: str, *flags: str, rules: list[dict[str, Any]] | None = None) -> Path:
        return super().create(name, "--no-client-config", *flags, rules=rules)


@contextmanager
def private_world(**extra: str) -> Iterator[World]:
    """A world on a short path, for as long as the block runs."""
    home = Path(tempfile.mkdtemp(prefix="pw-", dir="/tmp"))
    root = Root(home)
    root.prepare()
    world = QuietWorld(root, extra=dict(extra))
    try:
        yield world
    finally:
        world.close()
        shutil.rmtree(home, ignore_errors=True)


def stored(world: World) -> list[tuple[Any, ...]]:
    """Return every message that the spool holds, in the order of acceptance, with its state."""
    if not world.root.spool.exists():
        return []
    with closing(sqlite3.connect(f"file:{world.root.spool}?mode=ro", uri=True, timeout=10)) as db:
        return db.execute("SELECT id, sender, recipient, state FROM messages ORDER BY seq").fetchall()


def senders(world: World, body: str) -> list[str]:
    """Return who the messages of exactly this body are from, in the order of acceptance."""
    query = "SELECT sender FROM messages JOIN bodies USING (seq) WHERE body = ? ORDER BY seq"
    with closing(sqlite3.connect(f"file:{world.root.spool}?mode=ro", uri=True, timeout=10)) as db:
        return [row[0] for row in db.execute(query, (body,))]


@contextmanager
def unchanged(world: World) -> Iterator[None]:
    """Fail unless the spool holds the same messages after the block: nothing queued, nothing lost."""
    before = [row[:3] for row in stored(world)]
    yield
    assert [row[:3] for row in stored(world)] == before


def files(directory: Path) -> dict[str, bytes]:
    """Return every regular file below a directory with its content."""
    paths = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def credential(world: World, identity: str) -> str:
    """Return the credential of one presence of a peer."""
    return load_credentials(world.root.secret).credential_for(parse_identity(identity))


def refused(done: subprocess.CompletedProcess[str], status: int, *says: str) -> str:
    """Check how a command ended: its status, one line of error without a traceback, and what that says."""
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("peerwake: "), done.stderr
    for text in says:
        assert text in line, (text, line)
    return line


def under_permissions() -> tuple[str, ...]:
    """Return the words that make a command line obey the permissions of files, none for an ordinary user."""
    if os.geteuid() != 0:
        return ()
    if shutil.which(AS_ANYBODY[0]) is None:
        pytest.skip("root obeys no permissions, and there is no setpriv here")
    return AS_ANYBODY


def forbid(path: Path, mode: int = 0) -> Path:
    """Take a file or directory away from the commands `under_permissions`."""
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    return path
