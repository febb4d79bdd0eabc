import json
import urllib.error
import urllib.request

import pytest

from tests.model_server import Call, Fail, ModelServer, Rule, Say, parse_rule

ANTHROPIC_TOOLS = [{"name": "Bash"}, {"name": "mcp__peerwake__send_to_peer"}]
OPENAI_TOOLS = [{"type": "namespace", "name": "mcp__peerwake", "tools": [{"name": "send_to_peer"}]}]


def post(url: str, body: dict) -> list[dict]:
    """Return the events of a streamed answer, or the one document of another."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read().decode()
    if not text.startswith("event:"):
        return [json.loads(text)]
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n") if line.startswith("data: ")]


def anthropic(server: ModelServer, *messages: dict, tools: list | None = None, stream: bool = True) -> list[dict]:
    body = {"model": "m", "stream": stream, "messages": messages, "tools": ANTHROPIC_TOOLS if tools is None else tools}
    return post(f"{server.url}/v1/messages?beta=true", body)


def openai(server: ModelServer, *items: dict, tools: list | None = None) -> list[dict]:
    body = {"model": "m", "stream": True, "input": items, "tools": OPENAI_TOOLS if tools is None else tools}
    return post(f"{server.url}/v1/responses", body)


def user(text: str) -> dict:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def item(text: str) -> dict:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def said(events: list[dict]) -> str:
    deltas = [event["delta"] for event in events if event["type"].endswith("delta") and "delta" in event]
    return "".join(delta if isinstance(delta, str) else delta.get("text", "") for delta in deltas)


def test_what_no_rule_matches_is_answered_ok() -> None:
    with ModelServer([Rule("ping", Say("pong"))]) as server:
        assert said(anthropic(server, user("hello"))) == "ok"
        assert said(openai(server, item("hello"))) == "ok"
        assert said(anthropic(server, user("ping"))) == "pong"
        assert said(openai(server, item("ping"))) == "pong"
        assert anthropic(server, user("ping"), stream=False)[0]["content"][0]["text"] == "pong"


def test_a_tool_is_called_by_the_name_the_client_gives_it_and_then_the_next_step_is_said() -> None:
    with ModelServer([Rule("tell bob", Call("send_to_peer", {"message": "hi"}), Say("told"))]) as server:
        events = anthropic(server, user("tell bob"))
        (block,) = [event["content_block"] for event in events if event["type"] == "content_block_start"]
        assert block["name"] == "mcp__peerwake__send_to_peer"
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block["id"], "content": "done"}]}
        assert said(anthropic(server, user("tell bob"), result)) == "told"
        (call,) = [event["item"] for event in openai(server, item("tell bob")) if event["type"].endswith("item.done")]
        assert (call["namespace"], call["name"]) == ("mcp__peerwake", "send_to_peer")
        assert json.loads(call["arguments"]) == {"message": "hi"}
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "done"}
        assert said(openai(server, item("tell bob"), call, output)) == "told"


def test_a_deferred_tool_is_searched_for_once() -> None:
    with ModelServer([Rule("tell bob", Call("send_to_peer", {"message": "hi"}))]) as server:
        search = [{"type": "tool_search"}]
        (call,) = [
            each["item"]
            for each in openai(server, item("tell bob"), tools=search)
            if each["type"].endswith("item.done")
        ]
        assert call["type"] == "tool_search_call"
        found = {"type": "tool_search_output", "call_id": call["call_id"], "tools": OPENAI_TOOLS}
        events = openai(server, item("tell bob"), call, found, tools=search)
        assert [event["item"]["name"] for event in events if event["type"].endswith("item.done")] == ["send_to_peer"]
        nothing = {**found, "tools": []}
        assert "no tool" in said(openai(server, item("tell bob"), call, nothing, tools=search))


def test_a_failure_is_answered_as_often_as_it_says() -> None:
    with ModelServer([Rule("break", Fail(529, times=2), Say("whole"))]) as server:
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError, match="529"):
                anthropic(server, user("break"))
        assert said(anthropic(server, user("break"))) == "whole"


def test_the_last_text_that_a_rule_knows_decides() -> None:
    with ModelServer([Rule("one", Say("1")), Rule("two", Say("2"))]) as server:
        assert said(anthropic(server, user("one"), user("two"), user("<system-reminder>one</system-reminder>"))) == "2"


def test_requests_without_tools_are_answered_ok_whatever_they_say() -> None:
    with ModelServer([Rule("ping", Say("pong"))]) as server:
        assert said(anthropic(server, user("a title for: ping"), tools=[])) == "ok"


def test_requests_are_recorded() -> None:
    with ModelServer() as server:
        anthropic(server, user("first"))
        anthropic(server, user("first"), user("second"))
        assert server.count("first") == 1
        assert server.conversations()[-1].last_user_text == "second"
        assert [seen.path for seen in server.seen] == ["/v1/messages?beta=true"] * 2
        assert post(f"{server.url}/v1/messages/count_tokens", {})[0] == {"input_tokens": 10}


def test_rules_of_the_command_line() -> None:
    assert parse_rule("a=say:2:b c").steps == [Say("b c", seconds=2.0)]
    assert parse_rule('a=call:Bash:{"x": 1}').steps == [Call("Bash", {"x": 1})]
    assert parse_rule("a=fail:500:3").failures == [Fail(500, 3)] * 3
