"""The command that runs benchmarks."""

from pathlib import Path

import pytest

import bench.__main__ as command
from bench.__main__ import LONG, available, chosen, main, record, signed
from bench.contract import MODULES
from bench.rows import Row, answer


def test_each_module_with_a_run_is_found() -> None:
    assert "spool" in available()
    assert not {"rows", "machine", "__main__"} & set(available())


def test_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["nothing"])
    assert end.value.code == 2
    assert "no benchmark named nothing; there are:" in capsys.readouterr().err


def test_recording_replaces_one_section_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    record(path, "spool", "first")
    record(path, "mcp", "| other |")
    record(path, "spool", "second\n\n| row |")
    text = path.read_text()
    assert text.startswith("# Results\n")
    assert text.endswith("## mcp\n\n| other |\n\n## spool\n\nsecond\n\n| row |\n")


def test_a_note_stays_when_its_section_is_recorded_again(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    record(path, "soak", "| 1 |\n\nby hand", "abc, today: CI ran\nbeside it")
    record(path, "wake", "| other |")
    record(path, "soak", "| 2 |", "def, later: quiet")
    record(path, "soak", "| 3 |")
    kept = "## soak\n\n| 3 |\n\n> abc, today: CI ran beside it\n\n> def, later: quiet\n\n## wake\n\n| other |\n"
    assert path.read_text().endswith(kept)


def test_a_note_says_of_which_run_it_is() -> None:
    assert signed("quiet", "2 cores, tmux 3.3a, commit abc, 2026-11-20 18:41 UTC").startswith("commit abc, 2026-11-20")
    assert signed("", "2 cores, commit abc, now") == ""


def test_a_note_needs_something_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["wake", "--note", "quiet"])
    assert end.value.code == 2
    assert "--note is kept in what --record writes" in capsys.readouterr().err


def test_the_contract_comes_first_in_the_results(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    for name in ("bridge", "contract", "wake", "a note by hand"):
        record(path, name, f"text of {name}")
    titles = [line.removeprefix("## ") for line in path.read_text().splitlines() if line.startswith("## ")]
    assert titles == ["contract", "a note by hand", "bridge", "wake"]


def test_long_benchmarks_run_only_when_named() -> None:
    known = available()
    assert not LONG & set(chosen([], known))
    assert set(chosen([], known)) == set(known) - LONG
    assert chosen(["growth", "contract", "wake"], known) == ["growth", *MODULES]


class Fake:
    """Stands for every benchmark module."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def run(self, quick: bool) -> list[Row]:
        if not self.rows:
            raise RuntimeError("no disk")
        return self.rows


@pytest.mark.parametrize(
    ("rows", "words", "status", "said"),
    [
        ([answer("wake", 300.0)], ["wake"], 0, "| 300 ms | ≤ 250 | NO  |"),
        ([answer("wake", 300.0)], ["wake", "--strict"], 1, "| NO  |"),
        ([answer("wake", 200.0)], ["wake", "--strict"], 0, "| yes |"),
        ([answer("wake", None)], ["wake", "--strict"], 0, "| not run |"),
        ([], ["wake"], 1, "wake: FAILED, RuntimeError: no disk"),
    ],
)
def test_exit_codes(
    rows: list[Row],
    words: list[str],
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "available", lambda: ["wake"])
    monkeypatch.setattr(command.importlib, "import_module", lambda name: Fake(rows))
    assert main(words) == status
    assert said in capsys.readouterr().out
