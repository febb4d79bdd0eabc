"""Ages as people write and read them."""

import re

from mcp_server.cli.failures import BadUsage

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))


def age(seconds: float | None) -> str:
    """Return a duration in its two largest units."""
    if seconds is None:
        return ""
    whole = int(seconds)
    for size, unit, below, under in UNITS:
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // below:02d}{under}"
    return f"{whole}s"


def seconds_of(text: str, option: str) -> float:
    """Return the seconds of `90`, `90s`, `10m`, `1h` or `2d`; raises BadUsage naming the option."""
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    if match is None:
        raise BadUsage(f"{option} {text!r:.60} is no age; give seconds, or 10m, 1h, 2d")
    return float(min(int(match[1]) * SECONDS[match[2]], 10**9))
