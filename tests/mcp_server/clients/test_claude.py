import json
from pathlib import Path

import pytest

from mcp_server.clients.connection import ConfigUnusable, Connection, GlobalSettings, Transport
from mcp_server.clients.table import client, configure
from transport.errors import InvalidInput

BRIDGE = Connection(command="/opt/peerwake/python", args=("-I", "-S", "bridge.py"))
HTTP = Connection(Transport.HTTP, url="http://127.0.0.1:8765/mcp")
SSE = Connection(Transport.SSE, url="http://127.0.0.1:8765/sse")
TOOLS = ["mcp__peerwake__send_to_peer", "mcp__peerwake__list_peers", "mcp__peerwake__queue_status"]


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    path = tmp_path / "alice"
    path.mkdir()
    return path


def write(cwd: Path, connection: Connection = BRIDGE, **options: object) -> list[str]:
    environ = {"HOME": str(cwd.parent / "home")}
    changes = configure("claude", cwd, connection, **{"environ": environ, **options})
    return [str(change.path.relative_to(cwd.resolve())) for change in changes]


def load(path: Path) -> dict:
    return json.loads(path.read_text())


def test_a_new_directory_gets_both_files(cwd: Path) -> None:
    assert write(cwd) == [".mcp.json", ".claude/settings.json"]
    assert load(cwd / ".mcp.json") == {
        "mcpServers": {
            "peerwake": {
                "type": "stdio",
                "command": "/opt/peerwake/python",
                "args": ["-I", "-S", "bridge.py"],
                "alwaysLoad": True,
            }
        }
    }
    assert load(cwd / ".claude/settings.json") == {
        "enabledMcpjsonServers": ["peerwake"],
        "permissions": {"allow": TOOLS},
    }


def test_a_second_time_nothing_is_written(cwd: Path) -> None:
    write(cwd)
    before = {path: path.stat().st_mtime_ns for path in cwd.rglob("*") if path.is_file()}
    assert write(cwd) == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("connection", [HTTP, SSE], ids=["http", "sse"])
def test_a_served_connection_takes_the_credential_from_the_environment(cwd: Path, connection: Connection) -> None:
    write(cwd, connection)
    assert load(cwd / ".mcp.json")["mcpServers"]["peerwake"] == {
        "type": str(connection.transport),
        "url": connection.url,
        "headers": {"Authorization": "Bearer ${PEERWAKE_CREDENTIAL}"},
        "alwaysLoad": True,
    }


def test_another_root_is_named(cwd: Path) -> None:
    write(cwd, Connection(command="x", home=Path("/srv/pw")))
    assert load(cwd / ".mcp.json")["mcpServers"]["peerwake"]["env"] == {"PEERWAKE_HOME": "/srv/pw"}


def test_what_the_user_wrote_stays_as_it_is(cwd: Path) -> None:
    servers = '{\n\t"mcpServers": {\n\t\t"docs" : {"command":"docs", "args": [ ]}\n\t}\n}'
    settings = (
        '{"model":"opus","permissions": {"deny":["Bash(rm *)"],   "allow": ["Read"]}, "enabledMcpjsonServers":[]}'
    )
    (cwd / ".mcp.json").write_text(servers)
    (cwd / ".claude").mkdir()
    (cwd / ".claude/settings.json").write_text(settings)
    (cwd / ".claude/settings.json").chmod(0o640)
    write(cwd)
    text = (cwd / ".mcp.json").read_text()
    assert text.startswith('{\n\t"mcpServers": {\n\t\t"docs" : {"command":"docs", "args": [ ]},\n\t\t"peerwake": {')
    text = (cwd / ".claude/settings.json").read_text()
    assert text.startswith('{"model":"opus","permissions": {"deny":["Bash(rm *)"],   "allow": [')
    assert load(cwd / ".claude/settings.json")["permissions"]["allow"] == ["Read", *TOOLS]
    assert (cwd / ".claude/settings.json").stat().st_mode & 0o777 == 0o640


def test_an_older_entry_of_ours_is_replaced(cwd: Path) -> None:
    write(cwd, HTTP)
    assert write(cwd, BRIDGE) == [".mcp.json"]
    assert load(cwd / ".mcp.json")["mcpServers"]["peerwake"]["command"] == "/opt/peerwake/python"


@pytest.mark.parametrize("name", [".mcp.json", ".claude/settings.json"])
@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff{}", b'{"mcpServers": [], "permissions": []}'])
def test_a_damaged_file_is_refused_and_nothing_is_written(cwd: Path, name: str, data: bytes) -> None:
    (cwd / ".claude").mkdir()
    (cwd / name).write_bytes(data)
    with pytest.raises(ConfigUnusable, match=name.replace(".", r"\.")):
        write(cwd)
    assert [path for path in cwd.rglob("*") if path.is_file()] == [cwd / name]
    assert (cwd / name).read_bytes() == data


def test_a_list_that_is_none_is_refused(cwd: Path) -> None:
    (cwd / ".claude").mkdir()
    (cwd / ".claude/settings.json").write_text('{"permissions": {"allow": "Read"}}')
    with pytest.raises(ConfigUnusable, match=r"permissions\.allow is not a list"):
        write(cwd)


def test_the_home_directory_is_not_configured_as_a_peers(cwd: Path) -> None:
    with pytest.raises(GlobalSettings, match="--global"):
        write(cwd, environ={"HOME": str(cwd)})
    assert list(cwd.iterdir()) == []
    assert write(cwd, environ={"HOME": str(cwd)}, allow_global=True) == [".mcp.json", ".claude/settings.json"]


def test_a_link_to_somewhere_else_is_not_followed(cwd: Path) -> None:
    outside = cwd.parent / "home" / ".claude"
    outside.mkdir(parents=True)
    (cwd / ".claude").symlink_to(outside)
    with pytest.raises(GlobalSettings):
        write(cwd)
    assert list(outside.iterdir()) == []
    assert not (cwd / ".mcp.json").exists()


def test_a_write_that_fails_leaves_the_old_file(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    (cwd / ".mcp.json").write_text('{"mine": 1}')
    monkeypatch.setattr("transport.files.replace", full)
    with pytest.raises(ConfigUnusable, match=r"cannot write .*\.mcp\.json: No space left"):
        write(cwd)
    assert [path.name for path in cwd.rglob("*") if path.is_file()] == [".mcp.json"]
    assert (cwd / ".mcp.json").read_text() == '{"mine": 1}'


def test_a_file_in_place_of_a_directory_is_named(cwd: Path) -> None:
    (cwd / ".claude").write_text("")
    with pytest.raises(ConfigUnusable, match="cannot read"):
        write(cwd)
    assert not (cwd / ".mcp.json").exists()


@pytest.mark.parametrize("transport", list(Transport))
def test_half_a_connection_is_refused(transport: Transport) -> None:
    with pytest.raises(InvalidInput):
        Connection(transport)


def test_a_text_to_copy_is_valid(cwd: Path) -> None:
    write(cwd)
    assert client("claude").render(BRIDGE) == (cwd / ".mcp.json").read_text()


def test_an_unknown_client_is_refused() -> None:
    with pytest.raises(InvalidInput, match="claude, codex"):
        client("vim")
