"""The command line of one command: argparse for options, and positionals that may stand anywhere.

argparse (3.11) loses an optional positional that follows an option, so positionals are ours.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn

from mcp_server.cli.failures import BadUsage, Refused

HELP = ("-h", "--help")


class HelpWanted(Exception):
    """The user asked for help: print `text`, run nothing."""

    def __init__(self, text: str) -> None:
        super().__init__("help")
        self.text = text


class Word:
    """A positional argument: `needed` or not; `many` takes all that follow."""

    def __init__(self, field: str, help: str, needed: bool, many: bool) -> None:
        self.field = field
        self.help = help
        self.needed = needed
        self.many = many

    @property
    def shown(self) -> str:
        name = self.field.upper() + ("…" if self.many else "")
        return name if self.needed else f"[{name}]"


class Parser(argparse.ArgumentParser):
    """Options before, after or between the words; `--` ends the options; help anywhere wins."""

    def __init__(self, command: str, summary: str, *, after: str | None = None, epilog: str | None = None) -> None:
        super().__init__(
            prog=f"peerwake {command}",
            description=summary,
            epilog=epilog,
            add_help=False,
            allow_abbrev=False,
            formatter_class=_formatter,
        )
        self.color = False
        self.words: list[Word] = []
        self.after = after

    def word(self, field: str, help: str, *, needed: bool = True, many: bool = False) -> None:
        """Declare the next positional argument."""
        self.words.append(Word(field, help, needed, many))

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Return the arguments. Raises HelpWanted, or BadUsage naming what is wrong."""
        cut = list(argv).index("--") if "--" in argv else len(argv)
        head, tail = list(argv[:cut]), list(argv[cut + 1 :])
        if any(token in HELP for token in head):
            raise HelpWanted(self.format_help())
        found, rest = self.parse_known_args(head)
        self._refuse_options(rest)
        if self.after is None:
            rest += tail
        else:
            setattr(found, self.after, tail)
        self._assign(found, rest)
        return found

    def error(self, message: str) -> NoReturn:
        raise BadUsage(f"{message}; see: {self.prog} --help")

    def format_help(self) -> str:
        options = super().format_help().split("\n\n", 1)[1]
        words = "".join(f"  {word.shown:<15}{word.help}\n" for word in self.words)
        return f"{self._usage()}\n\n{_insert_after_description(options, words)}"

    def _usage(self) -> str:
        shown = [self.prog, *(["[OPTIONS]"] if self._actions else []), *(word.shown for word in self.words)]
        return "usage: " + " ".join(shown + ([f"[-- {self.after.upper()}…]"] if self.after else []))

    def _refuse_options(self, rest: Sequence[str]) -> None:
        for token in rest:
            if token.startswith("-") and token != "-" and " " not in token and not token[1:2].isdigit():
                self.error(f"unknown option {token!r:.80} (put '--' before a word that begins with a dash)")

    def _assign(self, found: argparse.Namespace, given: list[str]) -> None:
        for word in self.words:
            if word.needed and not given:
                self.error(f"{word.field.upper()} is missing")
            taken = given if word.many else given[:1]
            given = given[len(taken) :]
            setattr(found, word.field, taken if word.many else taken[0] if taken else None)
        if given:
            self.error(f"one word too many: {given[0]!r:.80}")


def refuse_empty(options: Mapping[str, str | None]) -> None:
    """Raise Refused for an option whose value is an empty text, such as a variable of a shell that is not set."""
    for option, value in options.items():
        if value == "":
            raise Refused(f"{option}: it is empty; give a value, or leave the option out", "invalid")


def _formatter(prog: str) -> argparse.HelpFormatter:
    """A fixed width: asking the terminal would import a module at each start."""
    return argparse.RawDescriptionHelpFormatter(prog, width=100)


def _insert_after_description(text: str, words: str) -> str:
    if not words:
        return text
    description, _, rest = text.partition("\n\n")
    block = "arguments:\n" + words
    return f"{description.rstrip()}\n\n{block}\n{rest}" if rest else f"{description.rstrip()}\n\n{block}"
