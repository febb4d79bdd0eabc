"""The mark on the processes of a session: inherited, the root's own, and not to be taken off."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from transport.brand import BASE, LIMIT, brand, hard_limit, is_marked

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
    assert hard_limit(gone.pid) is None
    assert hard_limit(os.getpid()) in (None, hard_limit(os.getppid()))


@contextmanager
def marked(then: str = "pass") -> Iterator[int]:
    """Yield a descendant of a process with the mark, which did `then` and dropped all else it inherited."""
    mark = brand(HERE)
    script = (
        f"import os, resource, subprocess; resource.setrlimit({LIMIT}, ({mark}, {mark})); {then};"
        " print(subprocess.Popen(['env', '-i', 'setsid', 'sleep', '60'], stdout=-3, stderr=-3).pid, flush=True)"
    )
    parent = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20)
    child = int(parent.stdout)
    try:
        yield child
    finally:
        os.kill(child, 9)


def test_children_have_it_whatever_they_drop() -> None:
    with marked() as child:
        assert hard_limit(child) == brand(HERE)


@pytest.mark.parametrize("lower", [0, brand(HERE) - 1])
def test_lowering_it_does_not_take_it_off(lower: int) -> None:
    with marked(f"resource.setrlimit({LIMIT}, ({lower}, {lower}))") as child:
        assert is_marked(hard_limit(child), brand(HERE), None)


@pytest.mark.parametrize(
    ("limit", "usual", "expected"),
    [
        (None, None, False),
        (9, None, True),
        (10, None, True),
        (11, None, False),
        (5, 5, False),
        (4, 5, True),
        (10, 5, True),
        (10, 10, True),
    ],
)
def test_a_lower_limit_counts_unless_it_is_usual(limit: int | None, usual: int | None, expected: bool) -> None:
    assert is_marked(limit, 10, usual) is expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become others")
@pytest.mark.parametrize("lower", ["", f"resource.setrlimit({LIMIT}, (0, 0)); "])
def test_it_is_seen_in_another_group_too(lower: str) -> None:
    """The kernel's own question is answered for the same user and the same group only."""
    ask = (
        "import os, resource, sys; sys.path.insert(0, sys.argv[1]); from transport.brand import hard_limit;"
        " os.setgroups([]); os.setgid(65534); os.setuid(65534); print(hard_limit(int(sys.argv[2])))"
    )
    with marked(f"{lower}os.setgroups([]); os.setgid(4242); os.setuid(65534)") as child:
        words = [sys.executable, "-c", ask, str(Path(__file__).parents[2]), str(child)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
    assert int(done.stdout) == (0 if lower else brand(HERE))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without privileges")
def test_nobody_without_privileges_takes_it_off() -> None:
    mark = brand(HERE)
    script = (
        f"import os, resource; resource.setrlimit({LIMIT}, ({mark}, {mark})); os.setuid(65534)\n"
        f"try:\n resource.setrlimit({LIMIT}, (-1, -1))\nexcept (ValueError, OSError): print('kept')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "kept\n"
