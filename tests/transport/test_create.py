"""Making peers: names, directories, races between processes and crashes at every step."""

import subprocess
import sys
from pathlib import Path

import pytest

from transport.create import NewPeer, create
from transport.errors import InvalidInput
from transport.paths import Root
from transport.profile import host, load_profile, make_profile, save_profile, tenant
from transport.registry import Registry
from transport.settle import DirectoryTaken, NameTaken
from transport.vocabulary import Intelligence, WakePolicy

RACER = """
import sys
from pathlib import Path
from transport.create import NewPeer, create
from transport.paths import Root
from transport.registry import Registry
from transport.settle import NameTaken
registry = Registry(Root(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
for number in range(12):
    try:
        create(registry, NewPeer(("claude",), name=f"peer-{number}", description=sys.argv[2]))
        print(number, flush=True)
    except NameTaken:
        pass
"""
CRASHER = """
import os, sys
from pathlib import Path
from transport import files
from transport.create import NewPeer, create
from transport.paths import Root
from transport.registry import Registry
steps = int(sys.argv[3])
def counted(real):
    def step(*args):
        global steps
        steps -= 1
        if steps < 0:
            os._exit(9)
        return real(*args)
    return step
files.fsync, files.replace = counted(files.fsync), counted(files.replace)
cwd = Path(sys.argv[2]) if sys.argv[2] else None
create(Registry(Root(Path(sys.argv[1]))), NewPeer(("claude",), name="alice", cwd=cwd))
"""


@pytest.fixture
def registry(root: Root) -> Registry:
    return Registry(root)


def test_a_created_peer_has_all_that_was_asked_for(root: Root, registry: Registry) -> None:
    alice = create(
        registry,
        NewPeer(
            ("codex", "claude"),
            name="alice",
            default_runtime="claude",
            intelligence=Intelligence.NATURAL,
            description="Reviews",
            wake_policy=WakePolicy.EPHEMERAL,
            initial_prompt="Begin.",
        ),
    )
    assert load_profile(root.peers / "alice") == registry.get("alice") == alice
    assert (alice.runtimes, alice.default_runtime) == (("codex", "claude"), "claude")
    assert (alice.host, alice.tenant_id, alice.cwd) == (host(), tenant(), (root.peers / "alice").resolve())
    assert (alice.intelligence, alice.wake_policy) == (Intelligence.NATURAL, WakePolicy.EPHEMERAL)
    assert (alice.description, alice.initial_prompt) == ("Reviews", "Begin.")
    assert alice.cwd.stat().st_mode & 0o777 == 0o700


def test_a_directory_gives_the_name_and_gets_an_entry(root: Root, registry: Registry, tmp_path: Path) -> None:
    project = tmp_path / "My Projéct"
    project.mkdir()
    (tmp_path / "link").symlink_to(project)
    made = create(registry, NewPeer(("claude",), cwd=tmp_path / "link"))
    assert (made.name, made.cwd, made.default_runtime) == ("my-project", project.resolve(), "claude")
    assert (root.peers / "my-project").readlink() == project.resolve()
    with pytest.raises(DirectoryTaken, match="'my-project'"):
        create(registry, NewPeer(("claude",), name="again", cwd=project))
    with pytest.raises(NameTaken, match="lives in"):
        create(registry, NewPeer(("claude",), name="my-project"))


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewPeer(("claude",)), "name"),
        (NewPeer(("claude",), name="Alice"), "name"),
        (NewPeer(("claude",), name="operator"), "name"),
        (NewPeer((), name="alice"), "runtimes"),
        (NewPeer(("claude",), name="alice", default_runtime="codex"), "default_runtime"),
        (NewPeer(("claude",), name="alice", description="x" * 451), "description"),
        (NewPeer(("claude",), name="alice", cwd=Path("/nowhere/at/all")), "cwd"),
        (NewPeer(("claude",), cwd=Path("/")), "name"),
        (NewPeer(("claude",), name="alice", cwd=Path("/etc/hosts")), "cwd"),
    ],
)
def test_bad_wishes_are_refused_and_leave_nothing(root: Root, registry: Registry, new: NewPeer, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        create(registry, new)
    assert caught.value.field == field
    assert list(root.peers.iterdir()) == []
    assert not root.registry.exists()


def test_a_directory_with_another_peer_s_profile_is_refused(registry: Registry, tmp_path: Path) -> None:
    other = make_profile(
        name="zoe",
        runtimes=("claude",),
        default_runtime="claude",
        cwd=tmp_path,
        host="box",
        tenant_id="me",
        created_at="2026",
    )
    save_profile(other)
    with pytest.raises(DirectoryTaken, match="'zoe'"):
        create(registry, NewPeer(("claude",), name="alice", cwd=tmp_path))
    assert load_profile(tmp_path) == other


def test_of_processes_that_race_for_a_name_one_wins(root: Root, registry: Registry) -> None:
    argv = [sys.executable, "-c", RACER, str(root.home)]
    racers = [
        subprocess.Popen([*argv, f"racer {number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    wins = [int(line) for racer in racers for line in racer.communicate(timeout=60)[0].split()]
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert sorted(wins) == list(range(12))
    assert len(registry.names()) == 12
    assert registry.verify() == ()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_crash_at_any_step_is_repaired_by_creating_again(root: Root, tmp_path: Path, elsewhere: bool) -> None:
    cwd = tmp_path if elsewhere else None
    crashes = 0
    for steps in range(30):
        argv = [sys.executable, "-c", CRASHER, str(root.home), str(cwd or ""), str(steps)]
        status = subprocess.run(argv, timeout=30, check=False).returncode
        if status == 0:
            break
        assert status == 9
        crashes += 1
        registry = Registry(root)
        if registry.get("alice") is None:
            create(registry, NewPeer(("claude",), name="alice", cwd=cwd))
        assert registry.verify() == ()
        registry.remove("alice")
    assert crashes >= 6
    assert Registry(root).names() == ("alice",)


def test_a_crash_between_profile_and_registry_is_repaired_by_a_rebuild(root: Root, registry: Registry) -> None:
    create(registry, NewPeer(("claude",), name="bob"))
    for steps in range(3, 30):
        argv = [sys.executable, "-c", CRASHER, str(root.home), "", str(steps)]
        subprocess.run(argv, timeout=30, check=False)
        if (root.peers / "alice" / ".peerwake" / "profile.json").exists():
            break
    assert registry.get("alice") is None
    assert [(problem.name, problem.kind.value) for problem in registry.verify()] == [("alice", "unregistered")]
    assert registry.rebuild().added == ("alice",)
    assert registry.get("alice") is not None
    assert registry.verify() == ()
