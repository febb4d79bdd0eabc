"""Runs one target of `fuzz_targets` under atheris: `fuzz_main.py TARGET CORPUS [libFuzzer options]`."""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["transport", "lifecycle", "mcp_server"]):
    from tests.security import fuzz_targets


def main(name: str, corpus: Path, options: list[str]) -> None:
    """Fuzz until the options say that it is enough; libFuzzer ends the process."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(fuzz_targets.SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *options, str(corpus)], fuzz_targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
