import pytest
from pydantic import ValidationError

from lifecycle.runtimes.dialog import Dialog, Step

TRUST = Dialog(name="trust", pattern=r"^ ?Accessing workspace:", choose=r"Yes, I trust this folder$")
NO_FIRST = "\n Accessing workspace:\n /w\n\n ❯ 1. No, exit\n   2. Yes, I trust this folder\n\n Enter to confirm"
YES_FIRST = "\n Accessing workspace:\n /w\n\n ❯ 1. Yes, I trust this folder\n   2. No, exit\n"
ON_YES = " Accessing workspace:\n\n   No, exit\n ❯ Yes, I trust this folder\n"
BELOW = " Accessing workspace:\n\n   Yes, I trust this folder\n ❯ No, exit\n"


@pytest.mark.parametrize(
    ("text", "step"),
    [
        (NO_FIRST, Step(("Down",), answers=False)),
        (BELOW, Step(("Up",), answers=False)),
        (YES_FIRST, Step(("Enter",), answers=True)),
        (ON_YES, Step(("Enter",), answers=True)),
        ("$ \n", None),
        ("", None),
        (" Accessing workspace:\n half drawn", None),
        (" Accessing workspace:\n   No, exit\n   Yes, I trust this folder\n", None),
        (" Accessing workspace:\n ❯ No, exit\n   Yes, I trust this folder\n ❯ and another cursor\n", None),
        (" Accessing workspace:\n ❯ No, exit\n   Maybe\n", None),
        (NO_FIRST + "\n   Yes, I trust this folder\n", None),
        ("❯ said before: Yes, I trust this folder\n" + YES_FIRST, Step(("Enter",), answers=True)),
    ],
)
def test_an_option_is_taken_by_its_text_only_when_it_is_certain(text: str, step: Step | None) -> None:
    assert TRUST.step(text) == step


def test_keys_answer_a_dialog_without_options() -> None:
    dialog = Dialog(name="style", pattern="Choose the text style", keys=("Enter",))
    assert dialog.step("Welcome\nChoose the text style that looks best") == Step(("Enter",), answers=True)
    assert dialog.step("Welcome") is None
    assert dialog.shows("Choose the text style")
    assert not dialog.shows("choose")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"keys": ("Enter",), "choose": "Yes"},
        {"choose": "("},
        {"keys": ("Enter",), "pattern": "["},
        {"keys": ("Enter",), "cursor": "*"},
        {"keys": ("Enter",), "times": 0},
        {"keys": ("Enter",), "times": 21},
        {"keys": ("Enter",), "name": ""},
        {"keys": ("Enter",), "key": "x"},
    ],
)
def test_a_dialog_without_one_clear_answer_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Dialog.model_validate({"name": "n", "pattern": "p", **fields})
