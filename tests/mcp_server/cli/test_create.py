"""`create`, `init`, `mcp-config` and `verify`: peers whose clients can talk back at once."""

import json
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from lifecycle.runtimes.command import load_program
from mcp_server.serve.credentials import load_credentials
from tests.mcp_server.cli.conftest import Run
from transport.identity import Identity
from transport.paths import Root
from transport.profile import load_profile
from transport.registry import Registry
from transport.vocabulary import Intelligence, WakePolicy


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_create_makes_a_peer_and_names_every_file(peerwake: Run, root: Root) -> None:
    done = peerwake(
        "create", "alice", "--runtime", "claude", "--runtime", "codex", "--description", "reviews", "--json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    home = root.peers / "alice"
    assert {str(Path(each["path"]).relative_to(home)) for each in shown["written"]} == files(home)
    assert files(home) == {".peerwake/profile.json", ".mcp.json", ".claude/settings.json", ".codex/config.toml"}
    profile = Registry(root).get("alice")
    assert profile is not None
    assert (profile.runtimes, profile.default_runtime, profile.description) == (
        ("claude", "codex"),
        "claude",
        "reviews",
    )
    assert (shown["name"], shown["cwd"], shown["default_runtime"]) == ("alice", str(home), "claude")
    assert shown["host"]
    assert shown["tenant_id"]


def test_what_it_prints_for_people(peerwake: Run, root: Root) -> None:
    done = peerwake("create", "alice", "--runtime", "codex")
    lines = done.stdout.splitlines()
    assert lines[0] == f"alice (codex) lives in {root.peers / 'alice'}"
    assert [line.split(":")[0] for line in lines[1:]] == [
        f"  wrote {root.peers / 'alice' / '.peerwake' / 'profile.json'}",
        f"  wrote {root.peers / 'alice' / '.codex' / 'config.toml'}",
    ]


def test_the_clients_configuration_has_no_secret_and_names_the_root(peerwake: Run, root: Root) -> None:
    peerwake("create", "alice", "--runtime", "claude", "--runtime", "codex")
    home = root.peers / "alice"
    claude = json.loads((home / ".mcp.json").read_text())["mcpServers"]["peerwake"]
    codex = tomllib.loads((home / ".codex/config.toml").read_text())["mcp_servers"]["peerwake"]
    for entry in (claude, codex):
        assert Path(entry["command"]).is_absolute()
        assert Path(entry["command"]).exists()
        assert entry["env"] == {"PEERWAKE_HOME": str(root.home)}
    assert "PEERWAKE_CREDENTIAL" in codex["env_vars"]
    assert not root.secret.exists()


def test_http_takes_the_credential_from_the_environment(peerwake: Run, root: Root) -> None:
    peerwake("create", "alice", "--runtime", "claude", "--transport", "http", PEERWAKE_PORT="9111")
    entry = json.loads((root.peers / "alice/.mcp.json").read_text())["mcpServers"]["peerwake"]
    assert entry["url"] == "http://127.0.0.1:9111/mcp"
    assert entry["headers"] == {"Authorization": "Bearer ${PEERWAKE_CREDENTIAL}"}


def test_no_client_is_led_to_a_port_that_the_server_does_not_have(peerwake: Run, root: Root) -> None:
    root.discovery.write_text(json.dumps({"http": None}))
    done = peerwake("create", "alice", "--runtime", "claude", "--transport", "http")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the server listens on no port; see: peerwake doctor" in done.stderr
    assert not (root.peers / "alice").exists()


def test_the_user_s_own_settings_are_left_alone(peerwake: Run, environ: dict[str, str]) -> None:
    peerwake("create", "alice", "--runtime", "claude", "--runtime", "codex")
    assert files(Path(environ["HOME"])) == set()


def test_init_in_the_home_directory_needs_global(peerwake: Run, root: Root, environ: dict[str, str]) -> None:
    home = Path(environ["HOME"])
    done = peerwake("init", "--name", "me", "--runtime", "claude", cwd=home)
    assert done.returncode == 4
    assert "--global" in done.stderr
    assert files(home) == set()
    assert Registry(root).names() == ()
    assert peerwake("init", "--name", "me", "--runtime", "claude", "--global", cwd=home).returncode == 0
    assert ".claude/settings.json" in files(home)


def test_no_client_config(peerwake: Run, root: Root) -> None:
    peerwake("create", "alice", "--runtime", "claude", "--no-client-config")
    assert files(root.peers / "alice") == {".peerwake/profile.json"}


def test_create_takes_everything_a_peer_has(peerwake: Run, root: Root, tmp_path: Path) -> None:
    (tmp_path / "prompt.md").write_text("Be brief.\n")
    place = tmp_path / "place"
    place.mkdir()
    argv = ("--runtime", "scripted", "--runtime", "claude", "--default", "claude", "--cwd", "place", "--ephemeral")
    done = peerwake("create", "w", *argv, "--intelligence", "natural", "--initial-prompt-file", "prompt.md")
    assert done.returncode == 0, done.stderr
    profile = load_profile(place)
    assert (profile.runtimes, profile.default_runtime) == (("scripted", "claude"), "claude")
    assert (profile.wake_policy, profile.intelligence) == (WakePolicy.EPHEMERAL, Intelligence.NATURAL)
    assert profile.initial_prompt == "Be brief.\n"


def test_a_program_after_the_dashes_is_a_command_peer(peerwake: Run, root: Root) -> None:
    done = peerwake("create", "cat", "--", "cat", "-u", "--help", "$(date)")
    assert done.returncode == 0, done.stderr
    profile = Registry(root).get("cat")
    assert profile is not None
    assert (profile.runtimes, profile.intelligence) == (("command",), Intelligence.ABSENT)
    assert load_program(profile.cwd).argv == ("cat", "-u", "--help", "$(date)")
    assert "command.toml: the program it runs" in done.stdout


def test_init_makes_a_peer_of_the_directory(peerwake: Run, root: Root, tmp_path: Path) -> None:
    place = tmp_path / "Größe & Co"
    place.mkdir()
    assert peerwake("init", "--runtime", "scripted", cwd=place).returncode == 0
    assert Registry(root).names() == ("grosse-co",)
    again = peerwake("init", "--runtime", "scripted", "--name", "other", cwd=place)
    assert again.returncode == 4
    assert "grosse-co" in again.stderr


def test_a_profile_that_says_another_thing_is_not_written_over_and_can_be_taken_as_it_is(
    peerwake: Run, root: Root, tmp_path: Path
) -> None:
    place, other = tmp_path / "a shop", root.home / "other"
    place.mkdir()
    assert peerwake("init", "--runtime", "scripted", "--description", "sells", cwd=place).returncode == 0
    profile = place / ".peerwake" / "profile.json"
    before = profile.read_bytes()
    refused = peerwake("init", "--runtime", "scripted", cwd=place, PEERWAKE_HOME=str(other))
    assert refused.returncode == 4
    assert "is there already, with another description;" in refused.stderr
    link = refused.stderr.partition("take it as it is: ")[2].partition(" && ")[0]
    subprocess.run(shlex.split(link), check=True, timeout=60)
    assert peerwake("verify", "--fix", PEERWAKE_HOME=str(other)).returncode == 0
    known = Registry(Root(other)).get("a-shop")
    assert known is not None and known.description == "sells"
    assert profile.read_bytes() == before


@pytest.mark.parametrize(
    ("argv", "code", "problem"),
    [
        (["Alice", "--runtime", "scripted"], 4, "is not a peer's name"),
        (["operator", "--runtime", "scripted"], 4, "reserved"),
        (["taken", "--runtime", "scripted"], 4, "is taken"),
        (["x", "--runtime", "nonsense"], 4, "there is no runtime 'nonsense'"),
        (["x", "--runtime", "scripted", "--runtime", "scripted"], 4, "named twice"),
        (["x", "--runtime", "scripted", "--default", "claude"], 4, "default_runtime"),
        (["x", "--runtime", "scripted", "--cwd", "missing"], 4, "is not a directory; create it first"),
        (["x", "--runtime", "scripted", "--cwd", ""], 4, "cwd: it is empty"),
        (["x", "--runtime", "scripted", "--default", ""], 4, "--default: it is empty"),
        (["x", "--runtime", "scripted", "--description", "d" * 451], 4, "451 characters are over the limit of 450"),
        (["x", "--runtime", "scripted", "--description", "\x1b[2J"], 4, "control characters"),
        (["x", "--runtime", "command"], 2, "add -- PROGRAM"),
        (["x", "--runtime", "scripted", "--", "cat"], 2, "goes with --runtime command"),
        (["x", "--", ""], 2, "has no name"),
        (["x", "--runtime", "command", "--", "prog\udcff"], 4, "not UTF-8 text"),
        (["x", "--runtime", "scripted", "--cwd", "~nosuchuser/x"], 4, "leads nowhere"),
        (["x", "--intelligence", "alien"], 2, "invalid choice"),
        (["x", "--runtime", "scripted", "--initial-prompt-file", "missing"], 2, "cannot read"),
        (["x", "--runtime", "scripted", "--initial-prompt", "a", "--initial-prompt-file", "b"], 2, "not both"),
        ([], 2, "NAME is missing"),
    ],
)
def test_refusals_make_nothing(peerwake: Run, root: Root, argv: list[str], code: int, problem: str) -> None:
    peerwake("create", "taken", "--runtime", "scripted")
    before = files(root.home)
    done = peerwake("create", *argv)
    assert (done.returncode, done.stdout) == (code, "")
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
    assert files(root.home) == before


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--runtime", "phone", "--intelligence", "artificial"], "runtime phone needs a peer of intelligence natural"),
        (["--runtime", "phone", "--runtime", "oracle"], "runtime oracle needs a peer of intelligence artificial"),
    ],
)
def test_a_runtime_for_another_intelligence_is_refused(
    peerwake: Run, root: Root, argv: list[str], problem: str
) -> None:
    root.runtimes.mkdir()
    for name, needed in (("phone", "natural"), ("oracle", "artificial")):
        text = f'extends = "scripted"\nrequires_intelligence = "{needed}"\n'
        (root.runtimes / f"{name}.toml").write_text(text)
    done = peerwake("create", "x", *argv)
    assert (done.returncode, done.stdout) == (4, "")
    assert problem in done.stderr
    assert peerwake("create", "y", "--runtime", "phone").returncode == 0
    made = Registry(root).get("y")
    assert made is not None and made.intelligence is Intelligence.NATURAL


def test_a_client_s_file_that_is_damaged_keeps_the_peer_from_being_made(
    peerwake: Run, root: Root, tmp_path: Path
) -> None:
    (tmp_path / ".mcp.json").write_text("{ not json")
    done = peerwake("init", "--name", "x", "--runtime", "claude", cwd=tmp_path)
    assert done.returncode == 1
    assert ".mcp.json is not JSON" in done.stderr
    assert (tmp_path / ".mcp.json").read_text() == "{ not json"
    assert Registry(root).names() == ()


def test_mcp_config_prints_what_it_would_write(peerwake: Run, root: Root) -> None:
    peerwake("create", "alice", "--runtime", "claude", "--no-client-config")
    printed = json.loads(peerwake("mcp-config", "alice", "--client", "claude").stdout)
    assert files(root.peers / "alice") == {".peerwake/profile.json"}
    done = peerwake("mcp-config", "alice", "--client", "claude", "--write")
    assert done.stdout.startswith(f"wrote {root.peers / 'alice' / '.mcp.json'}: ")
    assert json.loads((root.peers / "alice/.mcp.json").read_text()) == printed
    again = peerwake("mcp-config", "alice", "--client", "claude", "--write", "--json")
    assert [each["changed"] for each in json.loads(again.stdout)["written"]] == [False, False]


@pytest.mark.parametrize(
    ("argv", "code", "problem"),
    [
        (["alice"], 2, "--client claude or codex"),
        (["alicia", "--client", "codex"], 4, "did you mean alice?"),
        (["alice", "--client", "codex", "--transport", "sse"], 4, "does not speak SSE"),
        (["alice", "--client", "emacs"], 2, "invalid choice"),
    ],
)
def test_mcp_config_refusals(peerwake: Run, argv: list[str], code: int, problem: str) -> None:
    peerwake("create", "alice", "--runtime", "scripted")
    done = peerwake("mcp-config", *argv)
    assert (done.returncode, done.stdout) == (code, "")
    assert problem in done.stderr


def test_a_credential_is_printed_for_the_operator_only(peerwake: Run, root: Root) -> None:
    peerwake("create", "alice", "--runtime", "scripted")
    peerwake("create", "bob", "--runtime", "scripted")
    token = load_credentials(root.secret).credential_for(Identity("scripted", "alice"))
    assert peerwake("mcp-config", "alice", "--credential").stdout == f"{token}\n"
    done = peerwake("mcp-config", "bob", "--credential", PEERWAKE_CREDENTIAL=token)
    assert (done.returncode, done.stdout) == (4, "")


def test_verify_finds_and_mends_a_damaged_registry(peerwake: Run, root: Root) -> None:
    peerwake("create", "alice", "--runtime", "scripted")
    assert peerwake("verify").returncode == 0
    root.registry.write_text("{ damaged")
    done = peerwake("verify")
    assert done.returncode == 1
    assert "mend it with: peerwake verify --fix" in done.stdout
    assert root.registry.read_text() == "{ damaged"
    fixed = json.loads(peerwake("verify", "--fix", "--json").stdout)
    assert fixed["problems"] == []
    assert Path(fixed["rebuilt"]["kept_aside"]).read_text() == "{ damaged"
    assert peerwake("verify").stdout == "1 peer, registry and profiles agree\n"


def test_verify_never_overwrites_a_damaged_profile(peerwake: Run, root: Root) -> None:
    peerwake("create", "alice", "--runtime", "scripted")
    profile = root.peers / "alice/.peerwake/profile.json"
    profile.write_text("{ damaged")
    done = peerwake("verify", "--fix", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["problems"][0]["name"] == "alice"
    assert profile.read_text() == "{ damaged"


def test_a_peer_whose_directory_went_away_is_reported(peerwake: Run, root: Root) -> None:
    peerwake("create", "alice", "--runtime", "scripted")
    shutil.rmtree(root.peers / "alice")
    done = peerwake("verify")
    assert done.returncode == 1
    assert "alice" in done.stdout


def test_a_directory_that_leads_nowhere_is_named(peerwake: Run, root: Root, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    done = peerwake("create", "x", "--runtime", "claude", "--cwd", "loop")
    assert (done.returncode, done.stdout) == (4, "")
    assert "is not a directory" in done.stderr


def test_a_peer_that_cannot_be_finished_is_not_made(peerwake: Run, root: Root, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / ".peerwake").mkdir(parents=True)
    (work / ".peerwake" / "runtimes").write_text("in the way")
    argv = ("create", "x", "--runtime", "command", "--cwd", str(work), "--", "cat")
    assert peerwake(*argv).returncode == 1
    assert Registry(root).names() == ()
    (work / ".peerwake" / "runtimes").unlink()
    assert peerwake(*argv).returncode == 0
    assert Registry(root).names() == ("x",)
