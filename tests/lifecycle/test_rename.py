"""A rename moves everything or nothing, wherever it is cut off, and refuses what it cannot do."""

from pathlib import Path

import pytest

from lifecycle.journal import Journal, Phase, Renaming
from lifecycle.liveness import PeerLive
from lifecycle.rename import Renamer, RenameStuck
from lifecycle.session import Session, Sessions, SessionUnreadable
from lifecycle.states import Mode
from tests.lifecycle.cutoffs import NEW, OLD, Stage, cut_off
from tests.lifecycle.workshop import me
from transport import files
from transport.create import NewPeer, create
from transport.errors import InvalidInput
from transport.identity import Identity
from transport.paths import Root, RootUnusable
from transport.profile import CorruptProfile, Profile
from transport.registry import Registry
from transport.relocate import Place
from transport.settle import NameTaken, PeersBelow
from transport.spool.faults import SpoolUncertain
from transport.spool.records import MessageSettled
from transport.spool.store import SpoolStore

CLAUDE = Identity("claude", OLD)


@pytest.fixture
def stage(root: Root) -> Stage:
    found = Stage(root.home, is_elsewhere=False)
    found.build()
    return found


def profile(stage: Stage, name: str = OLD) -> Profile:
    found = stage.registry.get(name)
    assert found is not None
    return found


@pytest.mark.parametrize("where", ["own", "elsewhere"])
@pytest.mark.parametrize("how", ["kill", "fail"])
def test_cut_off_at_every_step_it_is_whole_afterwards(root: Root, how: str, where: str) -> None:
    assert cut_off("rename", how, root, where) == {OLD, NEW}


def test_everything_goes_with_the_name(stage: Stage) -> None:
    renamed = stage.renamer.carry_out(stage.renamer.check(profile(stage), NEW))
    assert (renamed.before.name, renamed.after.name, renamed.messages) == (OLD, NEW, 2)
    assert renamed.after.cwd == stage.root.peers / NEW
    assert stage.outcome() == NEW
    assert renamed.notes == (f"its directory is now {stage.root.peers / NEW}",)


def test_a_directory_of_ones_own_stays(root: Root) -> None:
    stage = Stage(root.home, is_elsewhere=True)
    stage.build()
    renamed = stage.renamer.carry_out(stage.renamer.check(profile(stage), NEW))
    assert renamed.notes == (f"its directory {stage.cwd(NEW)} keeps its name",)
    assert stage.outcome() == NEW
    assert stage.registry.at(stage.cwd(NEW)) == profile(stage, NEW)


def test_renaming_back_is_as_good_as_never(stage: Stage) -> None:
    before = profile(stage)
    stage.renamer.carry_out(stage.renamer.check(before, NEW))
    stage.renamer.carry_out(stage.renamer.check(profile(stage, NEW), OLD))
    assert profile(stage) == before
    assert stage.outcome() == OLD


def test_files_that_name_the_old_directory_are_named(stage: Stage) -> None:
    path = profile(stage).cwd / ".peerwake/runtimes/claude/launch.env"
    path.parent.mkdir(parents=True)
    path.write_text(f"CODEX_HOME={profile(stage).cwd}/codex\n")
    renamed = stage.renamer.carry_out(stage.renamer.check(profile(stage), NEW))
    now = stage.root.peers / NEW / ".peerwake/runtimes/claude/launch.env"
    assert f"{now} names {stage.root.peers / OLD}; edit it" in renamed.notes


def test_variables_of_the_last_session_follow_the_directory(stage: Stage) -> None:
    sessions = Sessions(stage.root)
    last = sessions.last(CLAUDE)
    assert last is not None
    inside = {"CLAUDE_CONFIG_DIR": f"{profile(stage).cwd}/config", "HOME": "/home/me"}
    sessions.save(Session(CLAUDE, "here", "me", last.cwd, "f2", 2.0, Mode.FRESH, "two", client_env=inside))
    stage.renamer.carry_out(stage.renamer.check(profile(stage), NEW))
    record = sessions.load(Identity("claude", NEW))
    assert record is not None
    assert record.client_env == {"CLAUDE_CONFIG_DIR": f"{stage.root.peers / NEW}/config", "HOME": "/home/me"}


@pytest.mark.parametrize("name", ["", "Alicia", "2alice", "a" * 33, "../x", "operator", OLD])
def test_a_name_that_cannot_be_is_refused(stage: Stage, name: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        stage.renamer.check(profile(stage), name)
    assert refusal.value.field == "new_name"
    assert stage.outcome() == OLD


def test_a_taken_name_is_refused(stage: Stage) -> None:
    with pytest.raises(NameTaken, match="it lives in"):
        stage.renamer.check(profile(stage), "bob")
    (stage.root.peers / NEW).mkdir()
    with pytest.raises(NameTaken, match="in the way"):
        stage.renamer.check(profile(stage), NEW)


def test_a_directory_below_which_another_peer_lives_is_not_moved(stage: Stage) -> None:
    alice = profile(stage)
    change = stage.renamer.check(alice, NEW)
    (alice.cwd / "carol").mkdir()
    carol = create(stage.registry, NewPeer(runtimes=("claude",), cwd=alice.cwd / "carol"))
    refused = f"carol lives below {alice.cwd}, .* nothing was changed"
    with pytest.raises(PeersBelow, match=refused):
        stage.renamer.check(alice, NEW)
    with pytest.raises(PeersBelow, match=refused):
        stage.renamer.carry_out(change)
    assert stage.registry.get("carol") == carol and carol.path.exists()
    stage.registry.remove("carol")
    assert stage.outcome() == OLD


def test_a_directory_that_stays_may_have_other_peers_below(root: Root) -> None:
    stage = Stage(root.home, is_elsewhere=True)
    stage.build()
    (stage.cwd(OLD) / "carol").mkdir()
    carol = create(stage.registry, NewPeer(runtimes=("claude",), cwd=stage.cwd(OLD) / "carol"))
    stage.renamer.carry_out(stage.renamer.check(profile(stage), NEW))
    assert stage.registry.get("carol") == carol and carol.path.exists()


@pytest.mark.parametrize("name", [OLD, NEW])
def test_a_live_session_under_either_name_refuses(stage: Stage, name: str) -> None:
    identity = Identity("claude", name)
    Sessions(stage.root).save(Session(identity, "here", "me", "/", "f", 1.0, Mode.FRESH, "id", tmux=me()))
    with pytest.raises(PeerLive, match=f"peerwake stop {name}"):
        stage.renamer.check(profile(stage), NEW)


def test_what_cannot_be_read_is_not_moved(stage: Stage) -> None:
    record = Sessions(stage.root).path(CLAUDE)
    record.write_text("{")
    with pytest.raises(SessionUnreadable):
        stage.renamer.check(profile(stage), NEW)
    record.unlink()
    profile(stage).path.write_text("{")
    with pytest.raises(CorruptProfile):
        stage.renamer.check(profile(stage), NEW)


def test_a_message_on_its_way_refuses(stage: Stage) -> None:
    with SpoolStore(stage.root.spool) as store:
        store.lease(CLAUDE, "fence", stage.clock.wall())
    with pytest.raises(MessageSettled, match="is being delivered"):
        stage.renamer.check(profile(stage), NEW)


def test_a_former_peer_of_the_new_name_leaves_it_nothing(stage: Stage) -> None:
    create(stage.registry, NewPeer(runtimes=("claude",), name=NEW))
    former = Identity("claude", NEW)
    stage.root.flag(former, "refresh").write_text("")
    with SpoolStore(stage.root.spool) as store:
        for _ in range(2):
            store.rename("bob", NEW, stage.clock.wall())
    stage.registry.remove(NEW)
    (stage.root.peers / NEW).rename(stage.root.home / "away")
    renamed = stage.renamer.carry_out(stage.renamer.check(profile(stage), NEW))
    assert len(renamed.buried) == 2
    assert not stage.root.flag(former, "refresh").exists()
    with SpoolStore(stage.root.spool) as store:
        waiting = [lease.message.body for lease in stage.leases(store, former)]
    assert waiting[:2] == ["to 0", "to 1"]
    assert [f"to {NEW} (claude)" in notice for notice in waiting[2:]] == [True, True]


def test_what_cannot_be_taken_back_either_is_kept_for_the_next_start(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.replace

    def fail(source: Path, target: Path) -> None:
        if target == stage.root.registry:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(files, "replace", fail)
    with pytest.raises(RenameStuck, match="could not be taken back"):
        stage.renamer.carry_out(stage.renamer.check(profile(stage), NEW))
    monkeypatch.undo()
    change = Journal(stage.root).load()
    assert isinstance(change, Renaming)
    assert change.phase is Phase.MOVING
    assert stage.renamer.recover(change) is not None
    assert stage.outcome() == NEW


def test_a_step_that_fails_takes_everything_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail(self: SpoolStore, *arguments: object) -> int:
        calls.append(arguments)
        raise OSError(5, "injected")

    monkeypatch.setattr(SpoolStore, "rename", fail)
    with pytest.raises(OSError, match="injected"):
        stage.renamer.carry_out(stage.renamer.check(profile(stage), NEW))
    monkeypatch.undo()
    assert len(calls) == 1
    assert stage.outcome() == OLD


def test_a_queue_of_which_nobody_knows_is_settled_by_the_next_start(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def uncertain(self: SpoolStore, *arguments: object) -> int:
        raise SpoolUncertain("the disk failed during the commit")

    monkeypatch.setattr(SpoolStore, "rename", uncertain)
    with pytest.raises(SpoolUncertain):
        stage.renamer.carry_out(stage.renamer.check(profile(stage), NEW))
    monkeypatch.undo()
    stage.recover()
    assert stage.outcome() == NEW


def test_a_rename_that_cannot_go_on_is_undone_by_the_next_start(stage: Stage) -> None:
    cwd = profile(stage).cwd
    change = stage.renamer.check(profile(stage), NEW)
    Journal(stage.root).write(change)
    (stage.root.peers / NEW).mkdir()
    assert stage.renamer.recover(change) is None
    (stage.root.peers / NEW).rmdir()
    assert cwd.is_dir()
    assert stage.outcome() == OLD


def test_a_peer_that_lives_under_its_new_name_is_not_moved_again(stage: Stage) -> None:
    """The journal could not be cleared, the peer was woken under its new name, and then somebody recovers."""
    change = stage.renamer.check(profile(stage), NEW)
    stage.renamer.carry_out(change)
    Journal(stage.root).write(change)
    stage.root.flag(CLAUDE, "session").write_text("stale")
    there = Identity("claude", NEW)
    Sessions(stage.root).save(Session(there, "here", "me", "/", "f", 1.0, Mode.FRESH, "id", tmux=me()))
    assert stage.renamer.recover(change) is not None
    record = Sessions(stage.root).load(there)
    assert record is not None
    assert record.fence == "f"
    assert not stage.root.flag(CLAUDE, "session").exists()


def test_a_socket_that_would_be_too_long_is_refused(stage: Stage) -> None:
    long = Root(stage.root.home / ("x" * 40))
    long.prepare()
    registry = Registry(long)
    alice = create(registry, NewPeer(runtimes=("claude",), name=OLD))
    renamer = Renamer(long, registry, stage.renamer.table, stage.clock, stage.renamer.logs)
    with pytest.raises(RootUnusable, match="longer than 100 bytes"):
        renamer.check(alice, "a" * 32)
    assert registry.names() == (OLD,)


def test_the_reverse_of_a_change_is_its_undoing() -> None:
    change = Renaming(Place("a", Path("/a")), Place("b", Path("/b")), ((Path("/1"), Path("/2")),))
    assert change.reverse.reverse == change
    assert change.reverse.moved == (Path("/b"), Path("/a"))
