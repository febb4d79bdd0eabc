"""The main job, shown: sleeping peers are woken, messages arrive, and the receipts are seen."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
QUESTION = "What is the status of the build? Please answer me, bob, with your send_to_peer tool, in one sentence."
RULES = {
    "alice": [{"match": "(?i)status", "reply": "All green: 214 tests passed."}],
    "bob": [],
    "worker": [{"busy_seconds": 0.1, "reply": "done: {body}"}],
}


@dataclass
class Demo:
    """A throw-away root with its own server, driven only through the command line."""

    home: Path
    runtime: str = "scripted"
    started: float = field(default_factory=time.monotonic)

    @property
    def env(self) -> dict[str, str]:
        ours = {
            "PEERWAKE_HOME": str(self.home),
            "PEERWAKE_TCP": "false",
            "PEERWAKE_SYSTEMD_SCOPE": "false",
            "PEERWAKE_EPHEMERAL_QUIET_SECONDS": "0.3",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PEER", "TMUX"))}
        return kept | ours

    def say(self, text: str) -> None:
        """Print one step with the seconds since the start."""
        print(f"\n[{time.monotonic() - self.started:5.1f} s] {text}", flush=True)

    def run(self, *words: str, expect: int | None = 0) -> str:
        """Show and run one peerwake command; a surprising exit status ends the demo."""
        print("  $ peerwake " + " ".join(json.dumps(word) if " " in word else word for word in words), flush=True)
        done = self._peerwake(*words)
        print("".join(f"    {line}\n" for line in (done.stdout + done.stderr).splitlines()), end="", flush=True)
        if expect is not None and done.returncode != expect:
            raise SystemExit(f"demo: exit status {done.returncode}, not {expect}")
        return done.stdout

    def _peerwake(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "mcp_server", *words]
        return subprocess.run(argv, env=self.env, cwd=TOP, capture_output=True, text=True, timeout=120, check=False)

    def depth(self, name: str) -> int:
        rows = json.loads(self._peerwake("queue", name, "--json").stdout)["queues"]
        return sum(row["depth"] for row in rows)

    def read_by(self, name: str) -> list[str]:
        """Return the messages a scripted agent took, from its own record."""
        transcripts = self.home / "peers" / name / ".peerwake" / "runtimes" / "scripted"
        lines = [line for path in sorted(transcripts.glob("*.jsonl")) for line in path.read_text().splitlines()]
        records = [json.loads(line) for line in lines]
        return [record["text"] for record in records if record["type"] == "user"]

    def await_answer(self, name: str, seconds: float) -> None:
        """Wait until a scripted agent was written to; a model may choose not to answer, and that is said."""
        deadline = time.monotonic() + seconds
        while not self.read_by(name):
            if time.monotonic() > deadline:
                print(f"  no answer to {name} in {seconds:g} s; the message itself was delivered", flush=True)
                return
            time.sleep(0.05)

    def await_empty(self, name: str, seconds: float) -> None:
        """Wait until a queue is empty, or give up."""
        deadline = time.monotonic() + seconds
        while self.depth(name):
            if time.monotonic() > deadline:
                raise SystemExit(f"demo: the queue of {name} did not empty in {seconds:g} s")
            time.sleep(0.1)

    @contextmanager
    def server(self) -> Iterator[None]:
        """Run the server in the foreground of this program and stop it at the end, with its sessions."""
        argv = [sys.executable, "-m", "mcp_server", "serve"]
        process = subprocess.Popen(argv, env=self.env, cwd=TOP, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        print("  " + process.stderr.readline().strip(), flush=True)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield
        finally:
            self._peerwake("stop", "--all")
            process.terminate()
            process.wait(20)


def main(argv: list[str]) -> int:
    """Run the demo with the bundled agent, or `claude` or `codex`."""
    runtime = argv[0] if argv else "scripted"  # a real client uses your account, for one short answer
    if runtime not in ("scripted", "claude", "codex"):
        print("usage: scripts/demo [claude|codex]", file=sys.stderr)
        return 2
    if runtime != "scripted" and shutil.which(runtime) is None:
        print(f"demo: {runtime} is not on your PATH; install it, or run scripts/demo alone", file=sys.stderr)
        return 1
    home = Path(tempfile.mkdtemp(prefix="peerwake-demo-", dir="/tmp"))
    try:
        demo = Demo(home, runtime)
        show(demo)
        demo.say("that was it; everything is stopped and removed")
        return 0
    finally:
        shutil.rmtree(home, ignore_errors=True)


def show(demo: Demo) -> None:
    """A sleeping peer that is woken and answers, an ephemeral worker, a stopped peer."""
    demo.say("a server, and three peers")
    with demo.server():
        demo.run("create", "alice", "--runtime", demo.runtime, "--description", f"alice, in {demo.runtime}")
        demo.run("create", "bob", "--runtime", "scripted", "--description", "bob, a scripted agent")
        demo.run("create", "worker", "--runtime", "scripted", "--ephemeral", "--description", "one task, one session")
        for name, rules in RULES.items():
            (demo.home / "peers" / name / "scripted.json").write_text(json.dumps(rules))
        demo.run("list")
        demo.say("a message to a sleeping peer: it is woken, takes the message, and answers bob")
        demo.run("send", "alice", QUESTION, "--from", "bob", "--wait", "90")
        demo.await_answer("bob", 15 if demo.runtime == "scripted" else 90)
        demo.run("list")
        demo.say("a burst to the worker: one fresh session each, one at a time, in order")
        for number in (1, 2, 3):
            demo.run("send", "worker", f"task {number}", "--from", "bob", expect=3)
        demo.run("queue")
        demo.await_empty("worker", 15)
        demo.await_empty("bob", 15)
        demo.say("a stopped peer refuses, and nothing is queued")
        demo.run("stop", "alice")
        demo.run("send", "alice", "Are you there?", expect=4)
        demo.run("queue")
        demo.run("start", "alice")
        demo.say("what bob read, in his own transcript")
        for text in demo.read_by("bob"):
            print("    | " + text.replace("\n", "\n    | "), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
