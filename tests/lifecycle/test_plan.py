"""What a start is made of: flags obeyed once, obstacles seen before the client is started."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from lifecycle.flags import Flag
from lifecycle.plan import Plan, Planner
from lifecycle.renewal import Renewal, Renewals
from lifecycle.runtimes.base import CannotResume, Runtime
from lifecycle.session import Session
from lifecycle.states import End, Mode
from tests.lifecycle.workshop import Workshop, workshop
from transport.identity import Identity
from transport.paths import Root
from transport.profile import Profile

ALICE = Identity("scripted", "alice")


@pytest.fixture
async def shop(root: Root) -> AsyncIterator[Workshop]:
    async with workshop(root) as built:
        built.peer()
        yield built


def profile(shop: Workshop) -> Profile:
    found = shop.parts.application.registry.get("alice")
    assert found is not None
    return found


def planner(shop: Workshop) -> Planner:
    return shop.deck.waker.planner


def planned(
    shop: Workshop, asked: Mode | None = None, topic: str | None = "release", runtime: Runtime | None = None
) -> Plan:
    return planner(shop).plan(profile(shop), runtime or shop.parts.table.get("scripted"), asked, topic)


def obey(shop: Workshop, plan: Plan) -> None:
    """A session that was started as planned was told what comes first."""
    session = Session(ALICE, "here", "me", "/tmp", "f2", 2.0, Mode.FRESH, "s2", obeys=dict(plan.obeyed))
    planner(shop).consume(session)


def ended(shop: Workshop, end: End | None = End.IDLE, *, transcript: bool = True) -> Session:
    """Leave the record of a session that is over."""
    session = Session(
        identity=ALICE,
        host="here",
        tenant_id="me",
        cwd=str(profile(shop).cwd),
        fence="f1",
        woke_at=1.0,
        mode=Mode.FRESH,
        session_id="s1",
        session_ref="s1",
        end=end,
        topics=("release",),
    )
    shop.deck.sessions.save(session)
    shop.deck.sessions.retire(session)
    if transcript:
        path = profile(shop).cwd / ".peerwake/runtimes/scripted/s1.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"type": "user", "text": "hello"}\n')
    return session


async def test_an_old_topic_after_an_idle_reap_resumes_with_its_topics(shop: Workshop) -> None:
    ended(shop)
    plan = planned(shop)
    assert (plan.start.mode, plan.start.reference, plan.topics) == (Mode.RESUME, "s1", ("release",))
    assert planned(shop, topic="news").start.mode is Mode.FRESH
    assert planned(shop, topic="news").topics == ()


async def test_a_conversation_that_is_gone_is_seen_before_the_client_starts(shop: Workshop) -> None:
    ended(shop, transcript=False)
    start = planned(shop).start
    assert start.mode is Mode.FRESH and start.obstacle is not None and "is not there" in start.obstacle
    with pytest.raises(CannotResume, match="s1 is not there"):
        planned(shop, Mode.RESUME)


async def test_a_runtime_that_cannot_resume(shop: Workshop) -> None:
    ended(shop)
    short = shop.parts.table.get("scripted").model_copy(update={"resume_argv": ()})
    assert planned(shop, runtime=short).start.reason == "cannot-resume"


async def test_flags_are_obeyed_once(shop: Workshop) -> None:
    ended(shop)
    Renewals(shop.root).set(ALICE, Renewal(None, "begin"))
    shop.deck.flags.set(ALICE, Flag.REFRESH)
    plan = planned(shop, Mode.RESUME)
    assert (plan.start.mode, plan.start.reason, plan.seed) == (Mode.FRESH, "new", "begin")
    obey(shop, plan)
    assert planned(shop).start.mode is Mode.RESUME


async def test_a_wish_that_comes_during_a_launch_is_the_next_one(shop: Workshop) -> None:
    ended(shop)
    plan = planned(shop)
    assert plan.start.mode is Mode.RESUME
    shop.deck.flags.set(ALICE, Flag.REFRESH)
    obey(shop, plan)
    plan = planned(shop)
    assert plan.start.reason == "refresh"
    shop.deck.flags.set(ALICE, Flag.REFRESH)
    shop.root.flag(ALICE, Flag.NEW).write_text("do this first")
    obey(shop, plan)
    assert shop.deck.flags.is_set(ALICE, Flag.REFRESH)
    plan = planned(shop)
    assert (plan.start.reason, plan.seed) == ("new", "do this first")
    shop.root.flag(ALICE, Flag.NEW).write_text("no, this")
    obey(shop, plan)
    assert not shop.deck.flags.is_set(ALICE, Flag.REFRESH)
    assert planned(shop).seed == "no, this"


async def test_damaged_files_keep_nobody_from_starting(shop: Workshop) -> None:
    ended(shop)
    shop.root.flag(ALICE, "last").write_text("{")
    shop.root.flag(ALICE, Flag.NEW).symlink_to("/nowhere")
    plan = planned(shop)
    assert plan.start.mode is Mode.FRESH
    assert "last-unreadable" in shop.log() and "seed-unreadable" in shop.log()
    obey(shop, plan)
    assert not shop.deck.flags.is_set(ALICE, Flag.NEW)


async def test_a_record_of_before_there_were_ends_and_topics(shop: Workshop) -> None:
    session = ended(shop, None)
    assert replace(session, end=None, topics=()).end is None
    path = shop.root.flag(ALICE, "last")
    text = path.read_text()
    for name in ('"end": null', '"seed": null'):
        assert f" {name},\n" in text
        text = text.replace(f" {name},\n", "")
    path.write_text(text)
    assert planned(shop).start.reason == "crash"
