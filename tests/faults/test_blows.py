"""Flags that appear from outside: at whom, with what in them, and what is done about them in the end."""

from collections.abc import Callable
from random import Random

import pytest

from tests.faults.blows import BLOWS, NOBODYS_TASK
from tests.faults.fault import Field, NotYet, Peer
from tests.faults.odd_files import FLAGS, ODD_FILES
from tests.live.world import World
from transport.paths import Root

ALICE, WORKER = "scripted-alice", "scripted-worker"
NAMED = {fault.name: fault for fault in (*BLOWS, *ODD_FILES)}
Make = Callable[..., Field]


@pytest.fixture
def field(root: Root) -> Make:
    """Return what makes a field with peers of these policies, which no server runs for."""

    def make(*policies: str) -> Field:
        names = {"warm": "alice", "ephemeral": "worker"}
        peers = [Peer(names[policy], f"scripted-{names[policy]}", policy, root.home) for policy in policies]
        return Field(World(root), peers, lambda text: None)

    return make


def files(of: Field) -> dict[str, str]:
    return {path.name: path.read_text() for path in of.world.root.state.iterdir()}


def test_a_flag_of_a_worker_names_a_task_that_nobody_has(field: Make) -> None:
    here = field("warm", "ephemeral")
    for flag in ("armed", "repeated"):
        heal = NAMED[f"flag .{flag}"].strike(here, Random(1))
        assert heal is not None and heal() is None
        assert NAMED[f"flag .{flag}"].strike(here, Random(1)) is None
    assert files(here) == {f"{WORKER}.armed": NOBODYS_TASK, f"{WORKER}.repeated": f"{NOBODYS_TASK} 1.0"}


@pytest.mark.parametrize(("flag", "is_undone"), [("failed", True), ("stopped", True), ("new", False)])
def test_who_may_not_be_woken_is_started_in_the_end(field: Make, flag: str, is_undone: bool) -> None:
    here = field("warm", "ephemeral")
    heal = NAMED[f"flag .{flag}"].strike(here, Random(1))
    assert heal is not None and [*files(here)] == [f"{ALICE}.{flag}"]
    if is_undone:
        with pytest.raises(NotYet, match="start alice"):
            heal()
    else:
        heal()


@pytest.mark.parametrize("name", ["flag .armed", "flag .repeated"])
def test_where_there_is_no_worker_there_is_nothing_to_strike(field: Make, name: str) -> None:
    assert NAMED[name].strike(field("warm"), Random(1)) is None
    assert NAMED["flag .new"].strike(field("ephemeral"), Random(1)) is None


@pytest.mark.parametrize(("policies", "who"), [(("warm", "ephemeral"), ALICE), (("ephemeral",), WORKER)])
def test_a_worker_is_stopped_only_where_workers_are_struck(field: Make, policies: tuple[str, ...], who: str) -> None:
    here = field(*policies)
    assert NAMED["flag .stopped"].strike(here, Random(1)) is not None
    assert [*files(here)] == [f"{who}.stopped"]


def test_a_flag_is_not_set_through_a_link(field: Make) -> None:
    here = field("warm")
    state = here.world.root.state
    (state / f"{ALICE}.failed").symlink_to(state / "target")
    assert NAMED["flag .failed"].strike(here, Random(1)) is None
    assert not (state / "target").exists()


def test_every_flag_may_be_odd_where_it_means_something(field: Make) -> None:
    here, state = field("warm", "ephemeral"), set()
    for seed in range(60):
        heal = NAMED["garbage in a flag"].strike(here, Random(seed))
        (path,) = here.world.root.state.iterdir()
        assert heal is not None
        state.add(path.name)
        path.unlink()
    whose = {"warm": ALICE, "ephemeral": WORKER}
    assert state == {f"{whose[policy]}.{flag}" for policy, flags in FLAGS.items() for flag in flags}
