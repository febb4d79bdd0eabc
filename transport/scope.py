"""A systemd scope of its own for what must outlive the unit that starts it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

MANAGER: Final = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
PROC: Final = Path("/proc")
COMMAND: Final = ("systemd-run", "--user", "--scope", "--quiet", "--collect")


def scope_command(environ: Mapping[str, str] = os.environ, *, description: str | None = None) -> list[str]:
    """Return the words to put before a command line, none where no user manager runs.

    The program runs in the place of `systemd-run`, with its descriptors and its environment.
    """
    runtime = environ.get("XDG_RUNTIME_DIR")
    if not runtime or not _has_manager(Path(runtime)):
        return []
    return [*COMMAND, *([] if description is None else [f"--description={description}"]), "--"]


def _has_manager(runtime: Path) -> bool:
    """Tell whether a user manager can be reached; not the one of another user, whose directory `su` leaves behind."""
    try:
        return (runtime / "systemd" / "private").exists()
    except OSError:
        return False


def manager_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables by which the user manager is found."""
    return {name: environ[name] for name in MANAGER if name in environ}


def unit_of(pid: int, proc: Path = PROC) -> str | None:
    """Return the cgroup that systemd keeps a process in, its unit as the last part; None where that cannot be told."""
    try:
        text = (proc / str(pid) / "cgroup").read_text("utf-8", "replace")
    except OSError:
        return None
    rows = [row for row in (line.split(":", 2) for line in text.splitlines()) if len(row) == 3]
    found = {kinds: path for _, kinds, path in rows}
    return found.get("name=systemd", found.get(""))
