"""The command line of the fault machine."""

import argparse
from pathlib import Path


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=description)
    _add_of_plans(parser)
    parser.add_argument("--messages", type=int, help="about so many messages; without it as many as are taken")
    parser.add_argument("--peers", type=int, default=8, help="warm recipients")
    parser.add_argument("--workers", type=int, default=2, help="ephemeral recipients")
    parser.add_argument("--senders", type=int, default=2, help="senders on each transport")
    parser.add_argument("--no-injections", action="store_true", help="only faults of processes and files")
    parser.add_argument("--small-disk", action="store_true", help="on a disk of its own, which can be full (root only)")
    parser.add_argument("--list", action="store_true", help="print the names of the faults")
    parser.add_argument("--record", action="store_true", help="write the summary into bench/RESULTS.md")
    parser.add_argument("--keep", action="store_true", help="keep the root also when all is well")
    return parser


def _add_of_plans(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="repeats each message's body and wishes and, as long as the faults, their weights and --every are the"
        " same, the plan; not what runs when",
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long messages are sent and faults strike")
    parser.add_argument("--every", type=float, default=2.5, help="seconds between two faults, on average; 0: none")
    parser.add_argument("--only", action="append", metavar="FAULT", help="only these faults (more than once)")
    parser.add_argument(
        "--plan",
        type=Path,
        metavar="FILE",
        help="the plan of a file, with its seed and its length: --seed, --minutes, --every and --only do not count",
    )
    parser.add_argument("--save-plan", type=Path, metavar="FILE", help="write the plan into a file first")
    parser.add_argument("--plan-only", action="store_true", help="print what would strike when, and do not run")
