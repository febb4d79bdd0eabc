import os
from pathlib import Path

import pytest

from lifecycle.runtimes.overrides import RuntimeInvalid, merge
from lifecycle.runtimes.table import BUILT_IN, Table, load_table

PI = """
argv = ["pi", "--session", "{session_id}"]
reader = "envelopes"
transcript_path = "{home}/.pi/sessions/*/{session_id}.jsonl"
[screen]
composer = '^> (?P<text>.*)$'
"""


def load(directory: Path, **files: str) -> Table:
    for name, text in files.items():
        (directory / f"{name}.toml").write_text(text)
        (directory / f"{name}.toml").chmod(0o600)
    return load_table(directory)


def problem(table: Table) -> RuntimeInvalid:
    (found,) = table.problems
    return found


def test_without_files_the_table_is_what_is_built_in(tmp_path: Path) -> None:
    assert load_table(tmp_path) == load_table(tmp_path / "none") == Table(BUILT_IN)


def test_a_file_adds_a_runtime(tmp_path: Path) -> None:
    table = load(tmp_path, pi=PI)
    assert table.problems == ()
    assert table.get("pi").argv == ("pi", "--session", "{session_id}")
    assert table.get("claude") == BUILT_IN["claude"]


def test_a_file_overrides_one_screen_pattern_and_nothing_else(tmp_path: Path) -> None:
    made = load(tmp_path, claude="[screen]\nbusy = ['^thinking']\n").get("claude")
    assert made.screen.busy == ("^thinking",)
    assert made.screen.model_copy(update={"busy": BUILT_IN["claude"].screen.busy}) == BUILT_IN["claude"].screen
    assert made.model_copy(update={"screen": BUILT_IN["claude"].screen}) == BUILT_IN["claude"]


def test_variables_are_laid_over_and_lists_replaced(tmp_path: Path) -> None:
    made = load(tmp_path, claude='argv = ["claude", "--model", "opus"]\n[env]\nX = "1"\n').get("claude")
    assert made.argv == ("claude", "--model", "opus")
    assert made.env == BUILT_IN["claude"].env | {"X": "1"}


def test_dialogs_are_laid_over_by_their_names(tmp_path: Path) -> None:
    text = """
        [[dialogs]]
        name = "trust"
        pattern = "Do you trust"
        keys = ["y"]
        [[dialogs]]
        name = "news"
        pattern = "What is new"
        keys = ["Enter"]
    """
    dialogs = load(tmp_path, claude=text).get("claude").dialogs
    before = [dialog.name for dialog in BUILT_IN["claude"].dialogs]
    assert sorted(dialog.name for dialog in dialogs) == sorted([*before, "news"])
    assert next(dialog.keys for dialog in dialogs if dialog.name == "trust") == ("y",)


def test_a_runtime_extends_a_built_in_one(tmp_path: Path) -> None:
    made = load(tmp_path, opus='extends = "claude"\nargv = ["claude", "--model", "opus"]\n').get("opus")
    assert (made.name, made.reader, made.screen) == ("opus", "claude", BUILT_IN["claude"].screen)


@pytest.mark.parametrize(
    ("name", "text", "field", "said"),
    [
        ("claude", "argv = [", "", "it is not TOML: "),
        ("claude", "x = " + "[" * 5000, "", "it is nested too deeply"),
        ("claude", "[screen]\nbusy = ['(']\n", "screen.busy.0", "'(' is not a regular expression"),
        ("claude", "[screen]\ncomposer = '^>'\n", "screen.composer", "needs a group (?P<text>"),
        ("claude", "[screen]\nbussy = []\n", "screen.bussy", "there is no such field"),
        ("claude", "argw = []\n", "argw", "there is no such field"),
        ("claude", "argv = 'claude'\n", "argv", "valid tuple"),
        ("claude", "argv = ['{me}']\n", "argv", "unknown placeholder {me}"),
        ("claude", "argv = []\n", "argv", "it is missing"),
        ("claude", "name = 'codex'\n", "name", "it must be 'claude'"),
        ("claude", "attempts = 0\n", "attempts", "greater than or equal to 1"),
        ("claude", "reader = 'mine'\n", "reader", "'mine' does not exist; use one of claude"),
        ("claude", "[[dialogs]]\nname = 'x'\n", "dialogs.0.pattern", "it is missing"),
        ("claude", "dialogs = ['x']\n", "dialogs.0", "valid dictionary"),
        ("pi", "extends = 'pj'\n", "extends", "'pj' is not built in"),
        ("pi", "argv = ['pi']\n", "screen", "it is missing"),
        (
            "pi",
            "argv = ['pi']\n[screen]\ncomposer = '(?P<text>)'\n",
            "reader",
            "without evidence nothing is ever delivered",
        ),
        (
            "pi",
            "reader = 'envelopes'\n" + "argv = ['pi']\n[screen]\ncomposer = '(?P<text>)'\n",
            "transcript_path",
            "missing",
        ),
        ("no-name", PI, "file name", "is not a runtime's name"),
    ],
)
def test_a_broken_file_is_reported_and_the_others_stay(
    tmp_path: Path, name: str, text: str, field: str, said: str
) -> None:
    table = load(tmp_path, **{name: text}, other=PI)
    found = problem(table)
    assert (found.path, found.field) == (tmp_path / f"{name}.toml", field)
    assert said in found.problem
    assert str(found.path) in str(found)
    assert set(table.runtimes) == {*BUILT_IN, "other"}
    assert table.get("claude") == BUILT_IN["claude"]


def test_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    load(tmp_path, pi=PI)
    (tmp_path / "pi.toml").chmod(0o620)
    assert f"run: chmod go-w {tmp_path / 'pi.toml'}" in problem(load_table(tmp_path)).problem


def test_a_link_a_directory_and_a_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(PI)
    (tmp_path / "link.toml").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    found = {each.path.stem: each.problem for each in load_table(tmp_path).problems}
    assert found == {
        "link": "it is a symbolic link; put the file itself there",
        "folder": "it is not a regular file",
        "pipe": "it is not a regular file",
    }


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    load(tmp_path, pi=PI)
    os.chown(tmp_path / "pi.toml", 4321, -1)
    assert "it belongs to uid 4321" in problem(load_table(tmp_path)).problem


def test_a_file_too_large_or_not_text_is_refused(tmp_path: Path) -> None:
    assert "over the limit" in problem(load(tmp_path, pi="#" * 300_000)).problem
    (tmp_path / "pi.toml").write_bytes(b"# \xff")
    assert "it is not UTF-8 (byte 2)" in problem(load_table(tmp_path)).problem


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("README.md", "pi.toml~", ".pi.toml.swp", ".hidden.toml"):
        (tmp_path / name).write_text("{")
    assert load_table(tmp_path) == Table(BUILT_IN)


def test_a_directory_that_is_none_is_reported(tmp_path: Path) -> None:
    (tmp_path / "runtimes").write_text("")
    table = load_table(tmp_path / "runtimes")
    assert table.runtimes == BUILT_IN
    assert "it cannot be read" in problem(table).problem


def test_merging_leaves_what_it_merges_as_it_was() -> None:
    below, above = {"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "e": {"f": 1}}
    assert merge(below, above) == {"a": {"b": 1, "c": [2]}, "d": 1, "e": {"f": 1}}
    assert below == {"a": {"b": 1, "c": [1]}, "d": 1}
