"""`scripted.json`: how this agent boots and what it does with a prompt, read again at each prompt."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lifecycle.runtimes.agents.envelope import Letter

FILE = "scripted.json"
BOOT = {"seconds": 0, "trust": False, "trust_first": False, "dialogs": [], "exit": None}
ACTIONS = {
    *("match", "times", "print", "freeze", "ask", "new", "busy_seconds", "sleep_forever", "say", "reply", "send"),
    *("wait_seconds", "done", "exit", "crash"),
}


class Script:
    """The content of `scripted.json`: a list of rules, or an object with `rules`, `boot` and `mcp`.

    `problem` says what is wrong with the file; the agent then has no rules.
    """

    def __init__(self, data: bytes = b"") -> None:
        self.boot: dict[str, Any] = dict(BOOT)
        self.mcp = "boot"
        self.queue_while_busy = True
        self.rules: list[dict[str, Any]] = []
        self.problem = ""
        if data:
            try:
                self._read(data)
            except (ValueError, TypeError, AttributeError) as error:
                self.problem, self.rules = f"{FILE}: {error}", []

    def _read(self, data: bytes) -> None:
        import json
        import re

        content = json.loads(data)
        if isinstance(content, list):
            content = {"rules": content}
        unknown = set(content) - {"boot", "mcp", "queue_while_busy", "rules"}
        unknown |= {f"boot.{name}" for name in set(content.get("boot", {})) - set(BOOT)}
        for number, rule in enumerate(content.get("rules", [])):
            unknown |= {f"rules[{number}].{name}" for name in set(rule) - ACTIONS}
            try:
                re.compile(rule.get("match", ""))
            except re.error as error:
                raise ValueError(f"rules[{number}].match: {error}") from error
        if unknown:
            raise ValueError(f"unknown field {sorted(unknown)[0]}")
        self.boot |= content.get("boot", {})
        self.mcp = content.get("mcp", "boot")
        self.queue_while_busy = content.get("queue_while_busy", True)
        self.rules = content.get("rules", [])

    def find(self, body: str, used: "dict[int, int]") -> "tuple[dict[str, Any], Mapping[str, str]]":
        """Return the first rule that takes this body, with its match groups, and count its use."""
        import re

        for number, rule in enumerate(self.rules):
            if used.get(number, 0) >= rule.get("times", 1 << 30):
                continue
            found = re.search(rule.get("match", ""), body, re.DOTALL)
            if found is not None:
                used[number] = used.get(number, 0) + 1
                groups = {str(index + 1): text or "" for index, text in enumerate(found.groups())}
                return rule, groups | {name: text or "" for name, text in found.groupdict().items()}
        return {}, {}


def read_script(cwd: str) -> bytes:
    """Return the bytes of the script of this directory, empty when there is none."""
    try:
        with open(f"{cwd}/{FILE}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def fill(template: str, letter: "Letter", groups: "Mapping[str, str]") -> str:
    """Replace `{body}`, `{from}`, `{id}`, … and the groups of the match; other braces stay."""
    import re

    values = {**letter.attributes, **groups, "body": letter.body}
    return re.sub(r"\{([\w-]+)\}", lambda found: values.get(found[1], found[0]), template)
