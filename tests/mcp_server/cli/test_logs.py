"""`peerwake logs`: three files as one, filtered, followed across rotation, nothing in them moves the cursor."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mcp_server.cli.logfiles import Line, LogReader
from tests.live.world import until
from tests.mcp_server.cli.conftest import Run
from transport.clock import SystemClock, iso
from transport.logs import Log, Logs, logfmt
from transport.paths import Root


def written(root: Root) -> None:
    """Write lines of three logs whose order in time is not that of the files."""
    now = time.time()
    lines = {
        "lifecycle": [(-50, "wake", {"identity": "claude-alice"}), (-10, "close", {"identity": "claude-alice"})],
        "delivery": [(-30, "consumed", {"identity": "codex-bob", "sender": "claude-alice", "id": "m_1"})],
        "exits": [(-20, "session-exit", {"identity": "claude-alice-two"})],
    }
    for name, rows in lines.items():
        text = "".join(logfmt(now + ago, event, fields) + "\n" for ago, event, fields in rows)
        (root.logs / f"{name}.log").write_text(text)


def events(text: str) -> list[str]:
    return [Line("x", line).fields["ev"] for line in text.splitlines()]


def test_three_logs_are_merged_in_the_order_of_time(peerwake: Run, root: Root) -> None:
    written(root)
    done = peerwake("logs")
    assert (done.returncode, done.stderr) == (0, "")
    assert events(done.stdout) == ["wake", "consumed", "session-exit", "close"]


def test_a_name_selects_by_peer_or_by_identity(peerwake: Run, root: Root) -> None:
    written(root)
    assert events(peerwake("logs", "alice").stdout) == ["wake", "consumed", "close"]
    assert events(peerwake("logs", "codex-bob").stdout) == ["consumed"]
    assert peerwake("logs", "nobody").stdout == ""


def test_since_takes_an_age_or_a_time(peerwake: Run, root: Root) -> None:
    written(root)
    assert events(peerwake("logs", "--since", "25s").stdout) == ["session-exit", "close"]
    assert events(peerwake("logs", "--since", iso(time.time() - 40)).stdout) == ["consumed", "session-exit", "close"]
    done = peerwake("logs", "--since", "yesterday")
    assert done.returncode == 2
    assert "10m" in done.stderr


def test_json_is_one_document_whose_rows_say_where_they_are_from(peerwake: Run, root: Root) -> None:
    written(root)
    rows = json.loads(peerwake("logs", "--json").stdout)["lines"]
    assert [row["log"] for row in rows] == ["lifecycle", "delivery", "exits", "lifecycle"]
    assert all(row["host"] and row["tenant_id"] and row["ts"] for row in rows)


def test_without_any_log_it_prints_nothing(peerwake: Run, root: Root) -> None:
    done = peerwake("logs", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"lines": []})


def test_what_a_field_holds_comes_back_as_it_was() -> None:
    value = 'a "quoted" \\ thing\nev=forged \x1b[2J\ttab é \U000e0001'
    line = Line("lifecycle", logfmt(0, "x", {"reason": value, "identity": "a-b"}))
    assert line.fields == {"ts": line.fields["ts"], "ev": "x", "reason": value, "identity": "a-b"}


def test_a_damaged_file_ends_nothing(peerwake: Run, root: Root) -> None:
    (root.logs / "exits.log").write_bytes(b'\xff\xfe\x1b[2J ts="x ev\n\n=\nts=2026-01-01T00:00:00+0000 ev=y\n')
    done = peerwake("logs")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert done.stdout.endswith("ev=y\n")


def test_rotation_between_two_looks_loses_and_repeats_nothing(root: Root) -> None:
    log = Log(root.logs / "lifecycle.log", SystemClock(), max_bytes=2_000, keep=3)
    with LogReader(str(root.home), ("lifecycle",)) as reader:
        seen = [line.fields["n"] for line in reader.everything()]
        for number in range(200):
            log.write("tick", n=number, padding="x" * 30)
            if number % 7 == 0:
                seen += [line.fields["n"] for line in reader.fresh()]
        seen += [line.fields["n"] for line in reader.fresh()]
    assert seen == [str(number) for number in range(200)]
    assert (root.logs / "lifecycle.log.3").exists()


def test_a_line_that_is_half_written_is_shown_when_it_is_whole(root: Root) -> None:
    path = root.logs / "exits.log"
    path.write_text("ts=2026-01-01T00:00:00+0000 ev=one\nts=2026-01-01T00:00:01+0000 ev=")
    with LogReader(str(root.home)) as reader:
        assert [line.fields["ev"] for line in reader.everything()] == ["one"]
        with path.open("a") as file:
            file.write("two\n")
        assert [line.fields["ev"] for line in reader.fresh()] == ["two"]
        assert reader.fresh() == []


def test_a_line_that_comes_late_to_a_file_that_was_rotated_is_shown(root: Root) -> None:
    path = root.logs / "exits.log"
    path.write_text("ts=2026-01-01T00:00:00+0000 ev=one\n")
    with LogReader(str(root.home)) as reader, path.open("a") as late:
        assert [line.fields["ev"] for line in reader.everything()] == ["one"]
        path.rename(f"{path}.1")
        path.write_text("ts=2026-01-01T00:00:02+0000 ev=three\n")
        assert [line.fields["ev"] for line in reader.fresh()] == ["three"]
        late.write("ts=2026-01-01T00:00:01+0000 ev=two\n")
        late.flush()
        assert [line.fields["ev"] for line in reader.fresh()] == ["two"]
        path.write_text("ts=2026-01-01T00:00:03+0000 ev=anew\n")
        assert [line.fields["ev"] for line in reader.fresh()] == ["anew"]


def test_a_file_that_is_emptied_is_followed_from_its_beginning(root: Root) -> None:
    path = root.logs / "delivery.log"
    path.write_text("ts=2026-01-01T00:00:00+0000 ev=one\n" * 3)
    with LogReader(str(root.home)) as reader:
        assert len(reader.everything()) == 3
        os.truncate(path, 0)
        assert reader.fresh() == []
        with path.open("a") as file:
            file.write("ts=2026-01-01T00:00:00+0000 ev=two\n")
        assert [line.fields["ev"] for line in reader.fresh()] == ["two"]


def test_only_the_end_of_long_logs_is_read(root: Root) -> None:
    log = Log(root.logs / "lifecycle.log", SystemClock(), max_bytes=10_000, keep=3)
    for number in range(500):
        log.write("tick", n=number, padding="x" * 30)
    length = len(log.path.read_text().splitlines()[-1]) + 1
    for last in (1, 3_000, 12_000, 25_000):
        with LogReader(str(root.home)) as reader:
            seen = [int(line.fields["n"]) for line in reader.everything(last=last)]
            assert seen == list(range(500 - len(seen), 500))
            assert len(seen) * length <= last
            log.write("tick", n=500)
            assert [line.fields["n"] for line in reader.fresh()] == ["500"]
        assert (len(seen) + 2) * length > last
        (root.logs / "lifecycle.log").write_text((root.logs / "lifecycle.log").read_text().rpartition("ts=")[0])


def test_files_that_are_too_old_are_not_read(root: Root) -> None:
    now = time.time()
    for name, ago in (("exits.log.1", 500), ("exits.log", 5)):
        (root.logs / name).write_text(logfmt(now - ago, "x", {"n": ago}) + "\n")
        os.utime(root.logs / name, (now - ago, now - ago))
    with LogReader(str(root.home)) as reader:
        assert [line.fields["n"] for line in reader.everything(since=now - 100)] == ["5"]
        assert [line.fields["n"] for line in reader.everything()] == ["500", "5"]


TEXT = st.text(max_size=60) | st.sampled_from(
    ['"', "\\", "\n ev=forged", '" ev=forged identity=claude-eve "', "a=b", "\x1b[2J\r", "\ud800", "\u2028x=y", "\x85"]
)


@given(values=st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), TEXT, max_size=5))
def test_no_field_forges_a_line_or_another_field(values: dict[str, str]) -> None:
    values = {name: value for name, value in values.items() if name not in ("ts", "ev")}
    text = logfmt(0.0, "real", dict(values))
    assert text.splitlines() == [text]
    assert all(char.isprintable() for char in text)
    fields = Line("lifecycle", text).fields
    assert fields.pop("ts") and fields.pop("ev") == "real"
    assert fields == {name: value.replace("\ud800", "\\ud800") for name, value in values.items()}


def test_what_a_field_holds_reaches_a_pipe_as_json(peerwake: Run, root: Root) -> None:
    for value in ("\ud800 lone", "\x00\x1b]0;x\x07", '" ev=forged', "\n{}"):
        Log(root.logs / "lifecycle.log", SystemClock()).write("x", reason=value, identity="a-b")
    done = peerwake("logs", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["ev"] for row in json.loads(done.stdout)["lines"]] == ["x"] * 4
    assert "\x1b" not in peerwake("logs").stdout


def test_following_shows_what_comes(environ: dict[str, str], root: Root, tmp_path: Path) -> None:
    logs = Logs(root.logs, SystemClock())
    logs.lifecycle.write("before", identity="claude-alice")
    output = tmp_path / "followed"
    with output.open("wb") as sink:
        argv = [sys.executable, "-m", "mcp_server", "logs", "alice", "-f", "--json"]
        child = subprocess.Popen(argv, env=environ, cwd=tmp_path, stdout=sink)
    try:
        until(lambda: output.read_text().count("\n") == 1, 20, "the first line")
        logs.delivery.write("after", identity="claude-alice")
        logs.delivery.write("other", identity="claude-bob")
        logs.lifecycle.path.rename(f"{logs.lifecycle.path}.1")
        logs.lifecycle.write("rotated", identity="claude-alice")
        until(lambda: output.read_text().count("\n") == 3, 20, "the lines that follow")
    finally:
        child.terminate()
        child.wait(10)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert rows[0]["ev"] == "before"
    assert {row["ev"] for row in rows[1:]} == {"after", "rotated"}
