"""What came of the strikes of a plan: struck or nothing there to strike, and of some faults how often they hit."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Scores:
    """Counts by the fault's name; `hits` only of faults that count them, `void` those of their strikes without one."""

    planned: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    void: Counter[str] = field(default_factory=Counter)

    def healed(self, name: str, hits: int | None) -> None:
        """Note how often a strike hit by the time it was healed, None where nobody counts."""
        if hits is not None:
            self.hits[name] += hits
            self.void[name] += hits == 0

    def missed(self) -> list[str]:
        """Return the faults that were planned and came to nothing each time."""
        return sorted(name for name in self.planned if self.struck[name] <= self.void[name])

    def lines(self) -> Iterator[str]:
        """Yield a line for each fault that struck, and one for those that never did."""
        for name, count in sorted(self.struck.items()):
            yield f"  {count:5}  {name}{self._of(name)}"
        if missed := self.missed():
            yield f"planned, but missed each time: {', '.join(self._times(missed))}"

    def _of(self, name: str) -> str:
        said = []
        if name in self.hits:
            said.append(f"{self.hits[name]} hits")
        if self.void[name]:
            said.append(f"{self.void[name]} hit nothing")
        if nothing := self.planned[name] - self.struck[name]:
            said.append(f"{nothing} more found nothing to strike")
        return f" ({', '.join(said)})" if said else ""

    def _times(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            yield f"{name} ({self.planned[name]})" if self.planned[name] > 1 else name
