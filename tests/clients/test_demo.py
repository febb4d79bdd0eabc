"""`scripts/demo claude` and `scripts/demo codex`, with the real client and a scripted model."""

import os
import sys

import anyio
import pytest

from tests.clients.harness import TOP, VARIABLE, ClientWorld
from tests.model_server import Call, Rule, Say

pytestmark = pytest.mark.clients


@pytest.mark.parametrize("client", ["claude", "codex"])
async def test_the_demo_does_the_same_with_a_real_client(client: str) -> None:
    answer = Call("send_to_peer", {"personality": "bob", "message": "All green."})
    async with ClientWorld([Rule("status of the build", answer, Say("done"))]) as world:
        path = os.pathsep.join([os.environ[VARIABLE], world.environ.get("PATH", os.defpath)])
        env = {**world.environ, "PATH": path, "PYTHONPATH": str(TOP)}
        with anyio.fail_after(150):
            done = await anyio.run_process([sys.executable, str(TOP / "scripts/demo.py"), client], env=env, check=False)
    output = done.stdout.decode()
    assert done.returncode == 0, output + done.stderr.decode()
    assert f"delivered to alice ({client}), woken for it" in output
    assert "All green." in output.partition("what bob read")[2]
