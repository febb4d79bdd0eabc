"""Resources: one peer, and a snapshot of the fleet, as JSON."""

import json
from typing import Any, Final

from mcp_server.service import Service
from mcp_server.tools.answers import CURRENT, FIXED, printable
from mcp_server.tools.peers import row_structure
from transport.errors import InvalidInput

SNAPSHOT: Final = "fleet://snapshot"
PEER_PREFIX: Final = "peer://"
MIME: Final = "application/json"
SNAPSHOT_ROWS: Final = 1_000

RESOURCES: Final[dict[str, Any]] = FIXED | {
    "resources": [
        {
            "uri": SNAPSHOT,
            "name": "fleet snapshot",
            "description": "All peers and what they are doing.",
            "mimeType": MIME,
        }
    ]
}
TEMPLATES: Final[dict[str, Any]] = FIXED | {
    "resourceTemplates": [
        {
            "uriTemplate": "peer://{name}",
            "name": "peer",
            "description": "One peer: description, directory, runtimes and their states.",
            "mimeType": MIME,
        }
    ]
}


async def read_resource(service: Service, uri: str) -> dict[str, Any]:
    """Return the wire result of `resources/read`; raises InvalidInput or UnknownPeer."""
    if uri == SNAPSHOT:
        page = await service.peers(None, False, 0, SNAPSHOT_ROWS)
        content: dict[str, Any] = {
            "host": service.host,
            "tenant_id": service.tenant,
            "total": page.total,
            "peers": [row_structure(row) for row in page.rows],
        }
    elif uri.startswith(PEER_PREFIX):
        content = row_structure(await service.peer(uri.removeprefix(PEER_PREFIX).rstrip("/")))
    else:
        raise InvalidInput("uri", f"{uri!r:.80} is not a resource; there are {SNAPSHOT} and peer://<name>")
    text = printable(json.dumps(content, ensure_ascii=False))
    return CURRENT | {"contents": [{"uri": uri, "mimeType": MIME, "text": text}]}
