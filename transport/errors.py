"""The root of our errors: each names by its class what the caller does next."""


class PeerwakeError(Exception):
    """An error with a stable machine-readable `code`; its text tells the user what to do."""

    code = "error"


class InvalidInput(PeerwakeError):
    """An input is outside its limits: nothing was changed, the caller corrects `field`."""

    code = "invalid"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
