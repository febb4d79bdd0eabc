"""Each screen that a real client can be brought to show is read as what it is, live."""

import pytest

from tests.clients.harness import ClientWorld
from tests.clients.scenes import RULES, SCENES, Scene

pytestmark = [pytest.mark.clients, pytest.mark.live]


@pytest.mark.parametrize("scene", SCENES, ids=str)
async def test_a_screen_is_read_as_what_it_shows(scene: Scene) -> None:
    async with ClientWorld(RULES) as world:
        world.configure(scene.runtime, "alice")
        begin = world.start if scene.boots else world.launch
        client = await begin(scene.runtime, "alice", argv=scene.argv)
        await scene.play(client)
        reading = await client.until(scene.state, seconds=3)
        if scene.input_text is not None:
            assert reading.input_text == scene.input_text
