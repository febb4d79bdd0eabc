"""A removal ends everything of a peer but its files, wherever it is cut off."""

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lifecycle.flags import Flag, Flags
from lifecycle.journal import Journal, Removal
from lifecycle.liveness import PeerLive
from lifecycle.remove import MessagesWaiting, RemovalStuck
from lifecycle.session import Session, Sessions, SessionUnreadable, dump
from lifecycle.states import Mode
from tests.lifecycle.cutoffs import BOB, OLD, Stage, cut_off
from tests.lifecycle.workshop import me
from transport import files
from transport.create import NewPeer, create
from transport.errors import InvalidInput
from transport.identity import Identity
from transport.message import Draft, accept
from transport.paths import Root
from transport.profile import Profile, removed_path
from transport.registry import Registry
from transport.relocate import Place
from transport.retired import Retired
from transport.settle import PeersBelow
from transport.spool.records import Accepted
from transport.spool.store import SpoolStore

CLAUDE = Identity("claude", OLD)


@pytest.fixture
def stage(root: Root) -> Stage:
    found = Stage(root.home, is_elsewhere=False)
    found.build()
    return found


def profile(stage: Stage) -> Profile:
    found = stage.registry.get(OLD)
    assert found is not None
    return found


@pytest.mark.parametrize("where", ["own", "elsewhere"])
@pytest.mark.parametrize("how", ["kill", "fail"])
def test_cut_off_at_every_step_it_is_finished_afterwards(root: Root, how: str, where: str) -> None:
    assert cut_off("remove", how, root, where) == {OLD, "removed"}


def test_what_waits_becomes_dead_letters_and_the_senders_are_told(stage: Stage) -> None:
    stage.remove()
    assert stage.outcome() == "removed"
    with SpoolStore(stage.root.spool) as store:
        told = [lease.message for lease in stage.leases(store, BOB)]
        dead = store.dead(CLAUDE)
    assert [each.body for each in told[:2]] == ["from 0", "from 1"]
    assert {each.reply_to for each in told[2:]} == {record.message.id for record in dead}
    assert all("alice was removed" in each.body for each in told[2:])
    assert [record.reason for record in dead] == ["alice was removed"] * 2


def test_the_directory_stays_and_a_new_peer_may_have_it(stage: Stage) -> None:
    cwd = profile(stage).cwd
    stage.remove()
    assert removed_path(cwd).exists()
    assert stage.registry.rebuild().names == ("bob",)
    again = create(stage.registry, NewPeer(runtimes=("claude",), name=OLD))
    assert again.cwd == cwd
    with SpoolStore(stage.root.spool) as store:
        assert store.depth(CLAUDE) == 0
    assert Sessions(stage.root).last(CLAUDE) is None
    assert stage.registry.verify() == ()


@pytest.mark.parametrize("is_cut_off", [False, True])
def test_what_it_had_sent_is_not_the_next_peers(stage: Stage, is_cut_off: bool) -> None:
    def nightly(body: str) -> Accepted:
        draft = Draft(body, idempotency_key="nightly")
        return store.enqueue(accept(draft, CLAUDE, BOB, hops=0, now=stage.clock.wall()), cap=10, hop_limit=9)

    with SpoolStore(stage.root.spool) as store:
        first = nightly("of the old one").message
        cut_off_when_unregistered(stage, purge=False) if is_cut_off else stage.remove()
        create(stage.registry, NewPeer(runtimes=("claude",), name=OLD))
        stage.recover()
        second = nightly("of the new one")
        assert not second.duplicate
        assert store.bury(first.id, "poison", stage.clock.wall()).notice is None
        store.lease(BOB, "fence", stage.clock.wall())
        assert store.bury(second.message.id, "poison", stage.clock.wall()).notice is not None
        assert store.depth(CLAUDE) == 1


class CutOff(BaseException):
    """A removal ends here as if its process had been killed."""


def cut_off_when_unregistered(stage: Stage, *, purge: bool) -> None:
    """Remove alice up to the moment in which the registry does not know her any more."""
    whole = Registry.remove

    def remove(self: Registry, name: str, created_at: str | None = None) -> Profile:
        whole(self, name, created_at)
        raise CutOff

    removal = stage.remover.check(profile(stage), force=True, purge=purge)
    stage.remover.begin(removal, force=True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(CutOff):
        patch.setattr(Registry, "remove", remove)
        stage.remover.finish(removal)
    assert Journal(stage.root).load() == removal


def next_alice(stage: Stage) -> Profile:
    """Make another peer of the name, for whom a message waits and whose record of a session there is."""
    alice = create(stage.registry, NewPeer(runtimes=("claude",), name=OLD))
    save_last(stage, "hers")
    with SpoolStore(stage.root.spool) as store:
        store.enqueue(accept(Draft("to her"), BOB, CLAUDE, hops=0, now=stage.clock.wall()), cap=10, hop_limit=9)
    return alice


def save_last(stage: Stage, session_id: str) -> None:
    session = Session(CLAUDE, "here", "me", "/", "f", 1.0, Mode.FRESH, session_id)
    stage.root.flag(CLAUDE, "last").write_text(dump(session))


@pytest.mark.parametrize("purge", [False, True])
def test_a_removal_that_was_cut_off_leaves_the_next_peer_of_the_name_alone(stage: Stage, purge: bool) -> None:
    cut_off_when_unregistered(stage, purge=purge)
    assert sorted(stage.left_of(OLD)) == ["claude-alice.stopped", "codex-alice.stopped"]
    alice = next_alice(stage)
    credentials = Retired(stage.root.home).count(OLD)
    stage.recover()
    assert Journal(stage.root).load() is None
    assert profile(stage) == alice
    assert (alice.cwd / "work.txt").read_text() == "mine"
    last = Sessions(stage.root).last(CLAUDE)
    assert last is not None and last.session_id == "hers"
    assert not any(Flags(stage.root).is_set(each, Flag.STOPPED) for each in alice.identities)
    assert Retired(stage.root.home).count(OLD) == credentials
    with SpoolStore(stage.root.spool) as store:
        assert [lease.message.body for lease in stage.leases(store, CLAUDE)] == ["to her"]


def test_a_stop_of_the_next_peer_is_hers(stage: Stage) -> None:
    cut_off_when_unregistered(stage, purge=False)
    next_alice(stage)
    Flags(stage.root).set(CLAUDE, Flag.STOPPED)
    stage.recover()
    assert Flags(stage.root).is_set(CLAUDE, Flag.STOPPED)


def test_a_peer_that_is_made_during_a_purge_keeps_what_is_hers(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, made = Registry.remove, []

    def remove(self: Registry, name: str, created_at: str | None = None) -> Profile:
        gone = whole(self, name, created_at)
        made.append(next_alice(stage))
        return gone

    removal = stage.remover.check(profile(stage), force=True, purge=True)
    stage.remover.begin(removal, force=True)
    monkeypatch.setattr(Registry, "remove", remove)
    removed = stage.remover.finish(removal)
    assert removed.notes == (f"{removal.place.cwd} is left as it is; peers work there: alice",)
    assert not removed.is_purged
    assert [profile(stage)] == made
    assert (removal.place.cwd / "work.txt").exists()
    assert not Flags(stage.root).is_set(CLAUDE, Flag.STOPPED)
    with SpoolStore(stage.root.spool) as store:
        assert [lease.message.body for lease in stage.leases(store, CLAUDE)] == ["to her"]


def test_whoever_works_in_the_directory_by_now_keeps_it_with_its_configuration(stage: Stage) -> None:
    cwd = profile(stage).cwd
    for purge in (False, True):
        cut_off_when_unregistered(stage, purge=purge)
        carol = create(stage.registry, NewPeer(runtimes=("claude",), name="carol", cwd=cwd))
        stage.configure(cwd)
        stage.recover()
        assert Journal(stage.root).load() is None
        assert stage.registry.at(cwd) == carol
        assert (cwd / ".mcp.json").exists()
        stage.registry.remove("carol")
        create(stage.registry, NewPeer(runtimes=("claude",), name=OLD))


def test_a_directory_that_cannot_be_moved_away_is_told_of_and_holds_nothing_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a mount point, which is busy."""
    cwd, real = profile(stage).cwd, files.replace

    def replace(source: Path, target: Path) -> None:
        if source == cwd:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        real(source, target)

    removal = stage.remover.check(profile(stage), force=True, purge=True)
    stage.remover.begin(removal, force=True)
    monkeypatch.setattr(files, "replace", replace)
    removed = stage.remover.finish(removal)
    note = f"not all of it could be deleted ({os.strerror(errno.EBUSY)}); what is left is in {cwd}"
    assert (removed.notes, removed.is_purged) == ((note,), False)
    assert note in (stage.root.logs / "lifecycle.log").read_text()
    assert Journal(stage.root).load() is None
    assert stage.registry.names() == ("bob",)


@pytest.mark.parametrize("suffix", ["x", "stopped"])
def test_a_directory_among_the_state_files_holds_nothing_up(stage: Stage, suffix: str) -> None:
    strange = stage.root.flag(CLAUDE, suffix)
    strange.unlink(missing_ok=True)
    strange.mkdir()
    stage.remove()
    assert Journal(stage.root).load() is None
    strange.rmdir()
    assert stage.outcome() == "removed"


def test_a_state_file_that_cannot_be_removed_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, real = stage.root.flag(CLAUDE, "last"), os.unlink

    def unlink(path: Path, *arguments: Any, **options: Any) -> None:
        if path == stuck:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        real(path, *arguments, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(RemovalStuck, match=f"{stuck} cannot be removed: .*; mend that, then repeat: peerwake remove"):
        stage.remove()
    monkeypatch.undo()
    stage.recover()
    assert stage.outcome() == "removed"


def test_purged_the_directory_goes_too(stage: Stage) -> None:
    cwd = profile(stage).cwd
    (cwd / "link").symlink_to(stage.root.home / "home")
    removal = stage.remover.check(profile(stage), force=True, purge=True)
    stage.remover.begin(removal, force=True)
    assert stage.remover.finish(removal).notes == ()
    assert sorted(path.name for path in stage.root.peers.iterdir()) == ["bob"]
    assert (stage.root.home / "home").is_dir()
    assert stage.registry.verify() == ()


def test_a_purge_that_was_cut_off_in_the_middle_is_finished(stage: Stage) -> None:
    removal = stage.remover.check(profile(stage), force=True, purge=True)
    stage.remover.begin(removal, force=True)
    stage.remover.finish(removal)
    aside = stage.root.peers / ".alice.removed"
    (aside / "half").mkdir(parents=True)
    stage.remover.begin(removal, force=True)
    stage.remover.finish(removal)
    assert not aside.exists()


def test_nobody_elses_directory_is_deleted(root: Root) -> None:
    stage = Stage(root.home, is_elsewhere=True)
    stage.build()
    with pytest.raises(InvalidInput, match="was not made for alice"):
        stage.remover.check(profile(stage), force=True, purge=True)
    stage.remove()
    assert (stage.cwd(OLD) / "work.txt").exists()
    assert not os.path.lexists(root.peers / OLD)


def test_a_directory_below_which_other_peers_live_is_not_purged(stage: Stage) -> None:
    alice = profile(stage)
    for name in ("carol", "dave"):
        (alice.cwd / "below" / name).mkdir(parents=True)
        create(stage.registry, NewPeer(runtimes=("claude",), cwd=alice.cwd / "below" / name))
    with pytest.raises(PeersBelow, match=f"carol, dave live below {alice.cwd}, .* repeat without --purge"):
        stage.remover.check(alice, force=True, purge=True)
    assert stage.registry.names() == (OLD, "bob", "carol", "dave")
    stage.registry.remove("dave")
    removal = Removal(Place(OLD, alice.cwd), True, alice.created_at)
    stage.remover.begin(removal, force=True)
    assert stage.remover.finish(removal).notes == (f"{alice.cwd} is left as it is; peers work there: carol",)
    assert (alice.cwd / "below" / "carol" / ".peerwake" / "profile.json").exists()
    assert stage.registry.names() == ("bob", "carol")


def test_waiting_messages_refuse_unless_forced(stage: Stage) -> None:
    with pytest.raises(MessagesWaiting, match="2 messages wait for alice"):
        stage.remover.check(profile(stage), force=False, purge=False)
    with SpoolStore(stage.root.spool) as store:
        stage.leases(store, CLAUDE)
    alice = profile(stage)
    expected = Removal(Place(OLD, alice.cwd), created_at=alice.created_at)
    assert stage.remover.check(alice, force=False, purge=False) == expected


@pytest.mark.parametrize("runtime", ["claude", "codex", "scripted"])
def test_a_live_session_refuses_unless_forced(stage: Stage, runtime: str) -> None:
    """Also one of a runtime that the peer does not declare any more."""
    identity = Identity(runtime, OLD)
    Sessions(stage.root).save(Session(identity, "here", "me", "/", "f", 1.0, Mode.FRESH, "id", tmux=me()))
    with pytest.raises(PeerLive, match=f"alice is live \\({identity}\\).*peerwake stop alice, or .* --force"):
        stage.remover.check(profile(stage), force=False, purge=False)
    assert stage.remover.check(profile(stage), force=True, purge=False).name == OLD


def test_an_unreadable_record_refuses_unless_forced(stage: Stage) -> None:
    Sessions(stage.root).path(CLAUDE).write_text("{")
    with pytest.raises(SessionUnreadable):
        stage.remover.check(profile(stage), force=False, purge=False)


def test_configuration_that_cannot_be_changed_keeps_nobody_in_the_registry(stage: Stage) -> None:
    path = profile(stage).cwd / ".mcp.json"
    path.write_text("{")
    removal = stage.remover.check(profile(stage), force=True, purge=False)
    stage.remover.begin(removal, force=True)
    (note,) = stage.remover.finish(removal).notes
    assert str(path) in note
    assert path.read_text() == "{"
    assert stage.registry.names() == ("bob",)


def test_a_peer_whose_directory_is_gone_can_be_removed(stage: Stage) -> None:
    profile(stage).cwd.rename(stage.root.home / "away")
    stage.remove()
    assert stage.registry.names() == ("bob",)
    assert stage.registry.verify() == ()


def test_a_message_that_comes_in_between_refuses_and_leaves_no_flag(stage: Stage) -> None:
    with SpoolStore(stage.root.spool) as store:
        stage.leases(store, CLAUDE)
    Flags(stage.root).clear(CLAUDE, Flag.STOPPED)
    removal = stage.remover.check(profile(stage), force=False, purge=False)
    late = accept(Draft("late"), BOB, CLAUDE, hops=0, now=stage.clock.wall())
    with SpoolStore(stage.root.spool) as store:
        store.enqueue(late, cap=10, hop_limit=9)
    with pytest.raises(MessagesWaiting):
        stage.remover.begin(removal, force=False)
    assert Journal(stage.root).load() is None
    assert not any(Flags(stage.root).is_set(each, Flag.STOPPED) for each in profile(stage).identities)
    Flags(stage.root).set(CLAUDE, Flag.STOPPED)
    with pytest.raises(MessagesWaiting):
        stage.remover.begin(removal, force=False)
    assert Flags(stage.root).is_set(CLAUDE, Flag.STOPPED)


def test_a_session_that_did_not_end_keeps_its_socket_and_its_record(stage: Stage) -> None:
    stage.root.tmux_socket(CLAUDE).write_text("")
    Sessions(stage.root).save(Session(CLAUDE, "here", "me", "/", "f", 1.0, Mode.FRESH, "id", tmux=me()))
    removal = stage.remover.check(profile(stage), force=True, purge=False)
    stage.remover.begin(removal, force=True)
    with pytest.raises(RemovalStuck, match="repeat: peerwake remove alice"):
        stage.remover.finish(removal)
    assert stage.root.tmux_socket(CLAUDE).exists()
    Sessions(stage.root).path(CLAUDE).unlink()
    stage.remover.finish(removal)
    assert stage.outcome() == "removed"


def test_nothing_that_a_peer_put_into_its_directory_keeps_it_in_the_registry(stage: Stage) -> None:
    def withdraw(_: Path) -> tuple[str, ...]:
        raise RecursionError("nobody thought of this")

    removal = stage.remover.check(profile(stage), force=True, purge=False)
    stage.remover.begin(removal, force=True)
    (note,) = replace(stage.remover, withdraw=withdraw).finish(removal).notes
    assert "nobody thought of this" in note
    assert stage.registry.names() == ("bob",)
    assert Journal(stage.root).load() is None
    assert "ev=withdraw-failed" in (stage.root.logs / "lifecycle.log").read_text()
