"""Facts and registry as YAML that no value can break out of."""

import os
import platform
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from lifecycle.prompt.layers import DATE
from transport.profile import Profile
from transport.vocabulary import WakePolicy

NAMED: Final = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\t": r"\t", "\r": r"\r"}
LONE: Final = re.compile(r"[\ud800-\udfff]")


def quote(value: str) -> str:
    """Return a YAML double-quoted scalar in one line; what cannot be printed is escaped."""
    return '"' + "".join(map(_escape, LONE.sub("\ufffd", value))) + '"'


def _escape(char: str) -> str:
    if char in NAMED:
        return NAMED[char]
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def document(facts: Mapping[str, str]) -> str:
    """Return a YAML document of texts, one line each; empty values are left out."""
    return "\n".join(["---", *(f"{name}: {quote(value)}" for name, value in facts.items() if value), "---"])


def facts_of(profile: Profile, runtime: str, now: float) -> dict[str, str]:
    """Return what an agent is told of itself and where it is, at wall time `now`."""
    return {
        "name": profile.name,
        "description": profile.description,
        "directory": str(profile.cwd),
        "runtime": runtime,
        "wake_policy": "" if profile.wake_policy is WakePolicy.WARM else profile.wake_policy,
        "platform": platform.system(),
        "os_version": os_version(),
        "user": profile.tenant_id,
        "host": profile.host,
        DATE: f"{datetime.fromtimestamp(now):%Y-%m-%d}",
    }


def os_version() -> str:
    """Return the name and version of the operating system, and of its kernel."""
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        version = platform.mac_ver()[0]
        name = f"macOS {version}" if version else ""
    return f"{name} ({os.uname().release})".strip()
