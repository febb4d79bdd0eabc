"""Texts that a client's composer keeps in another form than they were pasted in arrive all the same."""

from unicodedata import normalize

import pytest

from tests.clients.checks import all_is_quiet
from tests.clients.product import Product

pytestmark = [pytest.mark.clients, pytest.mark.live]

BOTH = pytest.mark.parametrize("runtime", ["claude", "codex"])
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
