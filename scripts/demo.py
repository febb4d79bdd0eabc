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
RULES = {
    "alice": [{"match": "(?i)status", "reply": "All green: 214 tests passed. You wrote: {body}"}],
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
    runtime = argv[0] if argv else "scripted"
    if runtime not in ("scripted", "claude", "codex"):
        print("usage: scripts/demo [claude|codex]", file=sys.stderr)
        return 2
    if runtime != "scripted" and shutil.which(runtime) is None:
        print(f"demo: {runtime} is not on your PATH; install it, or run scripts/demo alone", file=sys.stderr)
        return 1
    home = Path(tempfile.mkdtemp(prefix="peerwake-demo-", dir="/tmp"))
    try:
        demo = Demo(home, runtime)
        (scripted if runtime == "scripted" else real)(demo)
        demo.say("that was it; everything is stopped and removed")
        return 0
    finally:
        shutil.rmtree(home, ignore_errors=True)


def scripted(demo: Demo) -> None:
    """Two scripted peers and an ephemeral worker."""
    demo.say("a server, and three peers")
    with demo.server():
        for name in ("alice", "bob"):
            demo.run("create", name, "--runtime", "scripted", "--description", f"{name}, a scripted agent")
        demo.run("create", "worker", "--runtime", "scripted", "--ephemeral", "--description", "one task, one session")
        for name, rules in RULES.items():
            (demo.home / "peers" / name / "scripted.json").write_text(json.dumps(rules))
        demo.run("list")
        demo.say("a message to a sleeping peer: it is woken, takes the message, and answers bob")
        demo.run("send", "alice", "What is the status of the build?", "--from", "bob")
        demo.await_empty("bob", 15)
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
        show_transcript(demo.home / "peers" / "bob")


def show_transcript(cwd: Path) -> None:
    """Print the messages a scripted agent took, from its own record."""
    records = [
        json.loads(line)
        for path in sorted((cwd / ".peerwake" / "runtimes" / "scripted").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    for record in records:
        if record["type"] == "user":
            print("    | " + record["text"].replace("\n", "\n    | "), flush=True)


def real(demo: Demo) -> None:
    """One peer in the user's real client, and a scripted one that writes to it."""
    name = demo.runtime
    demo.say(f"a server, a peer in your {name}, and a scripted one; this uses your account for one short answer")
    with demo.server():
        demo.run("create", "echo", "--runtime", "scripted", "--description", "a scripted agent")
        (demo.home / "peers" / "echo" / "scripted.json").write_text("[]")
        demo.run("create", "expert", "--runtime", name, "--description", f"your {name}")
        demo.say("a message to the sleeping peer: it is woken and takes it")
        text = "Please answer me, echo, with one word: ready."
        demo.run("send", "expert", text, "--from", "echo", "--wait", "90", expect=None)
        demo.run("list")
        demo.run("queue")
        demo.say("watch it with: peerwake attach expert (not in this demo: it is stopped now)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
