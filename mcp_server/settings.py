"""Settings: defaults, then config.toml, then PEERWAKE_* variables; read once, at the edge."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lifecycle.limits import Limits
from lifecycle.setting import Setting, Unit, seconds, setting, settings_of
from mcp_server.setting_sources import from_environment, from_file
from mcp_server.setting_values import Found, Value, contradictions, convert, suggestion
from transport.errors import PeerwakeError
from transport.paths import Root


class SettingsInvalid(PeerwakeError):
    """A setting is unknown, of the wrong type or out of range; the user corrects its source.

    `problems` has one text for each of them; each names its source, the value and what to do.
    """

    code = "settings-invalid"

    def __init__(self, *problems: str) -> None:
        many = [f"({number}) {text}" for number, text in enumerate(problems, 1)]
        super().__init__(
            problems[0] if len(problems) == 1 else f"{len(problems)} settings cannot be used: {'; '.join(many)}"
        )
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server is told at its start; `sources` tells where each value that is no default came from.

    `warnings` name variables that look like settings and are none.
    """

    host: str = setting("127.0.0.1", Unit.ADDRESS, "address to listen on")
    port: int = setting(8765, Unit.PORT, "TCP port for MCP over HTTP and SSE; 0 picks a free one", 0, 65_535)
    tcp: bool = setting(True, Unit.SWITCH, "listen on TCP beside the unix socket")
    allow_remote: bool = setting(False, Unit.SWITCH, "accept a host that other machines can reach")
    systemd_scope: bool = setting(True, Unit.SWITCH, "start sessions in scopes of their own where systemd runs")
    verbose: bool = setting(False, Unit.SWITCH, "each look at a session leaves a line in lifecycle.log")
    standby: bool = setting(True, Unit.SWITCH, "stand by while another server supervises, instead of ending")
    takeover_poll_seconds: float = seconds(0.1, "a standby looks so often whether it is to take over", 0.001, 3_600)
    stop_seconds: float = seconds(5.0, "a server that stops gives the calls in flight this long", 0, 3_600)
    limits: Limits = field(default_factory=Limits)
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def value(self, name: str) -> Value:
        """Return the value of one setting."""
        found: Value = getattr(self if name in OWN else self.limits, name)
        return found


OWN: Final = settings_of(Settings, leaving=("limits", "sources", "warnings"))
LIMITS: Final = settings_of(Limits)
ALL: Final[Mapping[str, Setting]] = {**OWN, **LIMITS}


@dataclass(frozen=True, slots=True)
class Reading:
    """What the sources say: the settings as far as they can be used, and every problem."""

    settings: Settings
    problems: tuple[str, ...]


def read(root: Root, environment: Mapping[str, str]) -> Reading:
    """Return what the sources of a root say; a value that cannot be used is left at its default."""
    in_file, problems = from_file(root.config)
    in_variables, warnings = from_environment(environment, ALL)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, found in (in_file | in_variables).items():
        if name not in ALL:
            problems.append(_unknown(name, found))
            continue
        value, problem = convert(ALL[name], found)
        if problem is not None:
            problems.append(f"{found.source}: {name} = {found.value!r:.60} cannot be used; {problem}")
            continue
        values[name], sources[name] = value, found.source
    settings = _built(values, sources, tuple(warnings))
    every = {name: settings.value(name) for name in ALL}
    problems += contradictions(every, sources)
    return Reading(settings, tuple(problems))


def load(root: Root, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a root; raises SettingsInvalid naming every value that cannot be used and its source."""
    found = read(root, os.environ if environment is None else environment)
    if found.problems:
        raise SettingsInvalid(*found.problems)
    return found.settings


def _built(values: Mapping[str, Any], sources: Mapping[str, str], warnings: tuple[str, ...]) -> Settings:
    own = {name: value for name, value in values.items() if name in OWN}
    limits = {name: value for name, value in values.items() if name in LIMITS}
    return Settings(**own, limits=Limits(**limits), sources=dict(sources), warnings=warnings)


def _unknown(name: str, found: Found) -> str:
    if isinstance(found.value, dict) and any(inner in ALL for inner in found.value):
        return f"{found.source}: there is no setting {name!r:.60}; write the settings in [{name:.60}] without a table"
    return f"{found.source}: there is no setting {name!r:.60}{suggestion(name, ALL)}; remove it"
