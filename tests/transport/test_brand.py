"""The mark on the processes of a session: inherited, the root's own, and not to be taken off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from transport.brand import BASE, LIMIT, brand, brand_of

HERE = Path("/here")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has RLIMIT_LOCKS")


def test_each_root_has_its_own() -> None:
    assert brand(HERE) == brand(HERE)
    assert brand(HERE) != brand(Path("/there"))
    assert brand(HERE) & BASE


def test_a_root_behind_a_link_has_the_same(tmp_path: Path) -> None:
    """The next server, or the command, may be told another path to the same root."""
    (tmp_path / "root").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "root")
    assert brand(tmp_path / "link") == brand(tmp_path / "root")


def test_a_process_without_it_and_one_that_is_gone_have_none() -> None:
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    assert brand_of(gone.pid) is None
    assert brand_of(os.getpid()) in (None, brand_of(os.getppid()))


def test_children_have_it_whatever_they_drop() -> None:
    mark = brand(HERE)
    script = (
        f"import os, resource, subprocess; resource.setrlimit({LIMIT}, ({mark}, {mark}));"
        " print(subprocess.Popen(['env', '-i', 'setsid', 'sleep', '60'], stdout=-3, stderr=-3).pid, flush=True)"
    )
    parent = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20)
    child = int(parent.stdout)
    try:
        assert brand_of(child) == mark
    finally:
        os.kill(child, 9)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without privileges")
def test_nobody_without_privileges_takes_it_off() -> None:
    mark = brand(HERE)
    script = (
        f"import os, resource; resource.setrlimit({LIMIT}, ({mark}, {mark})); os.setuid(65534)\n"
        f"try:\n resource.setrlimit({LIMIT}, (-1, -1))\nexcept (ValueError, OSError): print('kept')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "kept\n"
