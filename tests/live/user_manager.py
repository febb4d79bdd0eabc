"""A real `systemd --user` of a test's own: in cgroups of its own, so that it moves nobody else's processes."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.world import until

MANAGER = Path("/lib/systemd/systemd")
CGROUPS = Path("/sys/fs/cgroup")
# A manager in the top cgroup takes every process of the machine for its own: it is started only below.
START = """
for place; do mkdir -p "$place" && { echo $$ >"$place/cgroup.procs"; } 2>/dev/null; done
grep -Eq '^[0-9]+:(name=systemd)?:/$' /proc/self/cgroup && exit 77
exec unshare --mount sh -c 'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "$0" --user' MANAGER
"""


@dataclass(frozen=True, slots=True)
class UserManager:
    """A running manager, found through `runtime`, which is what XDG_RUNTIME_DIR is to name."""

    runtime: Path

    @property
    def env(self) -> dict[str, str]:
        return {"XDG_RUNTIME_DIR": str(self.runtime), "PEERWAKE_SYSTEMD_SCOPE": "true"}

    def run(self, *words: str) -> None:
        """Run `systemctl` or `systemd-run` for this manager; fails the test when that fails."""
        env = {"PATH": os.environ["PATH"], **self.env}
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


@contextmanager
def user_manager(directory: Path) -> Iterator[UserManager]:
    """Yield a manager that keeps its socket in `directory`; skips where none can be run."""
    if os.geteuid() != 0 or not MANAGER.exists():
        pytest.skip("only root, with systemd installed, can run a user manager in cgroups of its own")
    runtime = directory / "xdg"
    runtime.mkdir(mode=0o700)
    places = [str(place / f"peerwake-test-{os.getpid()}") for place in hierarchies()]
    argv = ["/bin/sh", "-c", START.replace("MANAGER", str(MANAGER)), "start", *places]
    env = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(runtime), "HOME": str(directory)}
    with (directory / "manager.log").open("wb") as log:
        manager = subprocess.Popen(argv, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: (runtime / "systemd" / "private").exists() or manager.poll() is not None, 20, "the manager")
        if manager.poll() is not None:
            pytest.skip(f"no user manager runs here: {(directory / 'manager.log').read_text()[-300:]}")
        yield UserManager(runtime)
    finally:
        manager.send_signal(signal.SIGTERM)
        try:
            manager.wait(20)
        except subprocess.TimeoutExpired:
            manager.kill()
            manager.wait(5)
        until(lambda: not any(left(Path(place)) for place in places), 10, "the end of what the manager ran")


def hierarchies() -> list[Path]:
    """Return the tops of the mounted cgroup hierarchies."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [place for place in CGROUPS.iterdir() if (place / "cgroup.procs").exists() and not place.is_symlink()]


def left(place: Path) -> list[Path]:
    """Remove a cgroup with all below it, and return what is still there."""
    for path, _, _ in os.walk(place, topdown=False):
        with suppress(OSError):
            Path(path).rmdir()
    return [place] if place.exists() else []


def scope_of(pid: int) -> str:
    """Return the unit that systemd keeps a process in."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, kinds, path = line.split(":", 2)
        if kinds == "name=systemd" or (number == "0" and (CGROUPS / "cgroup.controllers").exists()):
            return path.rpartition("/")[2]
    return ""
