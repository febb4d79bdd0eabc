"""Builds the environment that the scripts run in: standard library only, any Python of the supported range."""

import argparse
import compileall
import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

PACKAGES = ("mcp_server", "lifecycle", "transport")
LOCKS = ("requirements.lock", "requirements-dev.lock")


@dataclass(frozen=True)
class Stamp:
    """What an environment was built from: a change of `base` rebuilds it, one of `project` installs the clone again."""

    base: str
    project: str


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds `path` against every other process; the kernel frees it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wanted(top: Path, venv: Path) -> Stamp:
    """The stamp of an up-to-date environment at `venv` for the clone at `top`."""
    base = hashlib.sha256()
    for part in (*sys.version_info[:2], platform.machine(), venv):
        base.update(f"{part}\n".encode())
    for name in LOCKS:
        base.update((top / name).read_bytes())
    project = hashlib.sha256(f"{top}\n".encode() + (top / "pyproject.toml").read_bytes())
    return Stamp(base.hexdigest(), project.hexdigest())


def found(venv: Path) -> Stamp | None:
    """The stamp left by the last complete build, None where there is none to trust."""
    try:
        return Stamp(**json.loads((venv / "peerwake.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def leave(venv: Path, stamp: Stamp) -> None:
    """Writes the stamp of what is there now."""
    (venv / "peerwake.json").write_text(json.dumps(asdict(stamp)))


def run(*argv: str | Path) -> None:
    """Runs a program with its output on stderr; raises CalledProcessError."""
    env = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    subprocess.run(argv, check=True, env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def clear(venv: Path) -> None:
    """Removes an older environment; refuses a directory that is not one."""
    if not venv.exists():
        return
    if not (venv / "pyvenv.cfg").is_file() and any(venv.iterdir()):
        sys.exit(f"peerwake: {venv} is not a virtual environment: choose another PEERWAKE_VENV")
    shutil.rmtree(venv)


def build_base(top: Path, venv: Path) -> None:
    """Creates the environment and installs the locked dependencies into it."""
    clear(venv)
    print(f"peerwake: building the environment {venv} with Python {platform.python_version()}", file=sys.stderr)
    run(sys.executable, "-m", "venv", venv)
    lock = top / "requirements-dev.lock"
    run(venv / "bin/python", "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "-r", lock)


def install_project(top: Path, venv: Path) -> None:
    """Installs the clone itself, live, with its command."""
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--editable")
    run(venv / "bin/python", "-m", "pip", "install", *options, top)
    for package in PACKAGES:
        compileall.compile_dir(top / package, quiet=2)


def bring_up_to_date(top: Path, venv: Path) -> None:
    """Does what is missing, under the lock, and stamps the result last."""
    with locked(venv.with_name(f"{venv.name}.lock")):
        want, have = wanted(top, venv), found(venv)
        if want == have:
            return
        if have is None or want.base != have.base:
            build_base(top, venv)
            leave(venv, Stamp(want.base, ""))
        install_project(top, venv)
        leave(venv, want)
    print("peerwake: the environment is ready", file=sys.stderr)


def main() -> int:
    """0 when the environment is (now) up to date, 1 when it is not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, only tell")
    parser.add_argument("top", type=Path)
    parser.add_argument("venv", type=Path)
    chosen = parser.parse_args()
    if chosen.check:
        return int(found(chosen.venv) != wanted(chosen.top, chosen.venv))
    try:
        bring_up_to_date(chosen.top, chosen.venv)
    except subprocess.CalledProcessError as error:
        print(f"peerwake: {shlex.join(map(str, error.cmd))}: exit status {error.returncode}", file=sys.stderr)
        print(
            "peerwake: can pip reach its package index? Mend what is said above, then run this again", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
