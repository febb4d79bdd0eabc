"""The registry: what it answers, who may write, and what it does with damage."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from transport import files
from transport.create import NewPeer, create
from transport.errors import InvalidInput
from transport.paths import Root
from transport.profile import CorruptProfile, NewerProfile, Profile, load_profile, profile_path, save_profile
from transport.registry import NotRegistered, Registry, RegistryBusy, RegistryUnwritable
from transport.relocate import Place
from transport.settle import DirectoryTaken, NameTaken
from transport.snapshot import RegistryCorrupt, RegistryNewer

HOLDER = """
import sys
from pathlib import Path
from transport.paths import Root
from transport.registry import Registry
with Registry(Root(Path(sys.argv[1])))._locked():
    print("held", flush=True)
    sys.stdin.read()
"""
DAMAGE = [
    "",
    "{",
    "[]",
    "null",
    '{"version": 1}',
    '{"version": 1, "peers": [{"name": "x"}]}',
    "\x00\xff",
    "[" * 100_000,
]


@pytest.fixture
def registry(root: Root) -> Registry:
    return Registry(root)


def peer(registry: Registry, name: str, **fields: object) -> Profile:
    return create(registry, NewPeer(("claude", "codex"), name=name, **fields))  # type: ignore[arg-type]


def test_an_empty_root_has_no_peers_and_no_problem(registry: Registry) -> None:
    assert registry.names() == ()
    assert registry.get("alice") is None
    assert registry.page() == ((), 0)
    assert registry.nearest("alice") == ()
    assert registry.problem is None
    assert registry.verify() == ()


def test_a_created_peer_is_known_to_every_registry(root: Root, registry: Registry) -> None:
    other = Registry(root)
    assert other.get("alice") is None
    alice = peer(registry, "alice")
    assert registry.get("alice") == other.get("alice") == Registry(root).get("alice") == alice
    assert registry.at(alice.cwd) == alice
    assert registry.at(root.home) is None
    assert root.registry.stat().st_mode & 0o777 == 0o600
    assert registry.verify() == ()


def test_reading_costs_one_stat_until_something_changes(
    root: Root, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer(registry, "alice")
    other = Registry(root)
    loads: list[Path] = []
    real = files.read_regular
    monkeypatch.setattr("transport.registry.read_regular", lambda path: loads.append(path) or real(path))
    for _ in range(3):
        other.get("alice")
        other.names()
    assert loads == [root.registry]
    peer(registry, "bob")
    loads.clear()
    assert (other.names(), other.names()) == (("alice", "bob"), ("alice", "bob"))
    assert registry.names() == ("alice", "bob")
    assert loads == [root.registry]


def test_an_update_is_written_to_profile_and_registry(root: Root, registry: Registry) -> None:
    alice = peer(registry, "alice")
    changed = registry.update(alice.model_copy(update={"description": "reviews"}))
    assert changed.description == "reviews"
    assert Registry(root).get("alice") == load_profile(alice.cwd) == changed
    with pytest.raises(NotRegistered, match="nearest: alice"):
        registry.update(alice.model_copy(update={"name": "alicia"}))
    with pytest.raises(DirectoryTaken):
        registry.update(alice.model_copy(update={"cwd": Path("/elsewhere")}))


def test_a_removed_peer_stays_removed_and_loses_nothing(root: Root, registry: Registry, tmp_path: Path) -> None:
    alice, bob = peer(registry, "alice"), peer(registry, "bob", cwd=tmp_path)
    (alice.cwd / "work.txt").write_text("precious")
    for gone in (alice, bob):
        assert registry.remove(gone.name) == gone
        with pytest.raises(NotRegistered):
            registry.remove(gone.name)
        assert gone.path.with_name("profile.json.removed").exists()
    assert registry.rebuild().names == ()
    assert (alice.cwd / "work.txt").read_text() == "precious"
    assert not (root.peers / "bob").is_symlink()
    assert peer(registry, "alice").cwd == alice.cwd
    assert peer(registry, "bob", cwd=tmp_path).cwd == bob.cwd
    assert registry.verify() == ()


def test_a_peer_whose_directory_is_gone_can_be_removed(registry: Registry) -> None:
    alice = peer(registry, "alice")
    shutil.rmtree(alice.cwd)
    assert registry.get("alice") == alice
    registry.remove("alice")
    assert registry.verify() == ()


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_registry_is_answered_from_the_last_good_copy(root: Root, registry: Registry, damage: str) -> None:
    alice = peer(registry, "alice")
    root.registry.write_text(damage)
    shutil.move(alice.path, alice.path.with_name("away"))
    assert registry.get("alice") == alice
    assert registry.problem is not None
    assert "peerwake verify --fix" in registry.problem
    shutil.move(alice.path.with_name("away"), alice.path)
    registry.rebuild()
    assert registry.problem is None


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_registry_is_read_from_the_profiles_never_written_and_rebuilt(
    root: Root, registry: Registry, damage: str, tmp_path: Path
) -> None:
    alice, bob = peer(registry, "alice"), peer(registry, "bob", cwd=tmp_path)
    root.registry.write_text(damage)
    fresh = Registry(root)
    assert (fresh.get("alice"), fresh.get("bob")) == (alice, bob)
    assert fresh.problem is not None
    writes: list[Callable[[], object]] = [
        lambda: peer(fresh, "carol"),
        lambda: fresh.update(alice),
        lambda: fresh.remove("alice"),
    ]
    for write in writes:
        with pytest.raises(RegistryCorrupt, match="verify --fix"):
            write()
    assert root.registry.read_text() == damage
    assert not (root.peers / "carol").exists()
    assert [problem.kind for problem in fresh.verify()] == ["registry"]
    report = fresh.rebuild()
    assert report.names == ("alice", "bob")
    assert report.kept_aside is not None
    assert report.kept_aside.read_text() == damage
    assert report.kept_aside.name.startswith("peers.json.corrupt-")
    assert (fresh.problem, fresh.verify()) == (None, ())
    assert peer(fresh, "carol")


def test_a_registry_that_is_no_file_is_damage(root: Root, registry: Registry) -> None:
    peer(registry, "alice")
    root.registry.unlink()
    root.registry.mkdir()
    assert Registry(root).names() == ("alice",)
    with pytest.raises(RegistryCorrupt, match="not a regular file"):
        peer(Registry(root), "bob")
    assert Registry(root).rebuild().names == ("alice",)


def test_a_lost_registry_is_read_from_the_profiles_and_written_by_the_next_change(
    root: Root, registry: Registry
) -> None:
    peer(registry, "alice")
    root.registry.unlink()
    fresh = Registry(root)
    for seen in (registry, fresh):
        assert seen.names() == ("alice",)
        assert seen.problem is not None
    assert [problem.kind for problem in fresh.verify()] == ["registry"]
    peer(fresh, "bob")
    assert fresh.problem is None
    assert Registry(root).names() == ("alice", "bob")


def test_a_newer_registry_is_refused_and_kept(root: Root, registry: Registry) -> None:
    peer(registry, "alice")
    newer = json.dumps({"version": 2, "members": {}})
    root.registry.write_text(newer)
    fresh = Registry(root)
    reads: list[Callable[[], object]] = [lambda: fresh.get("alice"), fresh.names, lambda: fresh.problem]
    writes: list[Callable[[], object]] = [lambda: peer(registry, "bob"), registry.rebuild, fresh.rebuild]
    for action in (*reads, *writes):
        with pytest.raises(RegistryNewer, match="version 2 is newer than 1"):
            action()
    assert registry.names() == ("alice",)
    assert registry.problem is not None
    assert "upgrade" in registry.problem
    assert root.registry.read_text() == newer


def test_another_layout_of_the_same_json_is_read(root: Root, registry: Registry) -> None:
    alice = peer(registry, "alice")
    root.registry.write_text(json.dumps(json.loads(root.registry.read_text()), indent=4))
    fresh = Registry(root)
    assert (fresh.get("alice"), fresh.problem) == (alice, None)


def test_a_full_disk_changes_nothing(root: Root, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = peer(registry, "alice")
    before = root.registry.read_bytes()
    real = files.replace

    def fail(source: Path, target: Path) -> None:
        if target == root.registry:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(files, "replace", fail)
    with pytest.raises(RegistryUnwritable, match="No space left"):
        peer(registry, "bob")
    assert not (root.peers / "bob").exists()
    assert root.registry.read_bytes() == before
    assert registry.names() == ("alice",)
    monkeypatch.undo()
    assert peer(registry, "bob")
    assert registry.get("alice") == alice


def test_a_held_lock_is_reported_in_time_and_freed_by_the_kernel(root: Root, registry: Registry) -> None:
    impatient = Registry(root, lock_seconds=0.2)
    argv = [sys.executable, "-c", HOLDER, str(root.home)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RegistryBusy, match="nothing was changed, try again") as caught:
            peer(impatient, "alice")
        assert caught.value.code == "registry-busy"
        assert not (root.peers / "alice").exists()
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        assert peer(impatient, "alice")
    assert root.registry_lock.stat().st_mode & 0o777 == 0o600


def test_a_rebuild_finds_peers_elsewhere_and_skips_what_it_cannot_read(
    root: Root, registry: Registry, tmp_path: Path
) -> None:
    alice, bob = peer(registry, "alice"), peer(registry, "bob", cwd=tmp_path)
    broken, newer = peer(registry, "broken"), peer(registry, "newer")
    broken.path.write_text("{")
    newer.path.write_text('{"version": 9}')
    (root.peers / "dangling").symlink_to(root.home / "nowhere")
    (root.peers / "Not A Name").mkdir()
    (root.peers / "empty").mkdir()
    (root.peers / "file").write_text("x")
    root.registry.unlink()
    report = Registry(root).rebuild()
    assert report.names == ("alice", "bob")
    reasons = {skipped.name: skipped.reason for skipped in report.skipped}
    assert reasons.keys() == {"broken", "newer", "dangling", "Not A Name", "empty", "file"}
    assert str(broken.path) in reasons["broken"]
    assert "version 9" in reasons["newer"]
    assert "leads nowhere" in reasons["dangling"]
    assert broken.path.read_text() == "{"
    assert newer.path.read_text() == '{"version": 9}'
    assert (registry.get("alice"), registry.get("bob")) == (alice, bob)


def test_a_rebuild_reports_what_it_adds_and_drops_and_mends_lost_entries(
    root: Root, registry: Registry, tmp_path: Path
) -> None:
    peer(registry, "gone")
    bob = peer(registry, "bob", cwd=tmp_path)
    shutil.rmtree(root.peers / "gone")
    (root.peers / "bob").unlink()
    found = registry.default_directory("found")
    found.mkdir()
    save_profile(bob.model_copy(update={"name": "found", "cwd": found}))
    report = registry.rebuild()
    assert (report.added, report.dropped, report.kept_aside) == (("found",), ("gone",), None)
    assert registry.names() == ("bob", "found")
    assert (root.peers / "bob").resolve() == tmp_path.resolve()
    assert registry.verify() == ()


def test_a_root_that_was_moved_is_mended_by_a_rebuild(root: Root, registry: Registry, tmp_path: Path) -> None:
    peer(registry, "alice")
    peer(registry, "bob", cwd=tmp_path)
    moved = Root(root.home.with_name(root.home.name + "m"))
    root.home.rename(moved.home)
    try:
        report = Registry(moved).rebuild()
        assert report.names == ("alice", "bob")
        alice = load_profile(moved.peers / "alice")
        assert alice.cwd == moved.peers.resolve() / "alice"
        assert Registry(moved).verify() == ()
    finally:
        moved.home.rename(root.home)


def test_a_copy_of_a_peer_is_not_a_second_peer(root: Root, registry: Registry, tmp_path: Path) -> None:
    alice = peer(registry, "alice", cwd=tmp_path)
    (root.peers / "alice").unlink()
    shutil.copytree(tmp_path, root.peers / "alice")
    report = registry.rebuild()
    assert registry.get("alice") == alice
    assert any("in the way" in skipped.reason for skipped in report.skipped)


def test_two_entries_for_one_directory_give_one_peer(root: Root, registry: Registry, tmp_path: Path) -> None:
    peer(registry, "bob", cwd=tmp_path)
    (root.peers / "bobby").symlink_to(tmp_path)
    report = registry.rebuild()
    assert report.names == ("bob",)
    assert [skipped.name for skipped in report.skipped] == ["bobby"]


def test_verify_names_every_disagreement(root: Root, registry: Registry, tmp_path: Path) -> None:
    peers = {name: peer(registry, name) for name in ("gone", "bare", "broken", "other", "edited", "fine")}
    peer(registry, "linked", cwd=tmp_path)
    shutil.rmtree(peers["gone"].cwd)
    peers["bare"].path.unlink()
    peers["broken"].path.write_text("{")
    text = peers["other"].path.read_text()
    peers["other"].path.write_text(text.replace('"other"', '"someone"'))
    save_profile(peers["edited"].model_copy(update={"description": "by hand"}))
    (root.peers / "linked").unlink()
    (root.peers / "dangling").symlink_to("/nowhere/at/all")
    stray = root.peers / "stray"
    stray.mkdir()
    save_profile(peers["fine"].model_copy(update={"name": "stray", "cwd": stray}))
    problems = {(problem.name, problem.kind.value) for problem in registry.verify()}
    assert problems == {
        ("gone", "entry"),
        ("gone", "directory-missing"),
        ("bare", "profile-missing"),
        ("broken", "profile-corrupt"),
        ("other", "name-mismatch"),
        ("edited", "differs"),
        ("linked", "entry"),
        ("dangling", "entry"),
        ("stray", "unregistered"),
    }


def test_peers_are_found_by_name_description_and_runtime(registry: Registry) -> None:
    create(registry, NewPeer(("claude",), name="zoe", description="Reviews Élan code"))
    create(registry, NewPeer(("codex",), name="adam", description="writes; asks zoe"))
    create(registry, NewPeer(("scripted",), name="mia"))

    def found(query: str | None, offset: int = 0, limit: int = 10) -> tuple[list[str], int]:
        profiles, total = registry.page(query, offset, limit)
        return [profile.name for profile in profiles], total

    assert found(None) == found("") == found("  ") == (["adam", "mia", "zoe"], 3)
    assert found("ZOE") == (["zoe", "adam"], 2)
    assert found("élan") == (["zoe"], 1)
    assert found("Codex") == (["adam"], 1)
    assert found("nothing") == ([], 0)
    assert found(None, 1, 1) == (["mia"], 3)
    assert found(None, 9, 5) == ([], 3)
    assert found(None, -1, -1) == ([], 3)


@pytest.mark.parametrize(
    ("wanted", "first"),
    [
        ("alcie", "alice"),
        ("Alice", "alice"),
        ("build", "build-server"),
        ("claude-alice", "alice"),
        ("bilder", "builder"),
    ],
)
def test_the_nearest_names_are_offered(registry: Registry, wanted: str, first: str) -> None:
    for name in ("alice", "bob", "build-server", "builder", "zed"):
        peer(registry, name)
    near = registry.nearest(wanted)
    assert near[0] == first if wanted != "build" else first in near
    assert len(near) <= 3
    assert registry.nearest("qqqq") == registry.nearest("") == ()
    assert len(registry.nearest("b" * 100_000)) <= 3


def test_a_corrupt_or_newer_profile_is_never_overwritten_by_creating(root: Root, registry: Registry) -> None:
    for name, text, error in (("a", "{", CorruptProfile), ("b", '{"version": 2}', NewerProfile)):
        path = profile_path(root.peers / name)
        path.parent.mkdir(parents=True)
        path.write_text(text)
        with pytest.raises(error):
            peer(registry, name)
        assert path.read_text() == text
    assert registry.names() == ()


def test_what_stands_in_the_way_of_an_entry_is_kept(root: Root, registry: Registry, tmp_path: Path) -> None:
    (root.peers / "alice").mkdir()
    (root.peers / "alice" / "work").write_text("precious")
    with pytest.raises(NameTaken, match="in the way"):
        peer(registry, "alice", cwd=tmp_path)
    assert not profile_path(tmp_path).exists()
    assert not profile_path(tmp_path).parent.exists()
    assert (root.peers / "alice" / "work").read_text() == "precious"
    (root.peers / "bob").symlink_to("/nowhere/at/all")
    assert peer(registry, "bob", cwd=tmp_path)
    assert (root.peers / "bob").resolve() == tmp_path.resolve()


def test_adding_is_all_or_nothing(root: Root, registry: Registry) -> None:
    alice = peer(registry, "alice")
    two = [
        alice.model_copy(update={"name": name, "cwd": registry.default_directory(name)}) for name in ("bob", "carol")
    ]
    with pytest.raises(NameTaken):
        registry.add(*two, alice)
    assert registry.names() == ("alice",)
    assert not (root.peers / "bob").exists()
    registry.add(*two)
    assert registry.names() == ("alice", "bob", "carol")
    with pytest.raises(InvalidInput, match="real path"):
        registry.add(alice.model_copy(update={"name": "dave", "cwd": root.home / "missing"}))
    assert sorted(os.listdir(root.peers)) == ["alice", "bob", "carol"]


def test_a_renamed_peer_is_found_under_its_new_name_only(root: Root, registry: Registry) -> None:
    alice = peer(registry, "alice")
    peer(registry, "bob")
    before, after = Place("alice", alice.cwd), Place("alicia", root.peers / "alicia")
    renamed = registry.rename(before, after)
    assert registry.rename(before, after) == renamed
    assert registry.names() == Registry(root).names() == ("alicia", "bob")
    assert registry.nearest("alice") == ("alicia",)
    assert registry.verify() == ()
    registry.rename(after, before)
    assert registry.get("alice") == alice
    assert registry.verify() == ()


def test_a_rename_takes_nobodys_name_or_directory(root: Root, registry: Registry) -> None:
    alice, bob = peer(registry, "alice"), peer(registry, "bob")
    for taken in (Place("bob", root.peers / "carol"), Place("carol", bob.cwd)):
        with pytest.raises((NameTaken, DirectoryTaken)):
            registry.rename(Place("alice", alice.cwd), taken)
    assert (registry.get("alice"), registry.get("bob")) == (alice, bob)
    assert registry.verify() == ()


def test_what_is_left_of_a_removed_peer_is_no_problem_and_comes_back_only_when_made_again(
    root: Root, registry: Registry
) -> None:
    alice = peer(registry, "alice")
    peer(registry, "bob")
    registry.remove("alice")
    assert registry.verify() == ()
    assert registry.rebuild().skipped == ()
    assert registry.names() == ("bob",)
    root.registry.unlink()
    assert Registry(root).names() == ("bob",)
    assert peer(registry, "alice").cwd == alice.cwd


@pytest.mark.parametrize("link", [".peerwake", "."])
def test_a_link_to_another_peers_profile_is_not_followed_by_a_removal(registry: Registry, link: str) -> None:
    alice, bob = peer(registry, "alice"), peer(registry, "bob")
    shutil.rmtree(alice.cwd / link)
    (alice.cwd / link).symlink_to(bob.cwd / link)
    registry.remove("alice")
    assert load_profile(bob.cwd) == bob
    assert registry.rebuild().names == ("bob",)
