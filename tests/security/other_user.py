"""Another user of the host, as a process that has given up being us."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.bad_input import HTTP, NOBODY, private_world
from tests.live.world import World

THEIRS = NOBODY - 1
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="NOT TESTED: what another user of the host can do; only root can become one"
)


@contextmanager
def lived_in() -> Iterator[World]:
    """Yield a world with a server, a live session and all that comes with them."""
    with private_world(**HTTP) as world:
        world.create("alice")
        world.create("bob")
        world.serve()
        assert world.send("alice", "hello", "--wait", "60")["status"] == "delivered"
        yield world


READ = """
import json, os, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
got = []
for line in sys.stdin.read().split("\\0"):
    kind, _, path = line.partition(" ")
    try:
        if kind == "file":
            with open(path, "rb") as file:
                file.read(1)
        elif kind == "dir":
            os.listdir(path)
        elif kind == "write":
            os.close(os.open(path, os.O_WRONLY))
        elif kind == "link":
            os.link(path, {aside!r})
            os.unlink({aside!r})
        elif kind == "make":
            os.close(os.open(path + "/theirs", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        else:
            os.unlink(path)
    except OSError:
        continue
    got.append(line)
print(json.dumps(got))
"""


def as_them(program: str, given: str = "", **values: object) -> Any:
    """Run a program that becomes another user, and return the JSON value it prints."""
    text = program.format(uid=THEIRS, **values)
    done = subprocess.run([sys.executable, "-c", text], input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def theirs(path: Path, mode: int = 0o777) -> Path:
    """Give a file or directory to the other user."""
    os.chown(path, THEIRS, THEIRS)
    path.chmod(mode)
    return path
