"""A module listed as pure does no I/O, as far as its source tells."""

import ast
from collections.abc import Iterator

import pytest

from tests.pure.modules import COVERED, PURE, TESTS, TOP

OURS = ("transport", "lifecycle", "mcp_server")

# Of the standard library and what we depend on, only what computes.
COMPUTING = {
    *("base64", "collections", "copy", "dataclasses", "datetime", "difflib", "enum", "functools", "hashlib", "hmac"),
    *("ipaddress", "itertools", "json", "math", "operator", "re", "shlex", "string", "tomllib", "types", "typing"),
    *("unicodedata", "pathlib", "codecs", "pydantic", "sqlite3", "mcp_types"),
}

# Names of modules that also do I/O, taken for their types, their constants or what computes in them.
ALLOWED = {
    "lifecycle/prompt/roster.py": {"quote"},
    "lifecycle/runtimes/envelopes.py": {"opening_id"},
}
DOORS = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
PATH_IO = {
    *(
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
        "stat",
        "lstat",
        "exists",
        "is_file",
        "is_dir",
        "iterdir",
    ),
    *("glob", "rglob", "unlink", "mkdir", "rename", "touch", "chmod", "resolve", "readlink", "is_symlink", "samefile"),
    *("home", "cwd", "expanduser", "symlink_to", "hardlink_to"),
}


def tree(path: str) -> ast.Module:
    return ast.parse((TOP / path).read_text("utf-8"), path)


def imports(path: str) -> Iterator[tuple[str, str]]:
    """Yield each imported module with the name taken from it, empty for the module itself."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def is_type_or_constant(name: str) -> bool:
    return name[:1].isupper()


@pytest.mark.parametrize("path", PURE)
def test_it_imports_what_computes_and_of_others_types_and_constants_only(path: str) -> None:
    for module, name in imports(path):
        package = module.split(".")[0]
        if package not in OURS:
            assert package in COMPUTING, f"{path} imports {module}"
            assert module != "sqlite3" or name == "Row", f"{path} does more with sqlite3 than name a type"
        elif f"{module.replace('.', '/')}.py" not in PURE:
            is_named = is_type_or_constant(name) or name in ALLOWED.get(path, ())
            assert is_named, f"{path} imports {name or 'all'} of {module}, which is not listed as pure"


@pytest.mark.parametrize("path", PURE)
def test_it_opens_nothing_waits_for_nothing_and_keeps_nothing(path: str) -> None:
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global), f"{path}:{node.lineno}"
        if isinstance(node, ast.Call):
            called = node.func
            assert not (isinstance(called, ast.Name) and called.id in DOORS), f"{path}:{node.lineno}"
            is_path_io = isinstance(called, ast.Attribute) and called.attr in PATH_IO
            assert not is_path_io, f"{path}:{node.lineno} calls {ast.unparse(called)}"


def test_each_is_there_once_and_so_is_each_of_its_tests() -> None:
    assert len(set(PURE)) == len(PURE) > 30
    assert len(set(TESTS)) == len(TESTS)
    assert all((TOP / path).exists() for path in (*COVERED, *TESTS))
