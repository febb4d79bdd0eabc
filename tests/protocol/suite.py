"""The public conformance suite: running it, and what it found beside what was expected."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

BASELINE = Path(__file__).parent / "expected-failures.yaml"
ERAS = ("2025-11-25", "2026-07-28")
SECONDS = 240
ENTRY = re.compile(r"  - (?P<scenario>[a-z0-9-]+):(?P<check>[a-z0-9-]+)  # (?P<reason>\S.*)")
RESULT = re.compile(r"server-(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")
EXTENSIONS = ("tasks-",)
"""Scenarios of optional extensions, which the suite itself does not score."""

Check = tuple[str, str]


@dataclass(frozen=True)
class Outcome:
    """What one run of the suite found: its own verdict, and every check with its status."""

    status: int
    output: str
    checks: dict[Check, str]

    def failures(self) -> set[Check]:
        """Return the checks that failed or warned, those of extensions left out."""
        bad = {check for check, status in self.checks.items() if status in ("FAILURE", "WARNING")}
        return {check for check in bad if not check[0].startswith(EXTENSIONS)}

    def scenarios(self) -> set[str]:
        return {scenario for scenario, _ in self.checks}


def run_suite(programs: Path, url: str, era: str, place: Path, baseline: Path = BASELINE) -> Outcome:
    """Run what a revision of the specification requires of a server; results are left in `place`."""
    argv = [programs / "node", programs / "conformance", "server", "--url", f"{url}/mcp", "--requirements", era]
    argv += ["--expected-failures", baseline, "--output-dir", place]
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=place,
        env=os.environ | {"HOME": str(place), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return Outcome(done.returncode, done.stdout[-6000:] + done.stderr[-2000:], found(place))


def found(place: Path) -> dict[Check, str]:
    """Return the checks of all results below a directory; of one that was made often, the worst status."""
    ranks = ("SKIPPED", "INFO", "SUCCESS", "WARNING", "FAILURE")
    checks: dict[Check, str] = {}
    for path in place.glob("*/checks.json"):
        named = RESULT.fullmatch(path.parent.name)
        assert named, path.parent.name
        for check in json.loads(path.read_text()):
            key, status = (named["scenario"], check["id"]), check["status"]
            checks[key] = max(checks.get(key, status), status, key=ranks.index)
    return checks


def expected(baseline: Path = BASELINE) -> dict[Check, str]:
    """Return each expected failure with its reason; a line that has none fails."""
    entries: dict[Check, str] = {}
    for line in baseline.read_text().splitlines():
        if line.startswith(("#", "server:")):
            continue
        entry = ENTRY.fullmatch(line)
        assert entry, f"not an entry with a reason: {line!r}"
        key = entry["scenario"], entry["check"]
        assert key not in entries, f"twice: {line!r}"
        entries[key] = entry["reason"]
    return entries
