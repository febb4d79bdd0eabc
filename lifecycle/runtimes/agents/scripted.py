"""The scripted agent: a small terminal client for the demo, the tests and the benchmarks.

Run as `python -I -S scripted.py`. It draws its composer before it loads what only a prompt needs,
so every module of this folder is standard library and imports late what is slow to import.
"""

import sys


def main() -> int:
    """Run the agent; returns its exit status."""
    top = __file__.rsplit("/", 4)[0]
    if top not in sys.path:
        sys.path.append(top)
    from lifecycle.runtimes.agents.start import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
