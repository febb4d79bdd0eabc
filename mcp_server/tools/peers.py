"""list_peers: who there is and what each is doing, a page at a time."""

import json
from collections.abc import Mapping
from typing import Any, Final

from lifecycle.requests import PeerPage, PeerRow
from mcp_server.service import Service
from mcp_server.tools.answers import Answer, printable
from mcp_server.tools.arguments import MAX_QUERY, Arguments

NAME: Final = "list_peers"
TAKES: Final = frozenset({"query", "live_only", "offset"})
PAGE_ROWS: Final = 25
ROWS_BYTES: Final = 2_800
TEXT_CHARACTERS: Final = 700
SHORT_DESCRIPTION: Final = 160


async def list_peers(service: Service, given: Mapping[str, Any] | None) -> Answer:
    """Return one page, the structure and the text together never more than 4 KiB."""
    arguments = Arguments(NAME, given, TAKES)
    query = arguments.text("query", MAX_QUERY)
    live_only = arguments.flag("live_only")
    offset = arguments.whole("offset", 0, 0, 1_000_000)
    page = await service.peers(query, live_only, offset, PAGE_ROWS)
    rows = _fitting(page)
    after = page.offset + len(rows)
    structure: dict[str, Any] = {"peers": rows, "total": page.total, "offset": page.offset}
    if after < page.total and rows:
        structure["next_offset"] = after
    return Answer(_line(structure, query, live_only), structure)


def row_structure(row: PeerRow) -> dict[str, Any]:
    """Return one peer as JSON values, complete."""
    return {
        "name": row.name,
        "host": row.host,
        "tenant_id": row.tenant_id,
        "intelligence": row.intelligence,
        "wake_policy": row.wake_policy,
        "default_runtime": row.default_runtime,
        "description": row.description,
        "cwd": row.cwd,
        "runtimes": [
            {"runtime": one.runtime, "state": str(one.state), "queue_depth": one.queue_depth}
            | ({"detail": one.detail} if one.detail else {})
            for one in row.runtimes
        ],
    }


def _short(row: PeerRow) -> dict[str, Any]:
    description = row.description
    if len(description) > SHORT_DESCRIPTION:
        description = description[: SHORT_DESCRIPTION - 1].rstrip() + "…"
    return {
        "name": row.name,
        "host": row.host,
        "intelligence": row.intelligence,
        "description": printable(description),
        "runtimes": [
            {"runtime": one.runtime, "state": str(one.state), "queue_depth": one.queue_depth} for one in row.runtimes
        ],
    }


def _fitting(page: PeerPage) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for row in page.rows:
        short = _short(row)
        size += len(json.dumps(short, ensure_ascii=False).encode())
        if rows and size > ROWS_BYTES:
            break
        rows.append(short)
    return rows


def _line(structure: Mapping[str, Any], query: str | None, live_only: bool) -> str:
    rows: list[dict[str, Any]] = structure["peers"]
    total: int = structure["total"]
    if not rows:
        narrowed = " that match" if query or live_only else ""
        return f"No peers{narrowed}." if not total else f"No more peers: there are {total}."
    words = []
    for row in rows:
        states = " ".join(f"{one['runtime']}:{one['state']}" for one in row["runtimes"])
        words.append(f"{row['name']} ({states})")
    shown = ", ".join(words)
    if len(shown) > TEXT_CHARACTERS:
        shown = shown[:TEXT_CHARACTERS].rpartition(", ")[0] + ", …"
    following = structure.get("next_offset")
    more = f" {total - following} more: ask with offset={following}, or narrow with query." if following else ""
    return f"{total} peer{'s' if total != 1 else ''}: {shown}.{more}"
