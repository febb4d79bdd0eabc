"""The scripted agent itself: one loop over keys, the MCP server and one job at a time."""

import os
import select
import time

from lifecycle.runtimes.agents.composer import Composer
from lifecycle.runtimes.agents.jobs import Ask, Call, Pause, boot, turn
from lifecycle.runtimes.agents.keys import Keys
from lifecycle.runtimes.agents.rules import FILE, Script, read_script
from lifecycle.runtimes.agents.view import MARK, NBSP, SPINNER, Question, View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lifecycle.runtimes.agents.antics import Antics
    from lifecycle.runtimes.agents.jobs import Job
    from lifecycle.runtimes.agents.mcp import Client
    from lifecycle.runtimes.agents.record import Transcript

ESCAPE_SECONDS = 0.03
SPIN_SECONDS = 1.0
READ_BYTES = 1 << 16


class Agent:
    """The state of one client in one terminal."""

    def __init__(self, transcript: "Transcript", cwd: str) -> None:
        self.cwd = cwd
        self.transcript = transcript
        self.view = View(1)
        self.used: dict[int, int] = {}
        self.status: int | None = None
        self._keys = Keys()
        self._composer = Composer()
        self._source = read_script(cwd)
        self._script = Script(self._source if b'"boot"' in self._source else b"")
        self._job: Job | None = boot(self, self._script)
        self._wait: Pause | Ask | Call | None = None
        self._until: float | None = None
        self._prompts: list[str] = []
        self._ready = False
        self._warned = False
        self._spin = 0
        self._server: Client | None = None
        self._signals = -1
        self._antics: Antics | None = None

    @property
    def is_busy(self) -> bool:
        return self._ready and self._wait is not None

    @property
    def question(self) -> Question | None:
        return self._wait.question if isinstance(self._wait, Ask) else None

    @property
    def draft(self) -> str:
        """What stands in the input line, as it would be submitted."""
        return self._composer.text

    def quit(self, status: int) -> None:
        """Leave the loop with this exit status."""
        self.status = status

    def say(self, text: str) -> None:
        """Answer, on the screen and in the transcript."""
        self.transcript.write("assistant", text=text)
        self.view.say("● ", text)

    def note(self, text: str) -> None:
        """Show a line that is no answer."""
        self.view.say("  ⎿ ", text)

    def done(self) -> None:
        """Tell the server that this worker has finished."""
        from lifecycle.runtimes.agents.done import tell_done

        answer = tell_done(os.environ, self.cwd)
        self.transcript.write("done", text=answer)
        self.note(f"self done: {answer}")

    def renew(self, seed: str) -> None:
        """Ask the server for a fresh session after this turn."""
        from lifecycle.runtimes.agents.done import tell_new

        answer = tell_new(os.environ, self.cwd, seed)
        self.transcript.write("new", text=answer)
        self.note(f"self new: {answer}")

    def run(self) -> int:
        """Run until something ends the agent; returns the exit status."""
        self._advance(None)
        while self.status is None:
            self.draw()
            self._load()
            self._serve()
        self.draw()
        return self.status

    def _load(self) -> None:
        # What only a prompt needs is loaded once the composer stands, while nobody waits.
        if not self._ready or self._signals >= 0:
            return
        import signal

        self._signals, wake = os.pipe()
        for descriptor in (self._signals, wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self.view.resize()
        self._script = Script(self._source)
        if self._script.mcp == "boot":
            self._connect()

    def _connect(self) -> None:
        from lifecycle.runtimes.agents import mcp, servers

        if self._server is not None:
            return
        try:
            server = servers.find_server(self.cwd, os.environ)
            if server is not None:
                os.makedirs(self.transcript.directory, mode=0o700, exist_ok=True)
                self._server = mcp.Client(server, f"{self.transcript.directory}/mcp.log")
        except (OSError, ValueError) as error:
            self.note(f"MCP server not started: {error}")

    def _serve(self) -> None:
        server, deaf = self._server, not self._ready and self.question is None
        reads = [] if deaf else [0]
        reads += [self._signals] if self._signals >= 0 else []
        writes = []
        if server is not None and server.is_alive:
            reads.append(server.reads)
            writes += [server.writes] if server.wants_to_write else []
        readable, writable, _ = select.select(reads, writes, [], self._timeout())
        # One that came while there was input already is not among what is readable, and was sent before that was read.
        if numbers := self._signal_numbers():
            self._signalled(numbers)
        if server is not None and server.is_alive and server.reads in readable:
            server.read()
        if server is not None and server.is_alive and server.writes in writable:
            server.write()
        if 0 in readable:
            self._read()
        elif not readable and not writable:
            self._elapsed()

    def _signal_numbers(self) -> bytes:
        try:
            return os.read(self._signals, READ_BYTES) if self._signals >= 0 else b""
        except BlockingIOError:
            return b""

    def _signalled(self, numbers: bytes) -> None:
        from signal import SIGUSR1, SIGWINCH

        for number in numbers:
            if number == SIGWINCH:
                self.view.resize()
            elif number == SIGUSR1:
                from lifecycle.runtimes.agents.antics import Antics

                self._antics = self._antics or Antics(self)
                self._antics.obey()
            else:
                self.quit(128 + number)

    def _timeout(self) -> float | None:
        if self._keys.escape_waits:
            return ESCAPE_SECONDS
        left = None if self._until is None else max(0.0, self._until - time.monotonic())
        if self.is_busy and self.question is None and not self.view.frozen:
            return SPIN_SECONDS if left is None else min(left, SPIN_SECONDS)
        return left

    def _elapsed(self) -> None:
        for kind, value in self._keys.flush():
            self._press(kind, value)
        self._spin += 1
        if self._until is not None and time.monotonic() >= self._until:
            self._advance(None)

    def _read(self) -> None:
        try:
            data = os.read(0, READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self.quit(129)
        given = data if self._antics is None else self._antics.read(data)
        for kind, value in self._keys.feed(given):
            if self.status is None:
                self._press(kind, value)
        if self._antics is not None:
            self._antics.after()

    def forget_keys(self) -> None:
        """Lose what was half read."""
        self._keys = Keys()

    def _advance(self, value: object) -> None:
        self._until = None
        try:
            self._wait = None if self._job is None else self._job.send(value)
        except StopIteration:
            self._job = self._wait = None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self._job = self._wait = None
            self.say(f"{FILE} cannot be followed: {error!r}")
        match self._wait:
            case None:
                self._rest()
            case Pause(seconds=float(seconds)):
                self._until = time.monotonic() + seconds
            case Call(tool=tool, arguments=arguments):
                self._call(tool, arguments)

    def _call(self, tool: str, arguments: "dict[str, object]") -> None:
        self._connect()
        job = self._job
        if self._server is None:
            self._advance(("no MCP server is configured in .mcp.json", True))
            return

        def answer(text: str, failed: bool) -> None:
            if self._job is job:
                self._advance((text, failed))

        self._server.call(tool, arguments, answer)

    def _rest(self) -> None:
        if not self._ready and self.status is None:
            self._ready = True
            self.view.write("\x1b[?2004h")
        elif self._prompts and self.status is None:
            self._accept(self._prompts.pop(0))

    def _accept(self, text: str) -> None:
        # Whoever sees the prompt in the transcript may change the rules: they are for the next one.
        rules = read_script(self.cwd)
        # What it cannot write down it does not do: nobody could tell later that it was done.
        if self.transcript.write("user", text=text):
            self._job = turn(self, text, rules)
        else:
            self.note(self.transcript.problem)
        self._advance(None)

    def _interrupt(self) -> None:
        if self._job is not None:
            self._job.close()
        self.view.thaw()
        self.transcript.write("interrupted")
        self.note("Interrupted by user")
        self._job = None
        self._advance(None)

    def _press(self, kind: str, value: str) -> None:
        question = self.question
        if question is not None:
            taken = question.press(kind, value)
            if taken is not None:
                self._advance(taken)
            return
        warned, self._warned = self._warned, False
        match kind, value:
            case "text", _:
                self._composer.type(value)
            case "paste", _:
                self._composer.paste(value)
            case "key", "backspace":
                self._composer.backspace()
            case "key", "kill":
                self._composer.clear()
            case "key", "enter":
                self._submit()
            case "key", "escape" if self.is_busy:
                self._interrupt()
            case "key", "interrupt":
                self._break(warned)
            case "key", "eof" if not self._composer.shown:
                self.quit(0)

    def _break(self, warned: bool) -> None:
        if warned:
            self.quit(0)
        elif self._composer.shown or self._composer.shell:
            self._composer.clear()
        elif self.is_busy:
            self._interrupt()
        self._warned = True

    def _submit(self) -> None:
        if self.is_busy and not self._script.queue_while_busy:
            return
        shell = self._composer.shell
        text, shown = self._composer.take()
        text = text.rstrip()
        if not text:
            return
        self.view.say(f"{'!' if shell else MARK} ", shown.rstrip())
        if shell:
            self.note("shell commands are not run here")
        elif text.startswith("/"):
            self._command(text)
        elif self.is_busy:
            if self.transcript.write("queued", text=text):
                self._prompts.append(text)
            self.note(self.transcript.problem or "queued")
        else:
            self._accept(text)

    def _command(self, text: str) -> None:
        match text:
            case "/exit" | "/quit":
                self.quit(0)
            case "/clear":
                import uuid

                self.transcript = self.transcript.successor(str(uuid.uuid4()))
                self.transcript.write("started")
                self.note("a new conversation")
            case "/compact":
                self.transcript.write("compacted")
                self.note("compacted")
            case _:
                self.note(f"unknown command {text.split()[0]}")

    def draw(self) -> None:
        """Show everything as it is now."""
        if self._antics is not None and self._antics.draw():
            return
        if self.question is not None:
            self.view.draw_question(self.question)
            return
        if not self._ready:
            return
        spinner = [f"{SPINNER[self._spin % len(SPINNER)]} working (esc to interrupt)"] if self.is_busy else []
        hint = self.transcript.problem or f"scripted · {self.transcript.session_id[:8]}"
        hint = "press ctrl-c again to exit" if self._warned else hint
        prefix = ("!" if self._composer.shell else MARK) + NBSP
        self.view.draw(spinner, prefix, self._composer.shown, [f"  {hint}"])
