"""Texts that a client's composer keeps in another form than they were pasted in arrive all the same."""

import base64
from unicodedata import normalize

import pytest

from tests.clients.checks import all_is_quiet, envelope
from tests.clients.product import Product

pytestmark = [pytest.mark.clients, pytest.mark.live]

BOTH = pytest.mark.parametrize("runtime", ["claude", "codex"])
PICTURE = base64.b64decode(
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
DECOMPOSED = normalize("NFD", "see Résumé Ångström.pdf and 한글 q\u0323\u0307")


@BOTH
async def test_a_body_with_decomposed_accents_is_taken(runtime: str) -> None:
    async with Product() as product:
        await product.create("alice", runtime)
        await product.serve()
        sent = [await product.send("alice", body, "--wait", "60") for body in (DECOMPOSED, f"{DECOMPOSED}\nagain")]
        alice = await product.client("alice")
        await product.takes(alice, [each["message_id"] for each in sent])
        await all_is_quiet(product, alice)


FILED = ("{}", "  {}", '"{}"', "\\{}", "{} {}")
INLINE = ("see {}", "- {}", "{} there")


async def test_the_path_of_a_picture_stays_in_the_message() -> None:
    """Claude attaches a picture whose path is pasted as a line of its own, and takes the line away."""
    async with Product() as product:
        path = product.base / "a.png"
        path.write_bytes(PICTURE)
        there = await product.create("alice", "claude", "--initial-prompt", f"begin\n{path}")
        await product.serve()
        bodies = [f"look at this\n{line.format(path, path)}\nplease" for line in (*FILED, *INLINE)]
        sent = []
        for body in bodies:
            sent.append(await product.send("alice", body, "--attach", str(path), "--wait", "60"))
            assert sent[-1]["status"] == "delivered", body
        alice = await product.client("alice")
        assert product.taken(alice)[1:] == [each["message_id"] for each in sent]
        for number, body in enumerate(bodies):
            found = await envelope(product, sent[number]["message_id"])
            assert found.attachments == (str(path),)
            assert (found.body_file is not None) is (number < len(FILED)), body
            if found.body_file is None:
                assert found.body == body
            else:
                assert found.body_file.is_relative_to(there)
                assert found.body_file.read_text() == body
        assert product.model.count("Image #1") == 0
        await all_is_quiet(product, alice, events=["wake", "boot", "initial-prompt"])
