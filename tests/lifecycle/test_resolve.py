"""From a name to an identity, and the token bucket."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.flags import Flag
from lifecycle.limits import Limits
from lifecycle.requests import CrashLooping, PeerStopped, RateLimited, SelfSend, UndeclaredRuntime, UnknownPeer
from lifecycle.resolve import RateLimit
from tests.lifecycle.stage import ALICE, BOB, Scene, scene
from transport.errors import InvalidInput
from transport.identity import Identity
from transport.paths import Root
from transport.vocabulary import Hold


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    async with scene(root) as built:
        built.peer("carol", runtimes=("claude", "codex"), default_runtime="codex")
        yield built


async def test_a_name_is_its_default_presence_or_the_one_asked_for(stage: Scene) -> None:
    resolver = stage.deck.resolver
    assert resolver.identity("carol", None)[1] == Identity("codex", "carol")
    assert resolver.identity("carol", "claude")[1] == Identity("claude", "carol")
    assert resolver.declared(Identity("claude", "carol")).name == "carol"


async def test_unknown_names_and_runtimes_come_with_the_nearest(stage: Scene) -> None:
    resolver = stage.deck.resolver
    with pytest.raises(UnknownPeer, match=r"no peer 'caro'; did you mean carol"):
        resolver.profile("caro")
    with pytest.raises(UnknownPeer, match="list_peers shows"):
        resolver.profile("zzzzzzzz")
    with pytest.raises(UndeclaredRuntime, match="it has claude"):
        resolver.identity("carol", "claud")
    with pytest.raises(UndeclaredRuntime, match="it has claude, codex"):
        resolver.identity("carol", "")
    with pytest.raises(UndeclaredRuntime):
        resolver.declared(Identity("scripted", "carol"))
    with pytest.raises(InvalidInput):
        resolver.profile("../etc")


async def test_stopped_goes_before_crash_looping_and_both_say_how_to_go_on(stage: Scene) -> None:
    resolver, flags = stage.deck.resolver, stage.deck.flags
    assert resolver.unwakeable(ALICE) is None
    resolver.refuse_unwakeable(ALICE)
    flags.set(ALICE, Flag.FAILED, "3 deaths in 300 s")
    assert resolver.unwakeable(ALICE) is Hold.CRASH_LOOPING
    with pytest.raises(CrashLooping, match=r"3 deaths in 300 s.*peerwake start alice"):
        resolver.refuse_unwakeable(ALICE)
    flags.set(ALICE, Flag.STOPPED)
    with pytest.raises(PeerStopped, match="peerwake start alice"):
        resolver.refuse_unwakeable(ALICE)
    resolver.refuse_unwakeable(BOB)


async def test_nobody_writes_to_himself_in_whatever_runtime(stage: Scene) -> None:
    with pytest.raises(SelfSend):
        stage.deck.resolver.refuse_self(Identity("claude", "carol"), Identity("codex", "carol"))
    stage.deck.resolver.refuse_self(ALICE, BOB)


@given(st.integers(1, 50), st.lists(st.floats(0, 200), max_size=80))
def test_no_window_sees_more_than_a_burst_and_what_flows_in(per_minute: int, gaps: list[float]) -> None:
    now, taken = [0.0], []
    rate = RateLimit(Limits(sends_per_minute=per_minute), lambda: now[0])
    for gap in gaps:
        now[0] += gap
        try:
            rate.take(ALICE)
            taken.append(now[0])
        except RateLimited as error:
            wait = float(str(error).rpartition(" in ")[2].removesuffix(" s"))
            assert 0.1 <= wait <= 60 / per_minute + 0.1
    for start in range(len(taken)):
        for end in range(start, len(taken)):
            assert end - start + 1 <= per_minute + (taken[end] - taken[start]) * per_minute / 60 + 1e-6


@given(st.integers(1, 1000))
def test_after_the_wait_it_says_one_is_let_through(per_minute: int) -> None:
    now = [0.0]
    rate = RateLimit(Limits(sends_per_minute=per_minute), lambda: now[0])
    with pytest.raises(RateLimited) as refused:
        for _ in range(per_minute + 1):
            rate.take(ALICE)
    rate.take(BOB)
    now[0] += float(str(refused.value).rpartition(" in ")[2].removesuffix(" s")) + 0.05
    rate.take(ALICE)
