"""Where the root is: what the environment or an option names, made absolute; the bridge imports no more than `os`."""

import os


class HomeUnknown(ValueError):
    """Nobody can tell where the root is; the user sets PEERWAKE_HOME."""


def root_at(named: str | None) -> str:
    """Return the absolute path of the root, `~/.peerwake` where none is named; raises HomeUnknown.

    What follows a symbolic link stays as it is, `..` too: only the kernel knows where that leads.
    """
    named = named or "~/.peerwake"
    path = os.path.expanduser(named)  # noqa: PTH111 (pathlib costs 10 ms)
    if path.startswith("~"):
        raise HomeUnknown(f"{named!r:.200}: there is no such home directory; set PEERWAKE_HOME to an absolute path")
    try:
        whole = path if path.startswith("/") else f"{os.getcwd()}/{path}"  # noqa: PTH109
    except OSError as error:
        raise HomeUnknown(
            f"PEERWAKE_HOME: {named!r:.200} is relative and the working directory is gone; set it to an absolute path"
        ) from error
    return "/" + "/".join(part for part in whole.split("/") if part not in ("", "."))
