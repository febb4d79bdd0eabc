"""What makes a module pure, as far as its source tells: rules over its syntax tree."""

import ast
from collections.abc import Container, Iterator
from typing import Final

OURS: Final = ("transport", "lifecycle", "mcp_server")

# Of the standard library and what we depend on, only what computes.
COMPUTING: Final = {
    *("abc", "array", "base64", "codecs", "collections", "contextlib", "copy", "dataclasses", "datetime", "difflib"),
    *("enum", "errno", "fnmatch", "functools", "h11", "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json"),
    *("math", "mcp_types", "operator", "pathlib", "pydantic", "pydantic_core", "re", "shlex", "stat", "string"),
    *("struct", "tomllib", "types", "typing", "unicodedata", "urllib.parse", "zlib"),
}

# What reads, writes, waits, draws lots or knows where it runs. A library that is new stands in one of the two.
TOUCHING: Final = {
    *("_socket", "anyio", "argparse", "asyncio", "ctypes", "fcntl", "filelock", "gc", "glob", "importlib", "io"),
    *("libtmux", "logging", "mcp", "os", "platform", "pwd", "queue", "resource", "secrets", "select", "shutil"),
    *("signal", "socket", "sqlite3", "subprocess", "sys", "sysconfig", "termios", "threading", "time", "uuid"),
    *("uvicorn", "weakref"),
}

# What computes in a module that does more: a type, or a function that touches nothing.
TAKEN: Final = {
    "glob": {"escape"},
    "lifecycle.prompt.facts": {"quote"},
    "sqlite3": {"Row"},
    "transport.envelope": {"opening_id"},
}

DOORS: Final = {
    *("open", "print", "input", "exec", "eval", "__import__", "breakpoint"),
    *("date.today", "datetime.now", "datetime.today", "datetime.utcnow"),
}
PATH_IO: Final = {
    *("read_text", "read_bytes", "write_text", "write_bytes", "stat", "lstat", "exists", "is_file", "is_dir"),
    *("iterdir", "glob", "rglob", "unlink", "mkdir", "rename", "touch", "chmod", "resolve", "readlink", "is_symlink"),
    *("samefile", "home", "cwd", "expanduser", "symlink_to", "hardlink_to"),
}


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield each imported module with the name taken from it, empty for the module itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def is_type_or_constant(name: str) -> bool:
    return name[:1].isupper()


def library(module: str) -> str:
    """Return what a module that is not ours is judged as: itself where it is named, else its package."""
    return module if module in COMPUTING else module.partition(".")[0]


def touching_imports(tree: ast.Module, pure: Container[str]) -> Iterator[str]:
    """Yield what a module imports beside what computes, the modules at the paths `pure`, and types and constants."""
    for module, name in imports(tree):
        if name and name in TAKEN.get(module, ()):
            continue
        if module.partition(".")[0] not in OURS:
            if library(module) not in COMPUTING:
                yield f"it imports {name or 'all'} of {module}, which does more than compute"
        elif f"{module.replace('.', '/')}.py" not in pure and not is_type_or_constant(name):
            yield f"it imports {name or 'all'} of {module}, which is not listed as pure"


def touching_deeds(tree: ast.Module) -> Iterator[str]:
    """Yield where a module opens something, waits for something, asks for the time or keeps something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global):
            yield f"line {node.lineno}: {type(node).__name__}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in DOORS or (isinstance(node.func, ast.Attribute) and node.func.attr in PATH_IO):
                yield f"line {node.lineno}: it calls {called}"


def violations(source: str, pure: Container[str]) -> list[str]:
    """Return all that keeps a module of this source from being pure, where those at the paths `pure` are."""
    tree = ast.parse(source)
    return [*touching_imports(tree, pure), *touching_deeds(tree)]
