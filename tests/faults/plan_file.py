"""A plan as a small file that people can read: a line for the seed, one for the seconds, one for each strike."""

from tests.faults.plan import Plan, Strike, Whom

HEADER = "# at (s)  healed after (s)  seed of its choices  whose session  fault"


class PlanUnreadable(Exception):
    """A plan's file cannot be read; the text names the line."""


def render(plan: Plan) -> str:
    """Return the text of a plan."""
    lines = [f"seed {plan.seed}", f"seconds {plan.seconds:g}", HEADER, *map(_line, plan.strikes)]
    return "\n".join(lines) + "\n"


def _line(each: Strike) -> str:
    return f"{each.at:9.3f} {each.heal_after:6.3f} {each.seed:11} {each.whom:10}  {each.fault}"


def parse(text: str) -> Plan:
    """Return the plan of a text, its strikes in the order of their times; raises PlanUnreadable."""
    head: dict[str, str] = {}
    strikes = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        try:
            match words:
                case []:
                    continue
                case [word, *_] if word.startswith("#"):
                    continue
                case [("seed" | "seconds") as name, value]:
                    head[name] = value
                case _:
                    at, heal_after, seed, whom, fault = line.split(None, 4)
                    strikes.append(Strike(float(at), fault.strip(), int(seed), float(heal_after), Whom(whom)))
        except ValueError as error:
            raise PlanUnreadable(f"line {number}: {error}: {line!r}") from None
    try:
        seed, seconds = int(head["seed"]), float(head["seconds"])
    except (KeyError, ValueError) as error:
        raise PlanUnreadable(f"it needs a line `seed N` and a line `seconds S`: {error}") from None
    return Plan(seed, seconds, tuple(sorted(strikes, key=lambda strike: strike.at)))
