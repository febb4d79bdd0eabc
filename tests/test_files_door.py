"""Nobody flushes or renames a file but `transport/files.py`, through which the tests make the disk fail."""

import ast
from pathlib import Path

import pytest

from tests.test_layers import FILES, RANK, TOP, imported

DOOR = "transport/files.py"
CALLS = {"fsync", "fdatasync", "replace", "rename", "renames"}
IMPORTED = CALLS | {"move"}
OTHERS = {
    "lifecycle/watcher.py": "a process of its own, standard library only and without pathlib, for its memory",
    "lifecycle/forensics.py": "the watcher imports it",
}
"""Who renames files beside the door, and why: faults that a test wants there are made by the system."""


def around_the_door(source: str) -> list[str]:
    """Return what flushes or renames files by itself, as it stands in the source.

    A `replace` or `rename` of a path is told from that of text, of a time or of a peer by its one argument.
    """
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in CALLS:
                found.append(ast.unparse(node))
            case ast.Attribute(value=ast.Name(id="shutil"), attr="move"):
                found.append(ast.unparse(node))
            case ast.ImportFrom(module="os" | "shutil", names=names) if {each.name for each in names} & IMPORTED:
                found.append(ast.unparse(node))
            case ast.Call(func=ast.Attribute(attr="replace" | "rename"), args=[_], keywords=[]):
                found.append(ast.unparse(node))
    return found


def test_only_the_door_flushes_and_renames_files() -> None:
    found = {str(path.relative_to(TOP)): around_the_door(path.read_text()) for path in FILES}
    assert {name: uses for name, uses in found.items() if uses and name not in OTHERS} == {
        DOOR: ["os.fsync", "os.replace"]
    }
    assert {name for name, uses in found.items() if uses} == {DOOR, *OTHERS}, "an exception that is none any more"


def test_who_renames_beside_the_door_could_not_import_it() -> None:
    """The door needs pathlib, which the watcher and all that it imports do without."""
    assert "pathlib" in imported(TOP / DOOR)
    reached = {name.removesuffix(".py") for name in OTHERS}
    while more := {each for name in reached for each in own_modules(TOP / f"{name}.py")} - reached:
        reached |= more
    assert {name for name in reached if "pathlib" in imported(TOP / f"{name}.py")} == set()
    assert {name.split("/")[0] for name in reached} == {"lifecycle"}


def own_modules(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    names = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.replace(".", "/") for name in names if name.split(".")[0] in RANK}


@pytest.mark.parametrize(
    "source",
    [
        *("os.fsync(1)", "os.fdatasync(1)", "os.replace(a, b)", "os.rename(a, b)", "run(os.replace, a, b)"),
        *("path.replace(other)", "path.rename(other)", "Path(a).with_name(b).replace(c)", "shutil.move(a, b)"),
        *("from os import replace", "from os import path, fsync as flush", "from shutil import move"),
    ],
)
def test_what_goes_past_the_door_is_seen(source: str) -> None:
    assert len(around_the_door(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        *("text.replace(a, b)", "text.replace(a, b, 1)", "at.replace(tzinfo=UTC)", "replace(session, mode=mode)"),
        *("dataclasses.replace(message, hops=1)", "store.rename(before, after, at)", "replace(aside, path)"),
        "from transport.files import fsync, replace",
    ],
)
def test_what_renames_no_file_is_let_through(source: str) -> None:
    assert around_the_door(source) == []
