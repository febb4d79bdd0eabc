"""What the scripts' shared set-up finds, says and installs, on machines that lack things."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent
TOOLS = ("sh", "env", "dirname", "mkdir", "sed", "uname", "flock")
PYTHON = "#!/bin/sh\nexit 0\n"
OLD_PYTHON = "#!/bin/sh\nexit 1\n"
TMUX = "#!/bin/sh\necho tmux 3.4\n"


class Machine:
    """A PATH of its own with nothing on it but what a test puts there."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.bin = place / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)
        self.put("id", "#!/bin/sh\necho 0\n")

    def put(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def manager(self, name: str, **brings: str) -> None:
        """A package manager that notes its arguments; a package it knows brings a command of that name."""
        cases = [
            f"""{package}) printf '%s' '{script}' >"{self.bin / package}" ;;""" for package, script in brings.items()
        ]
        self.put(
            name,
            f"""#!/bin/sh
echo "{name} $*" >>"{self.place}/log"
echo "{name} works"
umask 022
for word in "$@"; do
    case $word in
        {" ".join(cases)}
        *) continue ;;
    esac
    {shutil.which("chmod")} +x "{self.bin}/$word"
done
""",
        )

    def run(self, commands: str, **env: str) -> subprocess.CompletedProcess[str]:
        text = f'set -eu\ntop="{self.place}/clone"\n. "{TOP}/scripts/setup"\n{commands}'
        given = {"PATH": str(self.bin), "HOME": str(self.place), **env}
        return subprocess.run(
            ["/bin/sh", "-c", text], env=given, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30
        )

    def log(self) -> list[str]:
        path = self.place / "log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "a place").mkdir()
    (tmp_path / "a place" / "clone").mkdir()
    return Machine(tmp_path / "a place")


@pytest.mark.parametrize(
    ("version", "is_enough"),
    [
        ("tmux 2.9a", False),
        ("tmux 3.1c", False),
        ("tmux 3.2", True),
        ("tmux 3.3a", True),
        ("tmux 3.10", True),
        ("tmux 4.0", True),
        ("tmux next-3.7", True),
        ("tmux master", True),
    ],
)
def test_tmux_versions(machine: Machine, version: str, is_enough: bool) -> None:
    machine.put("tmux", f"#!/bin/sh\necho '{version}'\n")
    assert (machine.run("find_tmux").returncode == 0) is is_enough


def test_without_a_package_manager_it_says_what_is_missing(machine: Machine) -> None:
    if any(Path(place, "brew").exists() for place in ("/opt/homebrew/bin", "/usr/local/bin")):
        pytest.skip("Homebrew is found wherever PATH points")
    done = machine.run("need python tmux")
    assert done.returncode == 1
    assert "missing: Python 3.11 or newer with venv" in done.stderr
    assert "missing: tmux 3.2 or newer" in done.stderr
    assert "install the above by hand" in done.stderr


@pytest.mark.parametrize(
    ("manager", "installs"),
    [
        ("apt-get", "install -y --no-install-recommends python3 python3-venv tmux"),
        ("dnf", "install -y python3 tmux"),
        ("pacman", "-S --needed --noconfirm python tmux"),
        ("apk", "add --no-cache python3 tmux"),
    ],
)
def test_it_says_what_it_installs_before_it_does(machine: Machine, manager: str, installs: str) -> None:
    machine.manager(manager, python3=PYTHON, python=PYTHON, tmux=TMUX)
    done = machine.run("need python tmux")
    assert done.returncode == 0, done.stderr
    assert machine.log()[-1].endswith(installs)
    assert done.stderr.index(f"installing with {manager}") < done.stderr.index(f"{manager} works")
    assert not done.stdout


def test_what_is_there_is_not_installed(machine: Machine) -> None:
    machine.manager("apt-get")
    machine.put("tmux", TMUX)
    machine.put("python3", PYTHON)
    done = machine.run("need python tmux")
    assert done.returncode == 0
    assert not machine.log()
    assert not done.stderr


def test_an_old_distribution_gets_its_newer_python(machine: Machine) -> None:
    machine.put("tmux", TMUX)
    machine.put("python3", OLD_PYTHON)
    machine.manager("apt-get", **{"python3": OLD_PYTHON, "python3.13": PYTHON})
    done = machine.run("need python && find_python && echo $python")
    assert done.stdout == "python3.13\n", done.stderr
    assert [line.split("recommends ")[1] for line in machine.log() if "recommends" in line] == [
        "python3 python3-venv",
        "python3.13 python3.13-venv",
    ]


def test_a_manager_that_cannot_help_is_an_error(machine: Machine) -> None:
    machine.manager("apt-get")
    machine.put("tmux", "#!/bin/sh\necho tmux 3.0\n")
    machine.put("python3", PYTHON)
    done = machine.run("need tmux")
    assert done.returncode == 1
    assert "apt-get did not bring tmux 3.2 or newer" in done.stderr


def test_no_root_and_no_sudo(machine: Machine) -> None:
    machine.manager("apt-get")
    machine.put("id", "#!/bin/sh\necho 1000\n")
    done = machine.run("need tmux")
    assert done.returncode == 1
    assert "there is no sudo here: as root, install tmux with apt-get" in done.stderr
    assert not machine.log()


def test_a_sudo_that_asks_is_not_waited_for(machine: Machine) -> None:
    machine.manager("apt-get")
    machine.put("id", "#!/bin/sh\necho 1000\n")
    machine.put("sudo", "#!/bin/sh\nexit 1\n")
    done = machine.run("need tmux")
    assert done.returncode == 1
    assert "sudo asks for a password" in done.stderr
    assert not machine.log()


def test_sudo_is_used_by_an_ordinary_user(machine: Machine) -> None:
    machine.manager("apt-get", tmux=TMUX)
    machine.put("id", "#!/bin/sh\necho 1000\n")
    machine.put("sudo", f'#!/bin/sh\n[ "$1" = -n ] && exit 0\necho sudo >>"{machine.place}/log"\nexec "$@"\n')
    assert machine.run("need tmux").returncode == 0
    assert machine.log()[0] == "sudo"
    assert machine.log()[-1].endswith("tmux")


def test_a_chosen_python_that_does_not_fit_is_named(machine: Machine) -> None:
    done = machine.run("find_python", PEERWAKE_PYTHON="/nowhere/python")
    assert done.returncode == 1
    assert "PEERWAKE_PYTHON=/nowhere/python is not a Python 3.11 or newer" in done.stderr


@pytest.mark.parametrize("status", [0, 1, 5])
def test_the_status_is_that_of_pytest_and_no_tests_is_loud(machine: Machine, status: int) -> None:
    python = machine.place / "clone/.venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\nexit {status}\n")
    python.chmod(0o755)
    done = machine.run("run_pytest -m nothing")
    assert done.returncode == status
    assert ("FAILED: pytest collected no test" in done.stderr) is (status == 5)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_clone_that_cannot_be_written(machine: Machine) -> None:
    (machine.place / "clone").chmod(0o500)
    done = machine.run("prepare tmux")
    assert done.returncode == 1
    assert "name another place with PEERWAKE_VENV" in done.stderr
