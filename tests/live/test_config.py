"""Settings of a real server: what it runs with, and what it refuses to start with."""

import pytest

from tests.live.world import World

pytestmark = pytest.mark.live


def test_a_running_server_says_which_of_its_settings_are_not_those_of_the_file_any_more(world: World) -> None:
    server = world.serve("--no-tcp")
    assert world.run("config").stderr == ""
    with world.root.config.open("a") as config:
        config.write("attempts = 7\n")
    told = world.run("config", "attempts").stderr
    assert f"the running server (pid {server.pid}) has attempts = 5 (default), not 7 ({world.root.config}:3)" in told
    assert world.json("config")["running"] == {
        "pid": server.pid,
        "differs": [
            {"name": "attempts", "value": 5, "source": None, "here": 7, "here_source": f"{world.root.config}:3"},
        ],
    }
    server.terminate()
    assert server.wait(15) == 0
    assert world.run("config").stderr == ""


def test_a_server_does_not_start_with_settings_that_cannot_be_used_and_names_them_all(world: World) -> None:
    world.root.config.write_text("tcp = false\nattempts = 0\nprot = 1\n")
    refused = world.run("serve", env={"PEERWAKE_TICK_SECONDS": "soon"})
    assert refused.returncode == 1
    for part in (
        "3 settings cannot be used",
        f"{world.root.config}:2: attempts = 0",
        "'port'",
        "PEERWAKE_TICK_SECONDS",
    ):
        assert part in refused.stderr
    assert not world.root.discovery.exists()


def test_an_unknown_variable_keeps_no_server_from_starting_and_is_told_there_and_by_doctor(world: World) -> None:
    world.extra["PEERWAKE_ATTEMPS"] = "3"
    world.serve()
    for text in (world.log("server"), world.run("doctor").stdout):
        assert "PEERWAKE_ATTEMPS: there is no such setting (did you mean 'PEERWAKE_ATTEMPTS'?)" in text
