"""What the agent does at its start and with a prompt: generators that yield what they wait for."""

from lifecycle.runtimes.agents.rules import Script, fill
from lifecycle.runtimes.agents.view import Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import Any, TypeAlias

    from lifecycle.runtimes.agents.agent import Agent
    from lifecycle.runtimes.agents.envelope import Letter

TRUST = "Yes, I trust this folder"
DISTRUST = "No, exit"
NO = "No, and tell the agent what to do instead"


class Pause:
    """Wait for seconds, None for ever."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds


class Ask:
    """Wait for a person's choice: the text of the option, "" for Escape."""

    def __init__(self, question: Question) -> None:
        self.question = question


class Call:
    """Wait for a tool's answer: (text, is an error)."""

    def __init__(self, tool: str, arguments: "dict[str, object]") -> None:
        self.tool = tool
        self.arguments = arguments


if TYPE_CHECKING:
    Job: TypeAlias = Generator[Pause | Ask | Call, Any, None]


def boot(agent: "Agent", script: Script) -> "Job":
    """Be slow, ask the questions of a first start, or fail, as the script says."""
    settings = script.boot
    if settings["exit"] is not None:
        agent.view.write("scripted: told to fail at start\r\n")
        agent.quit(int(settings["exit"]))
        return
    if settings["seconds"]:
        yield Pause(float(settings["seconds"]))
    if settings["trust"]:
        options = [TRUST, DISTRUST] if settings["trust_first"] else [DISTRUST, TRUST]
        title = ["Accessing workspace:", "", agent.cwd, "", "Is this a project you created or one you trust?"]
        if (yield Ask(Question(title, options, "Enter to confirm · Esc to exit"))) != TRUST:
            agent.quit(1)
            return
    for dialog in settings["dialogs"]:
        taken = yield Ask(Question(str(dialog["text"]).split("\n"), list(dialog["options"])))
        if taken in ("", dialog.get("exit")):
            agent.quit(1)
            return


def turn(agent: "Agent", text: str, rules: bytes) -> "Job":
    """Answer one prompt by the first of these rules that takes it."""
    from lifecycle.runtimes.agents import envelope

    script = Script(rules)
    letter = envelope.read(text)
    rule, groups = script.find(letter.body, agent.used)
    if script.problem:
        agent.say(script.problem)
    if "print" in rule:
        agent.view.write(rule["print"])
    if "freeze" in rule:
        pause = Pause(float(rule["freeze"]))
        agent.view.frozen = True
        yield pause
        agent.view.thaw()
    if rule.get("ask") and not (yield from _permission(agent, rule["ask"])):
        return
    if "new" in rule:
        agent.renew(fill(rule["new"], letter, groups))
    if rule.get("busy_seconds"):
        yield Pause(float(rule["busy_seconds"]))
    if rule.get("sleep_forever"):
        yield Pause(None)
    if "say" in rule or not {"reply", "send"} & set(rule):
        agent.say(fill(rule.get("say", "ok"), letter, groups))
    for arguments in _calls(rule, letter, groups):
        yield from _send(agent, arguments)
    _end(agent, rule)


def _permission(agent: "Agent", ask: object) -> "Generator[Pause | Ask | Call, Any, bool]":
    what = ask if isinstance(ask, str) else "run: make"
    question = Question(["Tool use", "", f"  {what}", "", "Do you want to proceed?"], ["Yes", NO], "Esc to cancel")
    if (yield Ask(question)) == "Yes":
        agent.transcript.write("tool_result", tool="permission", text=f"allowed: {what}", is_error=False)
        return True
    agent.transcript.write("tool_result", tool="permission", text=f"refused: {what}", is_error=True)
    agent.note("refused")
    return False


def _calls(rule: "dict[str, Any]", letter: "Letter", groups: "Mapping[str, str]") -> "list[dict[str, object]]":
    calls: list[dict[str, object]] = []
    extra = {"wait_seconds": rule["wait_seconds"]} if "wait_seconds" in rule else {}
    sender = letter.attributes.get("from")
    if "reply" in rule and sender:
        message = fill(rule["reply"], letter, groups)
        calls.append({"personality": sender, "message": message, "reply_to": letter.attributes["id"], **extra})
        if letter.attributes.get("runtime") and sender != "operator":
            calls[-1]["runtime"] = letter.attributes["runtime"]
    for each in rule.get("send", []):
        others = {name: value for name, value in each.items() if name not in ("to", "message")}
        filled = {"personality": fill(each["to"], letter, groups), "message": fill(each["message"], letter, groups)}
        calls.append({**filled, **extra, **others})
    return calls


def _send(agent: "Agent", arguments: "dict[str, object]") -> "Job":
    if not agent.transcript.write("tool_use", tool="send_to_peer", arguments=arguments):
        agent.note(agent.transcript.problem)
        return
    text, failed = yield Call("send_to_peer", arguments)
    agent.transcript.write("tool_result", tool="send_to_peer", text=text, is_error=failed)
    agent.note(f"send_to_peer {arguments['personality']}: {text}")


def _end(agent: "Agent", rule: "dict[str, Any]") -> None:
    if rule.get("done"):
        agent.done()
    if "crash" in rule:
        import os
        import signal

        number = rule["crash"]
        os.kill(os.getpid(), getattr(signal, number) if isinstance(number, str) else int(number))
    if "exit" in rule:
        agent.quit(int(rule["exit"]))
