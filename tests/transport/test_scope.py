"""Scopes of one's own: only where there is a user manager."""

from pathlib import Path

from transport.scope import manager_environment, scope_command


def test_without_a_user_manager_there_is_no_scope(tmp_path: Path) -> None:
    assert scope_command({}) == []
    assert scope_command({"XDG_RUNTIME_DIR": ""}) == []
    assert scope_command({"XDG_RUNTIME_DIR": str(tmp_path)}) == []
    assert manager_environment({"HOME": "/"}) == {}


def test_with_one_the_program_runs_in_the_place_of_systemd_run(tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "private").touch()
    environ = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": "/"}
    plain, described = scope_command(environ), scope_command(environ, description="a watcher")
    assert plain == ["systemd-run", "--user", "--scope", "--quiet", "--collect", "--"]
    assert described == [*plain[:-1], "--description=a watcher", "--"]
    assert manager_environment(environ) == {"XDG_RUNTIME_DIR": str(tmp_path)}
