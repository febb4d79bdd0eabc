"""Scopes of one's own: only where there is a user manager."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from transport.scope import manager_environment, scope_command, unit_of


def test_without_a_user_manager_there_is_no_scope(tmp_path: Path) -> None:
    assert scope_command({}) == []
    assert scope_command({"XDG_RUNTIME_DIR": ""}) == []
    assert scope_command({"XDG_RUNTIME_DIR": str(tmp_path)}) == []
    assert manager_environment({"HOME": "/"}) == {}


def test_the_manager_of_another_user_is_none(tmp_path: Path) -> None:
    """After `su` the variable still names the former user's directory, which may not be entered."""
    place = tmp_path / "runtime"
    (place / "systemd").mkdir(parents=True)
    (place / "systemd" / "private").touch()
    place.chmod(0)
    try:
        pid = os.fork()
        if not pid:
            with suppress(BaseException):
                drop_root_rights()
                os._exit(0 if scope_command({"XDG_RUNTIME_DIR": str(place)}) == [] else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        place.chmod(0o700)


def drop_root_rights() -> None:
    """Let the modes of files hold for this process, whoever runs it."""
    if os.geteuid() == 0:
        os.setuid(65534)


def test_with_one_the_program_runs_in_the_place_of_systemd_run(tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "private").touch()
    environ = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": "/"}
    plain, described = scope_command(environ), scope_command(environ, description="a watcher")
    assert plain == ["systemd-run", "--user", "--scope", "--quiet", "--collect", "--"]
    assert described == [*plain[:-1], "--description=a watcher", "--"]
    assert manager_environment(environ) == {"XDG_RUNTIME_DIR": str(tmp_path)}


UNIT = "/user.slice/user-1000.slice/user@1000.service/app.slice/peerwake.service"


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        (f"0::{UNIT}\n", UNIT),
        (f"4:memory:/elsewhere\n1:name=systemd:{UNIT}\n0::/\n", UNIT),
        ("1:name=systemd:/a:b.service\n", "/a:b.service"),
        ("4:memory:/elsewhere\n", None),
        ("nonsense\n\n", None),
        ("", None),
    ],
)
def test_the_unit_of_a_process(tmp_path: Path, text: str, unit: str | None) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(text)
    assert unit_of(7, tmp_path) == unit
    assert unit_of(8, tmp_path) is None
