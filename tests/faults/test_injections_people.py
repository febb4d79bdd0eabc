"""A person at an agent's terminal in the middle of a delivery, looked at closely."""

from random import Random

import pytest

from tests.faults.injections.arena import Arena, arena
from tests.faults.injections.person import Typist, attach
from tests.faults.injections.visitor import renamed
from tests.live.world import until

pytestmark = pytest.mark.live


def typist(here: Arena, text: str) -> Typist:
    """Have somebody attach and type a draft whole."""
    person = attach(here.alice)
    assert person is not None
    writer = Typist(here.field, here.alice, person, Random(1), text)
    writer.begin()
    until(lambda: here.alice.composer() == text, 10, "the draft in the input line")
    writer.finish()
    return writer


def test_a_draft_holds_messages_until_it_is_deleted_and_is_in_none_of_them() -> None:
    with arena() as here:
        writer = typist(here, "draftabc")
        here.field.expects.draft("scripted-alice", "draftabc")
        answer = here.send("waits", 1)
        assert (answer["status"], answer["reason"]) == ("queued", "draft")
        assert here.alice.composer() == "draftabc"
        assert here.taken() == here.accepted[:1]
        writer.delete()
        here.settle()


def test_a_prompt_of_a_person_is_a_prompt_of_its_own() -> None:
    with arena() as here:
        writer = typist(here, "minemine")
        here.send("waits")
        writer.submit()
        here.settle()
        assert "minemine" in here.world.prompts("alice")


def test_a_person_who_types_on_and_on_is_never_interrupted() -> None:
    """Each key at another moment of the attempts that go on meanwhile; messages come before and after."""
    with arena() as here:
        for number in range(5):
            here.send(f"before {number}")
        writer = typist(here, "w" * 40)
        here.field.expects.draft("scripted-alice", "w" * 5)
        for number in range(5):
            here.send(f"during {number}")
        assert here.alice.composer() == "w" * 40
        writer.delete()
        here.settle()


def test_a_renamed_session_is_neither_gone_nor_started_again() -> None:
    """The server comes anew to a session that a person has given another name."""
    with arena() as here:
        before = here.alice
        (server,) = here.world.servers
        server.kill()
        server.wait()
        heal = renamed(before, Random(1))
        assert heal is not None
        again = here.world.start_server()
        until(lambda: here.world.server_pid() == again.pid, 60, "the next server")
        answer = here.send("waits", 5)
        assert here.alice == before and before.is_there(), here.told()
        if answer["status"] != "delivered":
            heal()
        here.settle()
        assert here.alice == before
