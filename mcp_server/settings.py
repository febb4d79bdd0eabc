"""Settings: defaults, then config.toml, then PEERWAKE_* variables; read once, at the edge."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from lifecycle.limits import Limits
from transport.errors import PeerwakeError
from transport.paths import Root

PREFIX: Final = "PEERWAKE_"
NOT_SETTINGS: Final = frozenset({"PEERWAKE_HOME", "PEERWAKE_CREDENTIAL"})


class SettingsInvalid(PeerwakeError):
    """A setting is unknown, of the wrong type or out of range; the user corrects its source."""

    code = "settings-invalid"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server is told at its start; `sources` tells where each value that is no default came from."""

    host: str = "127.0.0.1"
    port: int = 8765
    tcp: bool = True
    allow_remote: bool = False
    systemd_scope: bool = True
    standby: bool = True
    takeover_poll_seconds: float = 0.1
    limits: Limits = field(default_factory=Limits)
    sources: Mapping[str, str] = field(default_factory=dict)


OWN: Final = {entry.name: entry for entry in fields(Settings) if entry.name not in ("limits", "sources")}
LIMITS: Final = {entry.name: entry for entry in fields(Limits)}
MAY_BE_ZERO: Final = frozenset({"port", "wait_seconds", "human_quiet_seconds", "backoff_seconds"})
CEILING: Final = {"port": 65_535.0, "attempts": 100.0, "inline_bytes": 65_536.0, "wait_max_seconds": 3_600.0}


def _convert(name: str, value: object, source: str) -> object:
    default = (OWN.get(name) or LIMITS[name]).default
    problem: str | None = None
    result: object = value
    if isinstance(default, bool):
        words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        result = words.get(str(value).lower())
        problem = "use true or false" if result is None else None
    elif isinstance(default, int | float):
        result, problem = _number(name, value, integral=isinstance(default, int))
    elif not isinstance(value, str) or not value:
        problem = "use a text that is not empty"
    if problem:
        raise SettingsInvalid(f"{source}: {name} = {value!r:.60} cannot be used; {problem}")
    return result


def _number(name: str, value: object, *, integral: bool) -> tuple[object, str | None]:
    kind = "a whole number" if integral else "a number"
    if isinstance(value, bool):
        return None, f"use {kind}"
    try:
        number = int(str(value)) if integral else float(str(value))
    except ValueError:
        return None, f"use {kind}"
    low = 0 if name in MAY_BE_ZERO else 1e-3
    high = CEILING.get(name, 1e9)
    if not low <= number <= high:
        return None, f"use {kind} between {low:g} and {high:g}"
    return number, None


def _from_file(root: Root) -> dict[str, tuple[object, str]]:
    try:
        data = tomllib.loads(root.config.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsInvalid(f"{root.config}: {error}") from error
    return {name: (value, str(root.config)) for name, value in data.items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    for key, value in environment.items():
        name = key.removeprefix(PREFIX).lower()
        if key.startswith(PREFIX) and key not in NOT_SETTINGS and (name in OWN or name in LIMITS):
            found[name] = (value, key)
    return found


def load(root: Root, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a root; raises SettingsInvalid naming the value and its source."""
    given = _from_file(root) | _from_environment(os.environ if environment is None else environment)
    own: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for name, (value, source) in given.items():
        if name not in OWN and name not in LIMITS:
            raise SettingsInvalid(f"{source}: there is no setting {name!r:.60}; remove it")
        (own if name in OWN else limits)[name] = _convert(name, value, source)
    sources = {name: source for name, (_, source) in given.items()}
    return Settings(**own, limits=Limits(**limits), sources=sources)
