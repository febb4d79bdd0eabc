"""How Codex is given its prompt: by hooks of one session, from files.

Measured with 0.169.0. `developer_instructions` and `model_instructions_file` replace what the user or the
client itself says there, the first is not read again on a resume, and text in an argument is seen by all
users of the host. A hook adds a message of its own at each start, resume, `/new` and after a compaction.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from lifecycle.runtimes.base import PROMPT_PARTS

HOOKS_KEY: Final = "/<session-flags>/config.toml:session_start:0"
HOOK_SECONDS: Final = 600
PART_BYTES: Final = 9_000


def prompt_words(matcher: str | None = None) -> tuple[str, ...]:
    """Return the options that give the prompt by hooks at the start of a session, one for each of its parts.

    A hook adds to the instructions of the user and the project and replaces none; its output is cut
    above 2,500 tokens. The client runs it only where it trusts its hash: these hooks, and no others,
    are trusted for this one session.
    """
    commands = [f'cat "$PEER_PROMPT.{number}" 2>/dev/null || :' for number in range(1, PROMPT_PARTS + 1)]
    group = {} if matcher is None else {"matcher": matcher}
    matched = "" if matcher is None else f"matcher={json.dumps(matcher)},"
    handlers = ",".join(_table({"type": "command", "command": command}) for command in commands)
    trusted = {f"{HOOKS_KEY}:{place}": hook_hash(command, group) for place, command in enumerate(commands)}
    state = ",".join(f"{json.dumps(key)}={_table({'trusted_hash': value})}" for key, value in trusted.items())
    return ("-c", f"hooks.SessionStart=[{{{matched}hooks=[{handlers}]}}]", "-c", f"hooks.state={{{state}}}")


def hook_hash(command: str, group: Mapping[str, str]) -> str:
    """Return what the client calls a hook by in its list of trusted ones (0.169.0)."""
    handler = {"type": "command", "command": command, "timeout": HOOK_SECONDS, "async": False}
    named = {"event_name": "session_start", "hooks": [handler], **group}
    text = json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def _table(values: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{key}={json.dumps(value)}" for key, value in values.items()) + "}"
