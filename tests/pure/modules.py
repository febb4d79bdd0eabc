"""The modules that decide, read and render without touching anything, and the quick tests that cover them."""

from pathlib import Path
from typing import Final

TOP: Final = Path(__file__).parent.parent.parent

PURE: Final = (
    "lifecycle/decide.py",
    "lifecycle/hold.py",
    "lifecycle/limits.py",
    "lifecycle/presence.py",
    "lifecycle/prompt/layers.py",
    "lifecycle/prompt/roster.py",
    "lifecycle/prompt/rules.py",
    "lifecycle/requests.py",
    "lifecycle/runtimes/agents/composer.py",
    "lifecycle/runtimes/agents/keys.py",
    "lifecycle/runtimes/codex_hooks.py",
    "lifecycle/runtimes/dialog.py",
    "lifecycle/runtimes/envelopes.py",
    "lifecycle/setting.py",
    "lifecycle/start.py",
    "lifecycle/states.py",
    "lifecycle/steady.py",
    "lifecycle/topics.py",
    "mcp_server/cli/ages.py",
    "mcp_server/cli/doctor/finding.py",
    "mcp_server/cli/exits.py",
    "mcp_server/cli/failures.py",
    "mcp_server/clients/json_edit.py",
    "mcp_server/serve/options.py",
    "mcp_server/setting_values.py",
    "mcp_server/tools/answers.py",
    "mcp_server/tools/arguments.py",
    "transport/errors.py",
    "transport/hold.py",
    "transport/identity.py",
    "transport/logline.py",
    "transport/screen.py",
    "transport/sgr.py",
    "transport/spool/records.py",
    "transport/tmux/commands.py",
    "transport/tmux/parser.py",
    "transport/transliterate.py",
    "transport/vocabulary.py",
)

# Pure by the rules, and with nothing in them that a test of their own would cover.
EXEMPT: Final = {
    "mcp_server/cli/commands/version.py": "a command: it prints by the context it is given",
    "mcp_server/version.py": "one constant",
}

# These have a door or two to the system, named here, and everything else in them is covered as if they had none.
DOORED: Final = {
    "lifecycle/autopsy.py": "the end of exits.log",
    "lifecycle/crashes.py": "the file of a peer's deaths",
    "lifecycle/prompt/facts.py": "the name of the operating system",
    "lifecycle/runtimes/base.py": "the user's home, and the Python that runs",
    "mcp_server/serve/bridge_session.py": "chance makes the mark of a call",
    "transport/envelope.py": "the file of a long body",
    "transport/message.py": "chance, a lock of the ids, and whether an attachment can be read",
    "transport/snapshot.py": "what it takes of a module that also reads profiles",
    "transport/spool/faults.py": "the errors of SQLite, which it names",
    "transport/tmux/exit_script.py": "where `date` is",
}

COVERED: Final = (*PURE, *DOORED)

TESTS: Final = (
    "tests/lifecycle/test_autopsy.py",
    "tests/lifecycle/test_crashes.py",
    "tests/lifecycle/test_decide.py",
    "tests/lifecycle/test_hold.py",
    "tests/lifecycle/test_presence.py",
    "tests/lifecycle/test_setting.py",
    "tests/lifecycle/test_start.py",
    "tests/lifecycle/test_steady.py",
    "tests/lifecycle/test_topics.py",
    "tests/lifecycle/test_resolve.py",
    "tests/lifecycle/prompt/test_facts.py",
    "tests/lifecycle/prompt/test_layers.py",
    "tests/lifecycle/prompt/test_roster.py",
    "tests/lifecycle/runtimes/test_base.py",
    "tests/lifecycle/runtimes/test_codex_hooks.py",
    "tests/lifecycle/runtimes/test_dialog.py",
    "tests/lifecycle/runtimes/test_envelopes.py",
    "tests/lifecycle/runtimes/agents/test_composer.py",
    "tests/lifecycle/runtimes/agents/test_keys.py",
    "tests/mcp_server/cli/doctor/test_finding.py",
    "tests/mcp_server/cli/test_ages.py",
    "tests/mcp_server/cli/test_failures.py",
    "tests/mcp_server/clients/test_json_edit.py",
    "tests/mcp_server/serve/test_bridge_session.py",
    "tests/mcp_server/serve/test_sockets.py",
    "tests/mcp_server/test_setting_values.py",
    "tests/mcp_server/tools",
    "tests/transport/test_envelope.py",
    "tests/transport/test_hold.py",
    "tests/transport/test_identity.py",
    "tests/transport/test_logline.py",
    "tests/transport/test_message.py",
    "tests/transport/test_screen.py",
    "tests/transport/test_sgr.py",
    "tests/transport/test_snapshot.py",
    "tests/transport/tmux/test_commands.py",
    "tests/transport/tmux/test_exit_script.py",
    "tests/transport/tmux/test_parser.py",
    "tests/transport/spool/test_accept.py",
    "tests/transport/spool/test_faults.py",
    "tests/transport/spool/test_settle.py",
    "tests/test_screens.py",
)
