"""What nobody may see of a root."""

import base64

from mcp_server.serve.credentials import load_credentials
from tests.contract.bad_input import credential
from tests.live.world import World


def secrets_of(world: World, *identities: str) -> set[bytes]:
    """Return the key in every usual spelling, the operator's credential and those of `identities`."""
    key = world.root.secret.read_bytes()
    spelled = {key.hex().encode(), base64.b64encode(key).rstrip(b"="), base64.urlsafe_b64encode(key).rstrip(b"=")}
    tokens = {credential(world, identity) for identity in identities}
    tokens.add(load_credentials(world.root.secret).operator_credential())
    return {key, *spelled} | {token.rpartition(".")[2].encode() for token in tokens}
