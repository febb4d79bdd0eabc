"""`.mcp.json`: which stdio server this agent starts."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Mapping


class Server:
    """How a stdio server is started."""

    def __init__(self, name: str, argv: list[str], env: "Mapping[str, str]") -> None:
        self.name = name
        self.argv = argv
        self.env = env


def find_server(cwd: str, environment: "Mapping[str, str]") -> Server | None:
    """Return the stdio server of `<cwd>/.mcp.json`: the one called peerwake, else the first.

    `${VAR}` and `${VAR:-default}` are expanded; a variable that is not set stays literal.
    Raises ValueError for a file that is not what it should be.
    """
    import json

    try:
        with open(f"{cwd}/.mcp.json", encoding="utf-8") as file:
            servers = json.load(file)["mcpServers"]
        names = [name for name, entry in servers.items() if "command" in entry]
        if not names:
            return None
        name = "peerwake" if "peerwake" in names else names[0]
        entry = servers[name]
        argv = [expand(word, environment) for word in (entry["command"], *entry.get("args", []))]
        own = {key: expand(value, environment) for key, value in entry.get("env", {}).items()}
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f".mcp.json: {error!r}") from error
    return Server(name, argv, {**environment, **own})


def expand(text: str, environment: "Mapping[str, str]") -> str:
    """Expand `${VAR}` and `${VAR:-default}` once."""
    import re

    def value(found: "re.Match[str]") -> str:
        default = found[0] if found[2] is None else found[2]
        return environment.get(found[1]) or default if found[2] is not None else environment.get(found[1], default)

    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", value, text)
