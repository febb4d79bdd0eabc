"""The repository around the code: locks, scripts, packaging, versions, and words that must not be in it."""

import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mcp_server.setting_sources import NOT_SETTINGS
from mcp_server.settings import ALL
from mcp_server.version import VERSION

TOP = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
LOCKS = ("requirements.lock", "requirements-dev.lock")
PACKAGES = ["mcp_server", "lifecycle", "transport"]
COMMANDS = ("demo", "test", "test-clients", "conformance", "check", "bench", "coverage", "flakes", "mutants", "lock")
GENERATED = {"__pycache__", "dist", "build", "htmlcov"}
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
VARIABLE = re.compile(rb"PEERWAKE_[A-Z][A-Z0-9_]*")
# What tests call a variable that there is not.
MADE_UP = {f"PEERWAKE_{name}" for name in ("PROT", "X", "ATTEMPS", "TIKC_SECONDS", "QUITE_ELSE", "PROMPT")}
PLATFORMS = [
    {
        "sys_platform": system,
        "platform_machine": machine,
        "python_version": version,
        "python_full_version": f"{version}.1",
    }
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64"))
    for version in ("3.11", "3.12", "3.13", "3.14")
]


def locked(name: str) -> list[tuple[Requirement, list[str]]]:
    """Every requirement of a lock file with the words that follow it."""
    lines = [line for line in (TOP / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    entries = "\n".join(lines).replace("\\\n", " \x00 ").splitlines()
    parts = [[part.strip() for part in entry.split("\x00")] for entry in entries if entry.strip()]
    return [(Requirement(first), rest) for first, *rest in parts]


def versions(name: str, platform: dict[str, str]) -> dict[str, str]:
    """What a lock file pins on one platform; a package that is pinned twice there fails."""
    found: dict[str, str] = {}
    for requirement, _ in locked(name):
        if requirement.marker and not requirement.marker.evaluate(platform):
            continue
        key = canonicalize_name(requirement.name)
        assert key not in found, f"{name} pins {key} twice on {platform}"
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        found[key] = pin.version
    return found


def own_files() -> Iterator[Path]:
    """Every file that belongs to the repository, with or without git."""
    for path in TOP.rglob("*"):
        parts = path.relative_to(TOP).parts
        hidden = any(part.startswith(".") for part in parts[:-1]) and parts[0] != ".ci"
        if path.is_file() and not hidden and not GENERATED & set(parts):
            yield path


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_requirement_has_hashes_and_nothing_else(name: str) -> None:
    entries = locked(name)
    assert len(entries) > 20
    for requirement, rest in entries:
        assert rest, f"{requirement.name} has no hash"
        assert all(HASH.fullmatch(word) for word in rest), f"{requirement.name}: {rest}"


@pytest.mark.parametrize("name", LOCKS)
def test_locks_name_no_host_no_option_and_no_place(name: str) -> None:
    text = (TOP / name).read_text()
    assert "://" not in text
    assert "/" not in text.replace("scripts/lock", "")
    assert not re.search(r"(?m)^\s*-(?!-hash=)", text)
    assert "--" not in text.replace("--hash=sha256:", "")


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: "-".join(list(platform.values())[:3]))
def test_locks_satisfy_the_project_on_every_platform(platform: dict[str, str]) -> None:
    runtime, dev = (versions(name, platform) for name in LOCKS)
    assert runtime.items() <= dev.items()
    for text in PROJECT["dependencies"]:
        wish = Requirement(text)
        assert wish.specifier.contains(runtime[canonicalize_name(wish.name)]), text
    for text in PROJECT["optional-dependencies"]["dev"] + PYPROJECT["build-system"]["requires"]:
        wish = Requirement(text)
        assert wish.specifier.contains(dev[canonicalize_name(wish.name)]), text


def test_there_is_no_second_lock() -> None:
    assert not (TOP / "uv.lock").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_executable_posix_shell(name: str) -> None:
    path = TOP / "scripts" / name
    assert path.stat().st_mode & 0o111 == 0o111
    assert path.read_text().startswith("#!/bin/sh\nset -eu\n") or name == "lock"
    subprocess.run(["sh", "-n", path], check=True)


def test_the_shared_set_up_is_posix_shell() -> None:
    subprocess.run(["sh", "-n", TOP / "scripts/setup"], check=True)


def test_ci_runs_both_test_commands() -> None:
    path = TOP / ".ci/run"
    assert path.stat().st_mode & 0o111 == 0o111
    subprocess.run(["bash", "-n", path], check=True)
    lines = path.read_text().splitlines()
    assert (
        lines.index("scripts/check lint")
        < lines.index("twice scripts/test")
        < lines.index("twice scripts/test-clients")
    )


def test_one_wheel_holds_the_three_packages_and_nothing_else(tmp_path: Path) -> None:
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == PACKAGES
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(argv, cwd=TOP, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {*PACKAGES, f"peerwake-{VERSION}.dist-info"}
    sources = {str(path.relative_to(TOP)) for package in PACKAGES for path in (TOP / package).rglob("*.py")}
    assert sources <= set(names)


def test_the_version_is_the_same_everywhere() -> None:
    top_entry = re.search(r"(?m)^## (\S+)", (TOP / "CHANGELOG.md").read_text())
    assert top_entry
    assert top_entry[1] == PROJECT["version"] == VERSION


def test_the_licence_is_whole() -> None:
    text = (TOP / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_no_file_names_a_package_registry_or_this_machine() -> None:
    hosts = ["py" + "pi.org", "python" + "hosted.org", "registry." + "npm", "npm" + "mirror"]
    places = ["/tmp/" + "pw/", "/work/" + "main", "/work/" + "shared"]
    found = [
        f"{path.relative_to(TOP)}: {word}"
        for path in own_files()
        for word in hosts + places
        if word.encode() in path.read_bytes()
    ]
    assert not found


def test_every_variable_of_the_repository_is_a_setting_or_known_as_none() -> None:
    lists = {TOP / "mcp_server/setting_sources.py", Path(__file__)}
    used = {word.decode() for path in own_files() if path not in lists for word in VARIABLE.findall(path.read_bytes())}
    settings = {f"PEERWAKE_{name.upper()}" for name in ALL}
    assert used - settings - MADE_UP == NOT_SETTINGS, "who sets one that NOT_SETTINGS lacks is told to unset it"
    assert used >= MADE_UP


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", (TOP / name).read_text()):
            assert (TOP / link).exists(), f"{name}: {link}"
