"""The command that runs benchmarks."""

from pathlib import Path

import pytest

from bench.__main__ import available, main, record


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
