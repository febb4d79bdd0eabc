"""What an agent's own shell can try: run inside a session as `agent_shell.py TASKS ANSWERS`.

TASKS is a JSON object of named tasks, each a list of a function's name below and its arguments; ANSWERS gets what
came back. The process leaves its session, its group and its terminal first, as far as it can.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.contract.wires import INITIALIZE, HttpWire, LineWire, SocketWire, UnixHttp, Wire


def command(words: list[str], env: dict[str, str], cwd: str) -> dict[str, Any]:
    """Run a command with nothing but this environment."""
    done = subprocess.run(words, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def hello(path: str, words: dict[str, Any], body: str) -> dict[str, Any]:
    """Introduce itself over JSON lines, then send by the tool if that was accepted."""
    with SocketWire(Path(path), words) as wire:
        return {"greeting": wire.greeting} | (_sent(wire, body) if wire.greeting.get("ok") else {})


def no_hello(path: str, body: str) -> dict[str, Any]:
    """Speak JSON-RPC without a hello."""
    with SocketWire(Path(path), None) as wire:
        return _sent(wire, body)


def http(path: str, token: str | None, body: str) -> dict[str, Any]:
    """Speak streamable HTTP over the unix socket."""
    with HttpWire(UnixHttp(Path(path)), token) as wire:
        answer = wire.request("initialize", INITIALIZE)
        return {"status": wire.status, "answer": answer} if wire.status != 200 else _sent(wire, body)


def control(path: str, words: dict[str, Any], requests: list[dict[str, Any]]) -> dict[str, Any]:
    """Speak the control protocol."""
    with SocketWire(Path(path), None) as wire:
        greeting = wire.exchange(json.dumps({"peerwake": 1, "role": "control"} | words).encode())
        answers = [wire.exchange(json.dumps(each).encode()) for each in requests] if greeting.get("ok") else []
        return {"greeting": greeting, "answers": answers}


def piped(words: list[str], env: dict[str, str], cwd: str, body: str) -> dict[str, Any]:
    """Speak MCP to a process: the bridge, or a server of its own."""
    process = subprocess.Popen(words, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        return _sent(LineWire(process.stdin, process.stdout), body)  # type: ignore[arg-type]
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


def _sent(wire: Wire, body: str) -> dict[str, Any]:
    first = wire.request("initialize", INITIALIZE)
    if "error" in first:
        return {"answer": first}
    wire.tell(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')
    return {"answer": wire.call("send_to_peer", {"personality": "carol", "message": body, "wait_seconds": 0})}


TASKS = {each.__name__: each for each in (command, hello, no_hello, http, control, piped)}


def main(tasks: Path, answers: Path) -> None:
    """Do every task and write down what came of it."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    found: dict[str, Any] = {}
    for name, (kind, *words) in json.loads(tasks.read_text()).items():
        try:
            found[name] = TASKS[kind](*words)
        except Exception as error:  # the boundary to the test, which fails on it
            found[name] = {"error": f"{type(error).__name__}: {error}"}
    whole = answers.with_suffix(".part")
    whole.write_text(json.dumps(found))
    whole.replace(answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
