"""A small terminal client for tests of the tmux driver: bracketed paste, composer, dialogs, drafts, transcript.

Run as a program; `TUI_*` variables choose its behaviour (see `main`). Every key and paste it gets is a line
of JSON in `TUI_KEYS`, so that a test can tell what was typed and what was not.
"""

import json
import os
import re
import select
import signal
import sys
import termios
import time
import tty
import unicodedata
from pathlib import Path

PASTE_START, PASTE_END = b"\x1b[200~", b"\x1b[201~"
PROMPT = "❯\u00a0"


def width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Cf", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def wrap(text: str, columns: int) -> list[str]:
    rows: list[str] = []
    for line in text.split("\n"):
        row, used = "", 0
        for char in line.expandtabs(4):
            if used + width(char) > columns:
                rows.append(row)
                row, used = "", 0
            row, used = row + char, used + width(char)
        rows.append(row)
    return rows


class Tui:
    def __init__(self) -> None:
        env = os.environ
        self.transcript = Path(env["TUI_TRANSCRIPT"])
        self.keys = Path(env["TUI_KEYS"])
        self.text = env.get("TUI_DRAFT", "")
        self.dialog = env.get("TUI_DIALOG", "")
        self.dialog_on = env.get("TUI_DIALOG_ON", "")
        self.swallow = int(env.get("TUI_SWALLOW", "0"))
        self.slow = float(env.get("TUI_SLOW", "0"))
        self.collapse = int(env.get("TUI_COLLAPSE", "1000000"))
        self.rows = int(env.get("TUI_ROWS", "1000000"))
        self.work = float(env.get("TUI_WORK", "0"))
        self.silent = "TUI_SILENT" in env
        self.stuck = "TUI_STUCK" in env
        self.drop = "TUI_DROP" in env
        self.stop = env.get("TUI_STOP", "")
        self.spin = "TUI_SPIN" in env
        self.go_on = self.keys.parent / "go on"
        self.mangle = "TUI_MANGLE" in env
        self.ghost = env.get("TUI_GHOST", "")
        self.busy_until = time.monotonic() + float(env.get("TUI_BUSY", "0"))
        self.is_collapsed = False
        self.queue: list[str] = []
        self.history: list[str] = env.get("TUI_HISTORY", "").split("\n")

    @property
    def is_busy(self) -> bool:
        return time.monotonic() < self.busy_until

    def log(self, **event: str) -> None:
        with self.keys.open("a") as file:
            file.write(json.dumps(event) + "\n")

    def write_down(self, kind: str, text: str) -> None:
        if self.silent:
            return
        with self.transcript.open("a") as file:
            file.write(json.dumps({"type": kind, "text": text}) + "\n")

    def shown_input(self) -> str:
        if self.is_collapsed:
            return f"[Pasted text +{self.text.count(chr(10))} lines]"
        return self.text.swapcase() if self.mangle else self.text

    def draw(self) -> None:
        if self.slow:
            time.sleep(self.slow)
        size = os.get_terminal_size()
        out = ["\x1b[H\x1b[2J\x1b[?25h"]
        lines = self.history[-(size.lines // 3) :]
        if self.dialog:
            lines += [" " + self.dialog, " ❯ 1. Yes", "   2. No", "", " Esc to cancel"]
        if self.dialog == "":
            rows = wrap(self.shown_input(), size.columns - 2)
            rows = rows[-min(self.rows, max(1, size.lines - 4)) :]
            lines = lines[-max(0, size.lines - len(rows) - 3) :]
            if self.is_busy:
                lines.append("* Working (esc to interrupt)")
            lines.append("─" * size.columns)
            if self.ghost and not self.text:
                rows = [f"\x1b[2m{self.ghost}\x1b[0m"]
            lines += [(PROMPT if index == 0 else "  ") + row for index, row in enumerate(rows)]
            lines += ["─" * size.columns, "  ready"]
        out.append("\r\n".join(lines))
        if self.dialog == "":
            out.append(f"\x1b[2A\r\x1b[{2 + sum(map(width, rows[-1])) if self.text else 2}C")
        os.write(1, "".join(out).encode())

    def submit(self) -> None:
        if self.swallow:
            self.swallow -= 1
            return
        text, self.text, self.is_collapsed = self.text, "", False
        if not text.strip():
            return
        if self.is_busy:
            self.queue.append(text)
            self.write_down("queued", text)
            return
        self.take(text)

    def take(self, text: str) -> None:
        self.write_down("user", text)
        self.history += [f"> {line}" for line in text.split("\n")[:3]]
        self.busy_until = time.monotonic() + self.work
        if self.dialog_on == "submit":
            self.dialog = "Do you want to proceed?"

    def ask(self) -> None:
        self.dialog = "Do you want to proceed?"
        self.draw()

    def paste(self, text: str) -> None:
        self.log(paste=text)
        if self.dialog_on == "paste":
            self.dialog = "Do you want to proceed?"
        if self.dialog:
            return
        while self.stuck and not self.go_on.exists():
            time.sleep(0.005)
        if self.drop:
            self.drop = False
            self.history.append("dropped")
            return
        self.text += text
        self.is_collapsed = len(text) > self.collapse

    def key(self, char: str) -> None:
        self.log(key=char)
        if self.dialog:
            if char in ("\r", "\n"):
                self.log(approved=self.dialog)
                self.dialog = ""
        elif char == "\r":
            self.submit()
        elif char == "\x04":
            sys.exit(int(os.environ.get("TUI_STATUS", "0")))
        elif char.isprintable():
            self.text += char

    def run(self) -> None:
        fd = sys.stdin.fileno()
        tty.setraw(fd, termios.TCSANOW)
        signal.signal(signal.SIGUSR1, lambda *_: self.ask())
        os.write(1, b"\x1b[?2004h")
        data = b""
        was_busy = self.is_busy
        self.draw()
        while True:
            is_spinning = self.spin and not self.go_on.exists()
            ready, _, _ = select.select([fd], [], [], 0 if is_spinning else 0.02)
            if ready:
                had = self.text
                data = self.consume(data + os.read(fd, 65536))
                self.draw()
                self.freeze("paste" if self.text and not had else "key")
            if was_busy and not self.is_busy:
                for text in self.queue:
                    self.take(text)
                self.queue = []
                self.draw()
            was_busy = self.is_busy

    def freeze(self, what: str) -> None:
        """Stop once, after the first paste or the first key was dealt with and drawn."""
        if self.stop == what:
            self.stop = ""
            os.kill(os.getpid(), signal.SIGSTOP)

    def consume(self, data: bytes) -> bytes:
        while data:
            if data.startswith(PASTE_START):
                end = data.find(PASTE_END)
                if end < 0:
                    return data
                self.paste(data[len(PASTE_START) : end].decode())
                data = data[end + len(PASTE_END) :]
                continue
            if PASTE_START.startswith(data[:6]) and len(data) < 6 and data[0] == 0x1B:
                return data
            found = re.match(rb"[\x00-\x7f]|[\xc2-\xf4][\x80-\xbf]+", data)
            size = len(found[0]) if found else 1
            self.key(data[:size].decode("utf-8", "replace"))
            data = data[size:]
        return data


if __name__ == "__main__":
    Tui().run()
