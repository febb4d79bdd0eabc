import tomllib
from pathlib import Path

import pytest

from mcp_server.clients.codex import BEGIN, END
from mcp_server.clients.connection import ConfigUnusable, Connection, GlobalSettings, Transport
from mcp_server.clients.table import client, configure
from transport.errors import InvalidInput

BRIDGE = Connection(command="/opt/peer wake/python", args=("-I", 'a"b\\c', "é\x7f\n"))
HTTP = Connection(Transport.HTTP, url="http://127.0.0.1:8765/mcp")


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    path = tmp_path / "carl"
    path.mkdir()
    return path


def write(cwd: Path, connection: Connection = BRIDGE, **options: object) -> bool:
    environ = {"HOME": str(cwd.parent / "home")}
    return bool(configure("codex", cwd, connection, **{"environ": environ, **options}))


def text(cwd: Path) -> str:
    return (cwd / ".codex/config.toml").read_text()


def test_a_new_directory_gets_a_block(cwd: Path) -> None:
    assert write(cwd)
    assert tomllib.loads(text(cwd)) == {
        "mcp_servers": {
            "peerwake": {
                "command": "/opt/peer wake/python",
                "args": ["-I", 'a"b\\c', "é\x7f\n"],
                "env_vars": [
                    "PEERWAKE_CREDENTIAL",
                    "PEERWAKE_HOME",
                    "PEER_IDENTITY",
                    "PEER_PERSONALITY",
                    "PEER_RUNTIME",
                ],
                "default_tools_approval_mode": "approve",
            }
        }
    }
    assert not write(cwd)


def test_a_served_connection_takes_the_credential_from_the_environment(cwd: Path) -> None:
    write(cwd, HTTP)
    server = tomllib.loads(text(cwd))["mcp_servers"]["peerwake"]
    assert server["bearer_token_env_var"] == "PEERWAKE_CREDENTIAL"
    assert server["url"] == HTTP.url


def test_another_root_is_named(cwd: Path) -> None:
    write(cwd, Connection(command="x", home=Path("/srv/pw")))
    server = tomllib.loads(text(cwd))["mcp_servers"]["peerwake"]
    assert server["env"] == {"PEERWAKE_HOME": "/srv/pw"}
    assert "PEERWAKE_HOME" not in server["env_vars"]


def test_sse_is_refused(cwd: Path) -> None:
    with pytest.raises(InvalidInput, match="stdio or http"):
        write(cwd, Connection(Transport.SSE, url="http://127.0.0.1:8765/sse"))
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize("before", ["", "model = 'x' # mine\n", "# end", "[tui]\nx=1\n"])
@pytest.mark.parametrize("after", ["", "\n[projects.'/p']\ntrust_level = 'trusted'\n"])
def test_what_the_user_wrote_stays_as_it_is(cwd: Path, before: str, after: str) -> None:
    (cwd / ".codex").mkdir()
    (cwd / ".codex/config.toml").write_text(before)
    write(cwd, HTTP)
    (cwd / ".codex/config.toml").write_text(text(cwd) + after)
    write(cwd, BRIDGE)
    assert text(cwd).startswith(before)
    assert text(cwd).endswith(END + "\n" + after)
    assert text(cwd).count(BEGIN) == 1
    assert "bearer" not in text(cwd)


@pytest.mark.parametrize(
    "own",
    [
        "[mcp_servers.peerwake]\ncommand = 'mine'\n",
        "mcp_servers = {docs = {command = 'd'}}\n",
        "[mcp_servers\n",
        "x = \n",
    ],
)
def test_what_cannot_be_merged_is_refused_and_left_alone(cwd: Path, own: str) -> None:
    (cwd / ".codex").mkdir()
    (cwd / ".codex/config.toml").write_text(own)
    with pytest.raises(ConfigUnusable, match=r"config\.toml"):
        write(cwd)
    assert text(cwd) == own


def test_the_users_own_configuration_is_not_touched(cwd: Path) -> None:
    with pytest.raises(GlobalSettings):
        write(cwd, environ={"HOME": str(cwd)})
    with pytest.raises(GlobalSettings):
        write(cwd, environ={"HOME": "/nowhere", "CODEX_HOME": str(cwd / ".codex")})
    assert list(cwd.iterdir()) == []


def test_a_text_to_copy_is_valid(cwd: Path) -> None:
    write(cwd)
    assert client("codex").render(BRIDGE) == text(cwd)
