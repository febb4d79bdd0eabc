"""Where a message's text comes from: the command line, a file, or standard input, bounded."""

import sys

from mcp_server.cli.failures import BadUsage, Refused

LIMIT_BYTES = 256 * 1024


def message_text(word: str | None, file: str | None) -> str:
    """Return the text of a message. Raises BadUsage for no or two sources, Refused for text that cannot be sent."""
    if word is not None and file is not None:
        raise BadUsage("give the message or --file, not both")
    if file is not None and file != "-":
        return decoded(_read_file(file), file)
    if word == "-" or file == "-":
        return decoded(sys.stdin.buffer.read(LIMIT_BYTES + 1) if sys.stdin else b"", "standard input")
    if word is None:
        raise BadUsage("no message; give it as a word, with --file F, or '-' for standard input")
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise Refused("message: the argument is not UTF-8 text", "invalid") from error
    return word


def _read_file(path: str) -> bytes:
    from pathlib import Path

    try:
        with Path(path).open("rb") as source:
            return source.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise BadUsage(f"cannot read --file {path!r:.200}: {error.strerror}") from error


def decoded(data: bytes, origin: str) -> str:
    """Return UTF-8 bytes as text. Raises Refused naming the first bad byte or the limit."""
    if len(data) > LIMIT_BYTES:
        raise Refused(
            f"message: {origin} is longer than {LIMIT_BYTES} bytes (256 KiB); send a file with --attach", "too-large"
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"message: {origin} is not UTF-8 text (byte {error.start})", "invalid") from error
