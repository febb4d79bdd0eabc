"""`peerwake config`: each setting with its value, unit, source and default, and what a running server has."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lifecycle.setting import Setting, number
from mcp_server.cli import tables
from mcp_server.cli.context import Context
from mcp_server.cli.control import ask
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage, Failure
from mcp_server.cli.parser import Parser
from mcp_server.setting_values import Value, suggestion
from mcp_server.settings import ALL, Reading, Settings, read
from transport.paths import Root

STATUS_SECONDS = 5.0
TITLES = ("NAME", "VALUE", "UNIT", "SOURCE", "DEFAULT")


def parser() -> Parser:
    """Return the command line of `config`."""
    line = Parser(
        "config",
        "Show the settings: value, unit, source, default; and where a running server has others.",
        epilog="exit codes: 0 all can be used, 1 some cannot; docs/operations.md says what each means",
    )
    line.word("names", "only these settings, with what they mean", needed=False, many=True)
    line.add_argument("--check", action="store_true", help="print only what is wrong")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Print the settings, then what is wrong with them; returns 1 if any cannot be used."""
    given = parser().read(argv)
    context.wants_json = given.json
    chosen = [_known(name) for name in given.names] or list(ALL.values())
    found = read(Root(Path(context.home)), context.environ)
    pid, running = running_settings(context)
    others = [] if found.problems else differences(running, found.settings, {each.name for each in chosen})
    if given.json:
        tables.document(context, document(context, chosen, found, pid, others))
    elif not given.check:
        show(context, chosen, found.settings, is_detailed=bool(given.names))
    for text in (*found.problems, *found.settings.warnings):
        context.note(tables.escape(text))
    for other in others:
        context.note(tables.escape(f"the running server (pid {pid}) has {_told(other)}"))
    return Exit.FAILED if found.problems else Exit.OK


def _known(name: str) -> Setting:
    found = ALL.get(name.lower().removeprefix("peerwake_"))
    if found is None:
        raise BadUsage(f"there is no setting {name!r:.60}{suggestion(name, ALL)}; see: peerwake config")
    return found


def running_settings(context: Context) -> tuple[int | None, Mapping[str, Sequence[Any]]]:
    """Return the pid of the running server and its settings with their sources; None and nothing without one."""
    try:
        said = json.loads((Path(context.home) / "run" / "server.json").read_text("utf-8"))
        pid, settings = int(said["pid"]), dict(said.get("settings") or {}).items()
        if ask(context, "status", seconds=STATUS_SECONDS)["pid"] != pid:
            return None, {}
    except (Failure, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, {}
    return pid, {name: pair for name, pair in settings if isinstance(pair, list) and len(pair) == 2}


def differences(running: Mapping[str, Sequence[Any]], here: Settings, names: set[str]) -> list[dict[str, Any]]:
    """Return the settings whose value here is not the one that a server runs with."""
    return [
        {
            "name": name,
            "value": value,
            "source": source,
            "here": here.value(name),
            "here_source": here.sources.get(name),
        }
        for name, (value, source) in running.items()
        if name in names and value != here.value(name)
    ]


def _told(other: Mapping[str, Any]) -> str:
    """Say how a running server differs, and what brings it here."""
    source, here = other["source"] or "default", other["here_source"] or "default"
    text = f"{other['name']} = {shown(other['value'])} ({source}), not {shown(other['here'])} ({here})"
    is_elsewhere = source == "command line" or source.startswith("PEERWAKE_")
    return text + ("; it was started so" if is_elsewhere else "; it takes the new value when it is restarted")


def shown(value: Value) -> str:
    """Return a value as it would be written in config.toml, a text without its quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else number(value)


def show(context: Context, chosen: Sequence[Setting], settings: Settings, *, is_detailed: bool) -> None:
    """Print one line for each setting; where they were asked for by name, also what they mean."""
    rows = [
        (each.name, shown(settings.value(each.name)), each.unit, _source(context, settings, each), shown(each.default))
        for each in chosen
    ]
    tables.table(context, TITLES, rows)
    if is_detailed:
        for each in chosen:
            context.say(f"{each.name}: {each.meaning}; {each.range}")


def _source(context: Context, settings: Settings, each: Setting) -> str:
    return settings.sources.get(each.name, "default").removeprefix(f"{context.home}/")


def document(
    context: Context, chosen: Sequence[Setting], found: Reading, pid: int | None, others: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return everything as one JSON document."""
    settings, whose = found.settings, tables.whose(context)
    rows = [
        whose
        | {"name": each.name, "value": settings.value(each.name), "unit": each.unit, "default": each.default}
        | {"source": settings.sources.get(each.name, "default"), "range": each.range, "meaning": each.meaning}
        for each in chosen
    ]
    running = None if pid is None else {"pid": pid, "differs": list(others)}
    return {
        "settings": rows,
        "problems": list(found.problems),
        "warnings": list(settings.warnings),
        "running": running,
        **whose,
    }
