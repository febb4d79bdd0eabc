"""mcp_server → lifecycle → transport, never back."""

import ast
from pathlib import Path

import pytest

RANK = {"transport": 0, "lifecycle": 1, "mcp_server": 2}
TOP = Path(__file__).parent.parent
FILES = sorted(path for package in RANK for path in (TOP / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}: relative import"
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TOP)))
def test_nothing_imports_upward(path: Path) -> None:
    own = path.relative_to(TOP).parts[0]
    upward = {name for name in imported(path) & RANK.keys() if RANK[name] > RANK[own]}
    assert not upward


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 20
