"""Programs of npm packages, installed once in exactly their pinned versions."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from environment import locked

INSTALL_SECONDS = 900
VERSION_SECONDS = 60


@dataclass(frozen=True)
class Bundle:
    """Packages with their versions, and which package brings which command."""

    title: str
    pins: Mapping[str, str]
    commands: Mapping[str, str]

    def is_current(self, place: Path) -> bool:
        """Whether a complete installation of exactly these pins was left here."""
        try:
            pins = json.loads((place / "installed.json").read_text())
        except (OSError, ValueError):
            return False
        return pins == self.pins and all((programs(place) / command).exists() for command in self.commands)

    def check_version(self, place: Path, command: str) -> None:
        """Starts an installed command once; exits where it is not the pinned version."""
        pin = self.pins[self.commands[command]]
        path = f"{programs(place)}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        answer = subprocess.run(
            (programs(place) / command, "--version"),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=VERSION_SECONDS,
            env=os.environ | {"PATH": path},
        )
        if answer.returncode or pin not in answer.stdout:
            sys.exit(f"peerwake: {command} should be {pin}, but says: {answer.stdout}{answer.stderr}")

    def install(self, place: Path) -> None:
        """Brings `place` to the pinned versions, once for any number of processes."""
        with locked(place / "lock"):
            if self.is_current(place):
                return
            wanted = ", ".join(f"{name} {version}" for name, version in self.pins.items())
            print(f"peerwake: installing with npm into {place}: {wanted}", file=sys.stderr)
            (place / "installed.json").unlink(missing_ok=True)
            npm_install(place, self.pins)
            for command in self.commands:
                self.check_version(place, command)
            (place / "installed.json").write_text(json.dumps(dict(self.pins)))

    def main(self, place: Path) -> int:
        """0 and the directory of the commands on stdout, 1 when npm failed."""
        try:
            self.install(place.absolute())
        except (subprocess.SubprocessError, OSError) as error:
            print(f"peerwake: {self.title} could not be installed: {error}", file=sys.stderr)
            return 1
        print(programs(place.absolute()))
        return 0


def programs(place: Path) -> Path:
    """Where npm links the commands of what is installed at `place`."""
    return place / "node_modules/.bin"


def npm_install(place: Path, pins: Mapping[str, str]) -> None:
    """Installs the pins with npm, keeping its lock file beside them; raises CalledProcessError, TimeoutExpired."""
    manifest = {"private": True, "dependencies": dict(pins)}
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
