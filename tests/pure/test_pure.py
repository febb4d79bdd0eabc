"""A module listed as pure does no input or output, as far as its source tells, and none that does none is left out."""

import ast

import pytest

from tests.pure.modules import COVERED, DOORED, EXEMPT, PURE, TESTS, TOP
from tests.pure.rules import COMPUTING, OURS, TAKEN, TOUCHING, imports, library, violations

# An empty `__init__.py` has nothing to cover.
MODULES = {
    str(path.relative_to(TOP)): text
    for package in OURS
    for path in sorted((TOP / package).rglob("*.py"))
    if (text := path.read_text("utf-8"))
}


@pytest.mark.parametrize("path", PURE)
def test_it_imports_what_computes_opens_nothing_waits_for_nothing_and_keeps_nothing(path: str) -> None:
    assert violations(MODULES[path], PURE) == []


def test_no_module_that_only_computes_is_left_out() -> None:
    left_out = {path for path, text in MODULES.items() if path not in PURE and not violations(text, PURE)}
    assert left_out == set(EXEMPT), "list it as PURE, with its tests, or as EXEMPT, with a reason"
    assert all(EXEMPT.values())


def test_each_library_is_said_to_compute_or_to_touch() -> None:
    """One that nobody has judged would keep a module out of the list for no reason."""
    named = {library(module) for text in MODULES.values() for module, _ in imports(ast.parse(text))}
    assert named - set(OURS) <= COMPUTING | TOUCHING
    assert not COMPUTING & TOUCHING


@pytest.mark.parametrize(
    "source",
    [
        *("import os", "from os import environ", "import sqlite3", "from urllib.request import urlopen"),
        *("from transport.files import write_atomic", "from transport import files", "from glob import glob"),
        *("def f():\n    from time import sleep", "async def f(): pass", "def f():\n    global a"),
        *("open('x')", "print(1)", "Path('x').stat()", "a.b.mkdir()", "datetime.now()", "date.today()"),
    ],
)
def test_what_touches_something_is_seen(source: str) -> None:
    assert len(violations(source, PURE)) == 1


@pytest.mark.parametrize(
    "source",
    [
        *("import re", "from collections.abc import Iterator", "from urllib.parse import quote", "a.now()"),
        *("from sqlite3 import Row", "from glob import escape", "from transport.envelope import opening_id"),
        *("from transport.files import LockHeld", "from transport.screen import read_screen"),
        *("datetime.fromtimestamp(1)", "path.with_suffix('.x')"),
    ],
)
def test_what_computes_is_not_taken_for_more(source: str) -> None:
    assert violations(source, PURE) == []


def test_what_is_taken_of_our_modules_is_covered_too() -> None:
    ours = {f"{module.replace('.', '/')}.py" for module in TAKEN if module.partition(".")[0] in OURS}
    assert ours <= set(COVERED)


def test_each_is_there_once_and_so_is_each_of_its_tests() -> None:
    assert len(set(PURE)) == len(PURE) > 30
    assert len(set(COVERED)) == len(COVERED) == len(PURE) + len(DOORED)
    assert len(set(TESTS)) == len(TESTS)
    assert all((TOP / path).exists() for path in (*COVERED, *TESTS))
