"""A boot dialog and its answer: found by the text of an option, never by its position."""

import re
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from transport.screen import Regex


@dataclass(frozen=True, slots=True)
class Step:
    """Keys to press now; `answers` says that they close the dialog, else look at the screen again."""

    keys: tuple[str, ...]
    answers: bool


class Dialog(BaseModel):
    """A dialog that may stand on the screen while a client boots, answered at most `times` times.

    Either `keys` are pressed, or the cursor is moved to the option whose text matches `choose`
    and `confirm` is pressed there. `cursor` marks the line of the cursor; both are searched
    from the place where `pattern` matched to the end of the screen. Before each key the dialog must
    have looked the same for `settle_seconds`: Claude Code draws its trust dialog a second time, with the
    cursor back on "No", 0.15 s after the first (measured with 2.1.328).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    pattern: Regex
    keys: tuple[str, ...] = ()
    choose: Regex | None = None
    cursor: Regex = r"^\s*[❯›»>]\s"
    confirm: tuple[str, ...] = ("Enter",)
    times: int = Field(default=1, ge=1, le=20)
    settle_seconds: float = Field(default=0.4, ge=0, le=30)

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if bool(self.keys) == (self.choose is not None):
            raise ValueError("give either keys or choose, the text of the option to take")
        return self

    def step(self, text: str) -> Step | None:
        """Return what to press on a screen that shows `text`, None when it is not certain.

        None: the dialog is not there, or it is but the option or the cursor cannot be told.
        """
        found = re.search(self.pattern, text, re.MULTILINE)
        if found is None:
            return None
        if self.choose is None:
            return Step(self.keys, answers=True)
        lines = text[text.rfind("\n", 0, found.start()) + 1 :].split("\n")
        cursors = [number for number, line in enumerate(lines) if re.search(self.cursor, line)]
        options = [number for number, line in enumerate(lines) if re.search(self.choose, line)]
        if len(cursors) != 1 or len(options) != 1:
            return None
        if cursors == options:
            return Step(self.confirm, answers=True)
        return Step(("Down",) if cursors < options else ("Up",), answers=False)

    def shows(self, text: str) -> bool:
        """Return whether the dialog stands on a screen that shows `text`."""
        return re.search(self.pattern, text, re.MULTILINE) is not None
