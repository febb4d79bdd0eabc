"""`python -m bench.profiled OUT PLACES [PYTHON -m] MODULE [ARGUMENT …]`: run a module, its steps timed, sampled.

PLACES is a list in JSON of what `Stopwatch.watch` takes. What was found is written to OUT when the module ends.
"""

import json
import runpy
import sys
from pathlib import Path

from bench.stopwatch import Sampler, Stopwatch


def main() -> None:
    """Run the module as if it had been started by itself."""
    out, places, *words = sys.argv[1:]
    words = words[2:] if words[1:2] == ["-m"] else words
    stopwatch, sampler = Stopwatch(), Sampler()
    for place in json.loads(places):
        stopwatch.watch(place)
    sys.argv = words
    try:
        with sampler.running():
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    finally:
        found = {"laps": stopwatch.laps, "samples": sampler.samples, "stacks": list(sampler.stacks)}
        Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
