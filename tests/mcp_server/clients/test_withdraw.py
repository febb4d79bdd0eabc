"""What a removed peer leaves in its clients' configuration: everything that is not ours, to the byte."""

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from mcp_server.clients.connection import ConfigUnusable, Connection, GlobalSettings, Transport
from mcp_server.clients.table import configure
from mcp_server.clients.withdraw import withdraw

BRIDGE = ("serve", "--transport", "stdio")


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    path = tmp_path / "alice"
    path.mkdir()
    return path


def connection(cwd: Path, root: str = "pw") -> Connection:
    return Connection(command="/opt/peerwake", args=BRIDGE, home=cwd.parent / root)


def configured(cwd: Path, *clients: str, chosen: Connection | None = None, **options: bool) -> None:
    environ = {"HOME": str(cwd.parent / "home")}
    for client in clients:
        configure(client, cwd, chosen or connection(cwd), environ=environ, **options)


def taken(cwd: Path, root: str = "pw") -> list[str]:
    changed = withdraw(cwd, cwd.parent / root, {"HOME": str(cwd.parent / "home")})
    return [str(Path(path).relative_to(cwd)) for path in changed]


def test_files_that_were_ours_alone_are_gone(cwd: Path) -> None:
    configured(cwd, "claude", "codex")
    assert taken(cwd) == [".mcp.json", ".claude/settings.json", ".codex/config.toml"]
    assert list(cwd.iterdir()) == []
    assert taken(cwd) == []


@pytest.mark.parametrize("transport", [Transport.HTTP, Transport.SSE])
def test_an_entry_over_http_is_known_by_its_credential(cwd: Path, transport: Transport) -> None:
    configured(cwd, "claude", chosen=Connection(transport, url="http://127.0.0.1:1/x"))
    assert taken(cwd) == [".mcp.json", ".claude/settings.json"]


def test_the_source_trees_bridge_is_ours_too(cwd: Path) -> None:
    args = ("-I", "-S", "/src/mcp_server/serve/bridge.py")
    configured(cwd, "scripted", chosen=Connection(command="python", args=args, home=cwd.parent / "pw"))
    assert taken(cwd) == [".mcp.json"]


def test_what_others_wrote_stays_as_it_is(cwd: Path) -> None:
    servers = '{\n    "mcpServers": {\n        "other": {"command": "x"}\n    },\n    "mine":1}\n'
    settings = '{"permissions": {"allow": ["Bash(ls)"], "deny": []}, "model": "m"}\n'
    toml = '# mine\nmodel = "m"\n'
    (cwd / ".claude").mkdir()
    (cwd / ".codex").mkdir()
    (cwd / ".mcp.json").write_text(servers)
    (cwd / ".claude/settings.json").write_text(settings)
    (cwd / ".codex/config.toml").write_text(toml)
    configured(cwd, "claude", "codex")
    assert len(taken(cwd)) == 3
    assert (cwd / ".mcp.json").read_text() == servers
    assert json.loads((cwd / ".claude/settings.json").read_text()) == json.loads(settings)
    assert (cwd / ".codex/config.toml").read_text() == toml


def test_another_roots_entries_stay(cwd: Path) -> None:
    configured(cwd, "claude", "codex", chosen=connection(cwd, "other"))
    before = {path: path.read_text() for path in cwd.rglob("*") if path.is_file()}
    assert taken(cwd) == []
    assert {path: path.read_text() for path in cwd.rglob("*") if path.is_file()} == before


def test_somebody_elses_server_of_our_name_stays_with_its_permissions(cwd: Path) -> None:
    configured(cwd, "claude")
    (cwd / ".mcp.json").write_text('{"mcpServers": {"peerwake": {"command": "mine", "args": ["x"]}}}')
    assert taken(cwd) == []
    assert "peerwake" in (cwd / ".claude/settings.json").read_text()


def test_global_settings_are_not_touched(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environ = {"HOME": str(home)}
    chosen = Connection(command="/opt/peerwake", args=BRIDGE, home=tmp_path / "pw")
    configure("claude", home, chosen, environ=environ, allow_global=True)
    with pytest.raises(GlobalSettings):
        withdraw(home, tmp_path / "pw", environ)
    assert "peerwake" in (home / ".claude/settings.json").read_text()


def test_a_damaged_file_is_left(cwd: Path) -> None:
    (cwd / ".mcp.json").write_text('{"mcpServers": ')
    with pytest.raises(ConfigUnusable, match="left as it is"):
        taken(cwd)
    assert (cwd / ".mcp.json").read_text() == '{"mcpServers": '


@pytest.mark.parametrize("name", [".mcp.json", ".codex/config.toml"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(cwd: Path, name: str) -> None:
    (cwd / name).parent.mkdir(exist_ok=True)
    (cwd / name).unlink(missing_ok=True)
    os.mkfifo(cwd / name)
    with pytest.raises(ConfigUnusable, match="not a regular file"):
        taken(cwd)


def test_the_default_root_has_entries_without_a_root(tmp_path: Path) -> None:
    cwd = tmp_path / "alice"
    cwd.mkdir()
    configured(cwd, "scripted", chosen=Connection(command="/opt/peerwake", args=BRIDGE))
    assert taken(cwd) == []
    assert withdraw(cwd, tmp_path / "home" / ".peerwake", {"HOME": str(tmp_path / "home")}) != ()


PLANTED = {
    ".mcp.json": ["[]", "5", '{"mcpServers": {"peerwake": 5}}', "[" * 100_000],
    ".claude/settings.json": ["[]", '{"permissions": 5}', '{"permissions": {"allow": [[], {}, null]}}', "[" * 100_000],
    ".codex/config.toml": [
        f"# >>> peerwake: x\n{text}\n# <<< peerwake\n"
        for text in ("mcp_servers.peerwake = 5", "mcp_servers = 5", "mcp_servers.peerwake.env = 5", "a = " + "[" * 9999)
    ],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in PLANTED.items() for text in texts])
def test_whatever_a_peer_has_put_there_stays(cwd: Path, name: str, text: str) -> None:
    (cwd / name).parent.mkdir(exist_ok=True)
    (cwd / name).write_text(text)
    with suppress(ConfigUnusable):
        assert taken(cwd) == []
    assert (cwd / name).read_text() == text


@pytest.mark.parametrize("name", [".mcp.json", ".claude", ".codex", ".codex/config.toml"])
def test_links_that_go_round_in_a_circle_are_left(cwd: Path, name: str) -> None:
    (cwd / name).parent.mkdir(exist_ok=True)
    (cwd / name).symlink_to(Path(name).name)
    with pytest.raises(ConfigUnusable):
        taken(cwd)
    assert (cwd / name).is_symlink()


@pytest.mark.parametrize("half", ["\\ud800", "\\udc80"])
def test_a_permission_that_is_half_a_character_stays(cwd: Path, half: str) -> None:
    settings = cwd / ".claude/settings.json"
    settings.parent.mkdir()
    settings.write_text(f'{{"permissions": {{"allow": ["mcp__peerwake__send_to_peer", "{half}"]}}}}')
    assert taken(cwd) == [".claude/settings.json"]
    assert json.loads(settings.read_text()) == {"permissions": {"allow": [json.loads(f'"{half}"')]}}
