"""Logs: one line per event that no value can forge, and a failing disk that fails nothing else."""

import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.private_mount import fill, on_a_small_disk
from transport.logline import fields_of
from transport.logs import Log, Logs, logfmt, quote
from transport.paths import Root

WRITER = """
import sys
from pathlib import Path
from transport.clock import SystemClock
from transport.logs import Log
log = Log(Path(sys.argv[1]), SystemClock(), max_bytes=80_000, keep=9)
for number in range(1000):
    log.write("tick", writer=sys.argv[2], number=number)
sys.exit(log.failures)
"""


class StillClock:
    """A clock that shows one moment."""

    def monotonic(self) -> float:
        return 1.0

    def wall(self) -> float:
        return 1_794_960_286.25

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def test_a_line_has_time_event_and_fields() -> None:
    line = logfmt(1_794_960_286.25, "wake", {"identity": "claude-alice", "why": 'said "no"', "left": None, "n": 3})
    assert line == (r'ts=2026-11-18T00:04:46.250+00:00 ev=wake identity=claude-alice why="said \"no\"" n=3')


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("plain/path_1.2:3@x%y+z,w-v", "plain/path_1.2:3@x%y+z,w-v"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ("a\nev=forged", r'"a\nev=forged"'),
        ("\x1b[31m\u2028\r\t\\", r'"\u001b[31m\u2028\r\t\\"'),
        ("\ud800\U000e0001", r'"\ud800\U000e0001"'),
        ("grün 😀", '"grün 😀"'),
        (None, "None"),
        (1.5, "1.5"),
    ],
)
def test_values_are_quoted_where_needed(value: object, quoted: str) -> None:
    assert quote(value) == quoted


@given(st.dictionaries(st.from_regex("[a-z]{1,8}", fullmatch=True), st.text(), max_size=4))
def test_no_value_adds_a_line_or_a_field(fields: dict[str, object]) -> None:
    fields = {f"x_{key}": value for key, value in fields.items()}
    line = logfmt(0.0, "e", fields)
    assert line.isprintable()
    assert [part.partition("=")[0] for part in shlex.split(line)] == ["ts", "ev", *fields]


def test_lines_are_appended(tmp_path: Path) -> None:
    log = Log(tmp_path / "x.log", StillClock())
    log.write("one", a=1)
    log.write("two", b=None)
    stamp = "ts=2026-11-18T00:04:46.250+00:00"
    assert (tmp_path / "x.log").read_text() == f"{stamp} ev=one a=1\n{stamp} ev=two\n"
    assert log.failures == 0


def test_rotation_keeps_so_many_files_of_so_many_bytes(tmp_path: Path) -> None:
    log = Log(tmp_path / "x.log", StillClock(), max_bytes=200, keep=2)
    for number in range(40):
        log.write("tick", n=number)
    names = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
    assert names == ["x.log", "x.log.1", "x.log.2"]
    assert all((tmp_path / name).stat().st_size <= 200 for name in names)
    kept = "".join((tmp_path / name).read_text() for name in reversed(names))
    numbers = [int(line.rpartition("=")[2]) for line in kept.splitlines()]
    assert numbers == list(range(numbers[0], 40))


def test_many_processes_through_rotation_lose_and_tear_no_line(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    children = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "abcdefgh"]
    assert [child.wait(60) for child in children] == [0] * 8
    files = [path, *tmp_path.glob("x.log.*")]
    assert 5 <= len(files) <= 10
    lines = [fields_of(line) for file in files for line in file.read_text().splitlines() if line]
    assert all(set(line) == {"ts", "ev", "writer", "number"} for line in lines)
    found = sorted((line["writer"], int(line["number"])) for line in lines)
    assert found == [(writer, number) for writer in "abcdefgh" for number in range(1000)]


def test_fewer_files_than_before_are_kept(tmp_path: Path) -> None:
    for keep in (9, 2):
        log = Log(tmp_path / "x.log", StillClock(), max_bytes=100, keep=keep)
        for number in range(30):
            log.write("tick", n=number)
    names = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
    assert names == ["x.log", "x.log.1", "x.log.2"]


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text('ts=2026-11-18T00:04:46.250+00:00 ev=torn reason="half')
    Log(path, StillClock()).write("whole", reason='"')
    torn, whole = path.read_text().splitlines()
    assert fields_of(torn)["ev"] == "torn"
    assert fields_of(whole) == {"ts": "2026-11-18T00:04:46.250+00:00", "ev": "whole", "reason": '"'}


def test_a_full_disk_tears_nothing_and_is_counted(root: Root) -> None:
    log = Log(root.logs / "x.log", StillClock(), max_bytes=1 << 20)

    def on_the_disk() -> None:
        log.write("before")
        fill(root.logs / "ballast")
        for number in range(200):
            log.write("full", n=number, padding="x" * 100)
        assert log.failures > 0
        (root.logs / "ballast").unlink()
        log.write("after")
        lines = [fields_of(line) for line in log.path.read_text().splitlines()]
        torn = [line for line in lines if set(line) != {"ts", "ev"} and "padding" not in line]
        assert len(torn) <= 1
        lines = [line for line in lines if line not in torn]
        assert [line["ev"] for line in lines if line.get("ev") != "full"] == ["before", "after"]
        assert all(line["ts"] == "2026-11-18T00:04:46.250+00:00" for line in lines)

    on_a_small_disk(root.logs, 1, on_the_disk)


def test_a_read_only_directory_is_counted(root: Root) -> None:
    log = Log(root.logs / "x.log", StillClock(), max_bytes=10)

    def on_the_disk() -> None:
        log.write("before")
        subprocess.run(["mount", "-o", "remount,ro", str(root.logs)], check=True, timeout=20)
        log.write("while")
        assert log.failures == 2  # neither rotated nor written
        assert log.path.read_text().count("\n") == 1

    on_a_small_disk(root.logs, 1, on_the_disk)


def test_threads_share_a_log(tmp_path: Path) -> None:
    log = Log(tmp_path / "x.log", StillClock(), max_bytes=1_000, keep=100)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: log.write("t", n=number), range(200)))
    lines = [line for file in tmp_path.glob("x.log*") for line in file.read_text().splitlines()]
    assert len(set(lines)) == 200


def test_a_failing_write_is_counted_and_not_raised(tmp_path: Path) -> None:
    logs = Logs(tmp_path / "gone", StillClock())
    logs.lifecycle.write("a")
    logs.exits.write("b")
    assert (logs.lifecycle.failures, logs.delivery.failures, logs.failures) == (1, 0, 2)


def test_a_log_that_cannot_be_rotated_is_still_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path / "x.log", StillClock(), max_bytes=50, keep=1)
    log.write("first")

    def fail(*_: object) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr("transport.logs.replace", fail)
    log.write("second")
    assert log.failures == 1
    assert (tmp_path / "x.log").read_text().count("\n") == 2


def test_a_value_that_is_a_body_stays_one_line(tmp_path: Path) -> None:
    log = Log(tmp_path / "x.log", StillClock())
    log.write("x", text="line\n" * 3)
    assert (tmp_path / "x.log").read_text().count("\n") == 1
