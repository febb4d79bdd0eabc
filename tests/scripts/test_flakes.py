"""Counting runs of tests: what is counted together, what a table says, and that a failing run ends nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import flakes
import pytest

TOP = Path(__file__).parent.parent.parent
GOOD = flakes.Run("abc1234", 2, 3, ("-x",), 1, 100.0, 4.5, 12, 2, ())
BAD = replace(GOOD, number=2, seconds=140.0, average=6.25, failed=("tests.a::test_x[1]", "tests.b::test_y"))
SOMETIMES = """
from pathlib import Path

def test_always(): pass

def test_sometimes():
    count = Path(__file__).with_name("count")
    with count.open("a") as file:
        file.write("x")
    assert len(count.read_text()) != 2, "the second time"
"""
ENDLESS = """
import time
from pathlib import Path

def test_endless():
    try:
        Path(__file__).with_name("begun").touch()
        time.sleep(600)
    finally:
        Path(__file__).with_name("cleaned").touch()
"""


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let SIGINT end what is started here, also when the tests run in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_only_runs_under_the_same_conditions_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    assert flakes.counted(path, GOOD.conditions) == []
    others = [
        replace(GOOD, commit="other"),
        replace(GOOD, load=0),
        replace(GOOD, workers=1),
        replace(GOOD, arguments=()),
    ]
    for run in (GOOD, *others, BAD):
        flakes.keep(path, run)
    with path.open("a") as file:
        file.write(json.dumps(asdict(GOOD))[:40])
    assert flakes.counted(path, GOOD.conditions) == [GOOD, BAD]


def test_the_table_says_what_was_run_and_what_failed_how_often() -> None:
    text = flakes.summary([GOOD, BAD, replace(BAD, number=3, failed=("tests.b::test_y",))])
    assert "| runs in a row                               | 3 |" in text
    assert "| tests in each                               | 10 |" in text
    assert "| runs with a failure                         | 2 |" in text
    assert "| load average at the end, lowest and highest | 4.5, 6.2 |" in text
    assert text.endswith("\n\n- 2 × `tests.b::test_y`\n- 1 × `tests.a::test_x[1]`")
    assert flakes.summary([GOOD]).endswith("\n\nNo test failed.")
    assert flakes.summary([]) == "no run"


def test_a_report_names_what_failed(tmp_path: Path) -> None:
    path = tmp_path / "results.xml"
    path.write_text(
        '<testsuites><testsuite><testcase classname="a" name="good"/>'
        '<testcase classname="a" name="bad"><failure message="x">y</failure></testcase>'
        '<testcase classname="b" name="worse"><error message="x">y</error></testcase>'
        '<testcase classname="b" name="off"><skipped message="x">y</skipped></testcase></testsuite></testsuites>'
    )
    assert flakes.report(path) == (4, 1, ("a::bad", "b::worse"))


def test_a_failing_run_is_kept_and_the_next_ones_follow(tmp_path: Path) -> None:
    path, tests = tmp_path / "runs.jsonl", tmp_path / "test_sometimes.py"
    tests.write_text(SOMETIMES)
    command = ["--into", str(path), "--load", "1", "--workers", "0"]
    rest = ["--", "-m", "", "-p", "no:anyio", f"--rootdir={tmp_path}", str(tests)]
    assert flakes.main([*command, "--times", "1", *rest]) == 0
    assert flakes.main([*command, "--times", "3", *rest]) == 1, "the first run is counted, the second fails"
    runs = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(run["number"], run["tests"], run["failed"]) for run in runs] == [
        (1, 2, []),
        (2, 2, ["test_sometimes::test_sometimes"]),
        (3, 2, []),
    ]
    (kept,) = (tmp_path / "runs.failures").iterdir()
    assert "the second time" in kept.read_text()


def test_a_run_that_does_not_end_is_a_failure_and_cleans_up(tmp_path: Path) -> None:
    path, tests = tmp_path / "runs.jsonl", tmp_path / "test_endless.py"
    tests.write_text(ENDLESS)
    given = ["--into", str(path), "--load", "0", "--workers", "0", "--times", "1", "--seconds", "15"]
    rest = ["-m", "", f"--rootdir={tmp_path}", str(tests)]
    assert flakes.main([*given, "--", *rest]) == 1
    (run,) = flakes.counted(path, flakes.Conditions(flakes.commit(), 0, 0, tuple(rest)))
    assert flakes.NOT_ENDED in run.failed
    assert (tmp_path / "cleaned").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_an_interruption_ends_the_tests_and_the_load_and_counts_for_nothing(tmp_path: Path) -> None:
    path, tests = tmp_path / "runs.jsonl", tmp_path / "test_endless.py"
    tests.write_text(ENDLESS)
    argv = [sys.executable, str(TOP / "scripts" / "flakes.py"), "--into", str(path), "--load", "1", "--workers", "0"]
    rest = ["-m", "", f"--rootdir={tmp_path}", str(tests)]
    child = subprocess.Popen([*argv, "--", *rest], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline, "the tests did not begin"
        time.sleep(0.05)
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    assert len(children) == 2
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "goes on counting" in said
    assert not path.exists()
    assert (tmp_path / "cleaned").exists()
    assert not any(_is_running(int(pid)) for pid in children)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
