"""What two model APIs look like on the wire: a request read into events, an answer written as a stream."""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = dict[str, Any]

REMINDER = "<system-reminder>"
BROUGHT = re.compile(r'<peer-message-\w+ id="')


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"
    CALL = "call"
    RESULT = "result"


@dataclass(frozen=True, slots=True)
class Event:
    """One piece of a conversation: who, and what was said (for a call: the tool's name)."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the client names it; `namespace` when the client groups tools."""

    name: str
    namespace: str | None = None

    @property
    def full_name(self) -> str:
        return f"{self.namespace}__{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request's conversation in the order it happened, and the tools it offers."""

    events: tuple[Event, ...]
    tools: tuple[Tool, ...]
    model: str = "scripted"

    @property
    def last_user_text(self) -> str:
        return next((event.text for event in reversed(self.events) if event.role is Role.USER), "")

    def find_tool(self, name: str) -> Tool | None:
        """Return the tool called `name`, with or without the prefix the client gives it."""
        for tool in self.tools:
            if tool.full_name == name or tool.name == name or tool.full_name.endswith(f"__{name}"):
                return tool
        return None


@dataclass(frozen=True, slots=True)
class Use:
    """A tool call to be streamed."""

    tool: Tool
    arguments: Json
    call_id: str = field(default_factory=lambda: f"toolu_{uuid.uuid4().hex[:24]}")


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def read_anthropic(body: Json) -> Conversation:
    """Read a Messages request; reminders are not the user's, unless they bring a message in mid-turn."""
    events: list[Event] = []
    for message in body.get("messages", []):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for block in blocks:
            match block["type"]:
                case "text" if message["role"] == "system" and BROUGHT.search(block["text"]):
                    events.append(Event(Role.USER, block["text"]))
                case "text" if message["role"] == "user":
                    if BROUGHT.search(block["text"]) or not block["text"].lstrip().startswith(REMINDER):
                        events.append(Event(Role.USER, block["text"]))
                case "text" if message["role"] == "assistant":
                    events.append(Event(Role.ASSISTANT, block["text"]))
                case "tool_use":
                    events.append(Event(Role.CALL, block["name"]))
                case "tool_result":
                    events.append(Event(Role.RESULT, _text_of(block.get("content"))))
                case _:
                    pass
    tools = tuple(Tool(tool["name"]) for tool in body.get("tools") or [] if "name" in tool)
    return Conversation(tuple(events), tools, body.get("model", "scripted"))


def read_openai(body: Json) -> Conversation:
    """Read a Responses request; `<…_context>` and `<…instructions>` blocks are not the user's."""
    events: list[Event] = []
    found: list[Json] = []
    items = body.get("input", [])
    for item in [{"type": "message", "role": "user", "content": items}] if isinstance(items, str) else items:
        kind = item.get("type", "message")
        if kind == "message" and item["role"] == "user":
            text = _text_of(item["content"])
            if not text.lstrip().startswith(("<environment_context>", "<user_instructions>", "# AGENTS.md")):
                events.append(Event(Role.USER, text))
        elif kind == "message" and item["role"] == "assistant":
            events.append(Event(Role.ASSISTANT, _text_of(item["content"])))
        elif kind.endswith("_call_output"):
            output = item.get("output")
            events.append(Event(Role.RESULT, output if isinstance(output, str) else json.dumps(output)))
        elif kind.endswith("_call"):
            events.append(Event(Role.CALL, item.get("name") or kind.removesuffix("_call")))
        elif kind == "tool_search_output":
            events.append(Event(Role.RESULT, json.dumps(item.get("tools"))))
            found += item.get("tools") or []
    tools = tuple(tool for described in [*(body.get("tools") or []), *found] for tool in _openai_tools(described))
    return Conversation(tuple(events), tools, body.get("model", "scripted"))


def _openai_tools(described: Json) -> list[Tool]:
    if described.get("type") == "namespace":
        return [Tool(inner["name"], described["name"]) for inner in described["tools"]]
    return [Tool(described.get("name") or described["type"])]


def _sse(data: Json) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def anthropic_stream(model: str, pieces: Iterator[str], use: Use | None) -> Iterator[bytes]:
    """Yield a Messages stream: text as it comes from `pieces`, then the tool call if there is one."""
    message = {"id": f"msg_{uuid.uuid4().hex[:24]}", "type": "message", "role": "assistant", "model": model,
               "content": [], "stop_reason": None, "stop_sequence": None,
               "usage": {"input_tokens": 10, "output_tokens": 1}}  # fmt: skip
    yield _sse({"type": "message_start", "message": message})
    index = 0
    for position, piece in enumerate(pieces):
        if position == 0:
            yield _sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
            index = 1
        yield _sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
    if index:
        yield _sse({"type": "content_block_stop", "index": 0})
    if use is not None:
        block = {"type": "tool_use", "id": use.call_id, "name": use.tool.full_name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(use.arguments)}
        yield _sse({"type": "content_block_start", "index": index, "content_block": block})
        yield _sse({"type": "content_block_delta", "index": index, "delta": delta})
        yield _sse({"type": "content_block_stop", "index": index})
    reason = {"stop_reason": "tool_use" if use else "end_turn", "stop_sequence": None}
    yield _sse({"type": "message_delta", "delta": reason, "usage": {"output_tokens": 5}})
    yield _sse({"type": "message_stop"})


def anthropic_message(model: str, text: str, use: Use | None) -> Json:
    """Return the same answer as one JSON document, for requests that do not stream."""
    content: list[Json] = [{"type": "text", "text": text}] if text else []
    if use is not None:
        content.append({"type": "tool_use", "id": use.call_id, "name": use.tool.full_name, "input": use.arguments})
    return {"id": f"msg_{uuid.uuid4().hex[:24]}", "type": "message", "role": "assistant", "model": model,
            "content": content, "stop_reason": "tool_use" if use else "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": 10, "output_tokens": 5}}  # fmt: skip


def _openai_call(use: Use) -> Json:
    if use.tool.name == "tool_search":
        return {"type": "tool_search_call", "call_id": use.call_id, "execution": "client", "status": "completed",
                "arguments": use.arguments}  # fmt: skip
    item: Json = {"type": "function_call", "id": f"fc_{uuid.uuid4().hex[:24]}", "call_id": use.call_id,
                  "name": use.tool.name, "arguments": json.dumps(use.arguments), "status": "completed"}  # fmt: skip
    if use.tool.namespace:
        item["namespace"] = use.tool.namespace
    return item


def openai_stream(model: str, pieces: Iterator[str], use: Use | None) -> Iterator[bytes]:
    """Yield a Responses stream: text as it comes from `pieces`, then the tool call if there is one."""
    response = {"id": f"resp_{uuid.uuid4().hex[:24]}", "object": "response", "model": model, "output": []}
    yield _sse({"type": "response.created", "response": {**response, "status": "in_progress"}})
    output: list[Json] = []
    item_id = f"msg_{uuid.uuid4().hex[:24]}"
    shell = {"type": "message", "id": item_id, "role": "assistant", "status": "in_progress", "content": []}
    said = ""
    for piece in pieces:
        if not said:
            yield _sse({"type": "response.output_item.added", "output_index": 0, "item": shell})
        said += piece
        yield _sse({"type": "response.output_text.delta", "item_id": item_id, "output_index": 0, "content_index": 0,
                    "delta": piece})  # fmt: skip
    if said:
        text = {"type": "output_text", "text": said, "annotations": []}
        output.append({**shell, "status": "completed", "content": [text]})
        yield _sse({"type": "response.output_item.done", "output_index": 0, "item": output[-1]})
    if use is not None:
        output.append(_openai_call(use))
        yield _sse({"type": "response.output_item.added", "output_index": len(output) - 1, "item": output[-1]})
        yield _sse({"type": "response.output_item.done", "output_index": len(output) - 1, "item": output[-1]})
    usage = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 15}  # fmt: skip
    yield _sse({"type": "response.completed",
                "response": {**response, "status": "completed", "output": output, "usage": usage}})  # fmt: skip
