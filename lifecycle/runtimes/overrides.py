"""Runtimes from TOML: a file adds one or overrides any field of a built-in one."""

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from lifecycle.runtimes.base import Runtime
from transport.errors import InvalidInput, PeerwakeError
from transport.identity import check_runtime

MAX_BYTES: Final = 256 * 1024


class RuntimeInvalid(PeerwakeError):
    """A file that describes a runtime cannot be used; what was in force stays in force."""

    code = "runtime-invalid"

    def __init__(self, path: Path, field: str, problem: str) -> None:
        super().__init__(f"{path}: {field + ': ' if field else ''}{problem}")
        self.path = path
        self.field = field
        self.problem = problem


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a file that only its owner can have written.

    Raises RuntimeInvalid: a link, somebody else's, writable by others, too large, or not TOML;
    FileNotFoundError when there is none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        problem = "it is a symbolic link; put the file itself there" if path.is_symlink() else f"{error.strerror}"
        raise RuntimeInvalid(path, "", problem) from error
    try:
        _check(path, os.fstat(descriptor))
        data = os.read(descriptor, MAX_BYTES)
    finally:
        os.close(descriptor)
    try:
        return tomllib.loads(data.decode())
    except RecursionError as error:
        raise RuntimeInvalid(path, "", "it is nested too deeply; flatten it") from error
    except UnicodeDecodeError as error:
        raise RuntimeInvalid(path, "", f"it is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except ValueError as error:
        raise RuntimeInvalid(path, "", f"it is not TOML: {error}; correct that line") from error


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RuntimeInvalid(path, "", "it is not a regular file")
    if status.st_uid not in (os.geteuid(), 0):
        raise RuntimeInvalid(
            path, "", f"it belongs to uid {status.st_uid}; it must be yours, because it names programs"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RuntimeInvalid(path, "", f"others can write it; run: chmod go-w {path}")
    if status.st_size > MAX_BYTES:
        raise RuntimeInvalid(path, "", f"{status.st_size:,} bytes are over the limit of {MAX_BYTES:,}; shorten it")


def read_runtime(path: Path, builtin: Mapping[str, Runtime], readers: frozenset[str]) -> Runtime:
    """Return the runtime that NAME.toml describes, on top of the built-in one of that name or of `extends`.

    Raises RuntimeInvalid naming the file, the field and what to do.
    """
    try:
        name, content = check_runtime(path.stem, "file name"), read_toml(path)
    except FileNotFoundError as error:
        raise RuntimeInvalid(path, "", "it is gone") from error
    except InvalidInput as error:
        raise RuntimeInvalid(path, error.field, error.problem) from error
    origin = content.pop("extends", name)
    if origin != name and origin not in builtin:
        raise RuntimeInvalid(path, "extends", f"{origin!r} is not built in; name one of {', '.join(sorted(builtin))}")
    if content.get("name", name) != name:
        raise RuntimeInvalid(path, "name", f"it must be {name!r}, as the file is called; remove the line")
    below = builtin[origin].model_dump(mode="json") if origin in builtin else {}
    runtime = validate(path, merge(below, content) | {"name": name})
    _complete(path, runtime, readers)
    return runtime


def _complete(path: Path, runtime: Runtime, readers: frozenset[str]) -> None:
    if not runtime.argv and runtime.reader != "command":
        raise RuntimeInvalid(path, "argv", "it is missing; give the words that start the client")
    if runtime.reader is not None and runtime.reader not in readers:
        known = ", ".join(sorted(readers))
        raise RuntimeInvalid(path, "reader", f"{runtime.reader!r} does not exist; use one of {known}")
    if runtime.reader is None:
        problem = 'without evidence nothing is ever delivered; give transcript_path and reader = "envelopes"'
        raise RuntimeInvalid(path, "reader", problem)
    if runtime.reader == "envelopes" and runtime.transcript_path is None:
        raise RuntimeInvalid(
            path, "transcript_path", 'it is missing; the reader "envelopes" needs to know where to look'
        )


def validate(path: Path, content: dict[str, Any]) -> Runtime:
    """Return the runtime of these fields; raises RuntimeInvalid naming the first bad one."""
    try:
        return Runtime.model_validate(content)
    except ValidationError as error:
        raise invalid(path, error) from error


def invalid(path: Path, error: ValidationError) -> RuntimeInvalid:
    """Return the first problem of a model as an error of the file."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    problem = first["msg"].removeprefix("Value error, ")
    if not field and ": " in problem:
        field, _, problem = problem.partition(": ")
    if first["type"] == "extra_forbidden":
        problem = "there is no such field; see docs/runtimes.md for those there are"
    if first["type"] == "missing":
        problem = "it is missing; add it"
    return RuntimeInvalid(path, field, problem)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `above` over `below`: tables key by key, dialogs by their names, everything else replaced."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            merged[key] = merge(below[key], value)
        elif key == "dialogs" and isinstance(value, list):
            merged[key] = _merge_dialogs(below.get(key, []), value)
        else:
            merged[key] = value
    return merged


def _merge_dialogs(below: list[Any], above: list[Any]) -> list[Any]:
    names = [each.get("name") if isinstance(each, dict) else None for each in above]
    return [*above, *(each for each in below if each["name"] not in names)]
