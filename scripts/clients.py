"""Installs the pinned real clients into a cache directory and prints the directory of their commands."""

import json
import subprocess
import sys
from pathlib import Path

from environment import locked

PINS = {"@anthropic-ai/claude-code": "2.1.328", "@openai/codex": "0.169.0"}
COMMANDS = {"claude": "@anthropic-ai/claude-code", "codex": "@openai/codex"}
INSTALL_SECONDS = 900
VERSION_SECONDS = 60


def is_current(place: Path) -> bool:
    """Whether a complete installation of exactly these pins was left here."""
    try:
        pins = json.loads((place / "installed.json").read_text())
    except (OSError, ValueError):
        return False
    return pins == PINS and all((place / "node_modules/.bin" / command).exists() for command in COMMANDS)


def npm_install(place: Path) -> None:
    """Installs the pins with npm, keeping its lock file beside them; raises CalledProcessError, TimeoutExpired."""
    manifest = {"private": True, "dependencies": PINS}
    (place / "package.json").write_text(json.dumps(manifest, indent=2) + "\n")
    argv = (
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--engine-strict=false",
        "--include=optional",
    )
    subprocess.run(argv, cwd=place, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=INSTALL_SECONDS)


def check_version(place: Path, command: str) -> None:
    """Starts an installed client once; exits where it is not the pinned version."""
    pin = PINS[COMMANDS[command]]
    argv = (place / "node_modules/.bin" / command, "--version")
    answer = subprocess.run(
        argv, cwd=place, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=VERSION_SECONDS
    )
    if answer.returncode or pin not in answer.stdout:
        sys.exit(f"peerwake: {command} should be {pin}, but says: {answer.stdout}{answer.stderr}")


def install(place: Path) -> None:
    """Brings `place` to the pinned versions, once for any number of processes."""
    with locked(place / "lock"):
        if is_current(place):
            return
        wanted = ", ".join(f"{name} {version}" for name, version in PINS.items())
        print(f"peerwake: installing with npm into {place}: {wanted}", file=sys.stderr)
        (place / "installed.json").unlink(missing_ok=True)
        npm_install(place)
        for command in COMMANDS:
            check_version(place, command)
        (place / "installed.json").write_text(json.dumps(PINS))


def main() -> int:
    """0 and the directory on stdout, 1 when npm failed."""
    place = Path(sys.argv[1]).absolute()
    try:
        install(place)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"peerwake: the clients could not be installed: {error}", file=sys.stderr)
        return 1
    print(place / "node_modules/.bin")
    return 0


if __name__ == "__main__":
    sys.exit(main())
