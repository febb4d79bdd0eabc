"""A client for the tests of pasting that writes down every byte it gets, and submits a paste at Enter.

Run as a program in a terminal of `tests.terminal`; the bytes go to `raw` beside its transcript.
"""

import json
import os
import sys
import tty
from pathlib import Path

START, END = b"\x1b[200~", b"\x1b[201~"


def draw(pasted: bytes | None) -> None:
    columns = os.get_terminal_size().columns
    shown = "" if pasted is None else f"[Pasted text +{pasted.count(10)} lines]"
    rows = ["─" * columns, f"❯\u00a0{shown}", "─" * columns, "  ready"]
    os.write(1, ("\x1b[H\x1b[2J" + "\r\n".join(rows) + f"\x1b[2A\r\x1b[{2 + len(shown)}C").encode())


def take(pending: bytes, pasted: bytes | None, transcript: Path) -> tuple[bytes, bytes | None]:
    """Do what is complete in the bytes that wait; returns what still waits and what stands in the composer."""
    while pending:
        if pending.startswith(START):
            text, end, rest = pending[len(START) :].partition(END)
            if not end:
                break
            pending, pasted = rest, (pasted or b"") + text
        elif START.startswith(pending):
            break
        else:
            key, pending = pending[:1], pending[1:]
            if key == b"\r" and pasted is not None:
                with transcript.open("a") as file:
                    file.write(json.dumps({"type": "user", "text": pasted.decode()}) + "\n")
                pasted = None
    return pending, pasted


def main() -> None:
    transcript = Path(os.environ["TUI_TRANSCRIPT"])
    pending, pasted = b"", None
    tty.setraw(0)
    with transcript.with_name("raw").open("ab", 0) as raw:  # before it shows that it is ready
        os.write(1, b"\x1b[?2004h")
        draw(None)
        while data := os.read(0, 1 << 16):
            raw.write(data)
            pending, pasted = take(pending + data, pasted, transcript)
            draw(pasted)


if __name__ == "__main__":
    sys.exit(main())
