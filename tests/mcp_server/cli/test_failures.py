"""Every refusal of the lifecycle has the exit code of a refusal."""

import pytest

import transport.message
import transport.registry
from lifecycle.requests import Refused
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import failure
from mcp_server.clients.connection import ConfigUnusable, GlobalSettings
from transport.errors import InvalidInput, PeerwakeError


def kinds(root: type[PeerwakeError]) -> list[type[PeerwakeError]]:
    below = [kind for child in root.__subclasses__() for kind in kinds(child)]
    return ([root] if "code" in vars(root) else []) + below


@pytest.mark.parametrize(
    "kind", [*kinds(Refused), *kinds(InvalidInput), GlobalSettings], ids=lambda kind: kind.__name__
)
def test_refusals_end_with_four(kind: type[PeerwakeError]) -> None:
    assert failure(kind.code, "x").exit_code is Exit.REFUSED


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("spool-full", 1), ("unheard-of", 1), (ConfigUnusable.code, 1), ("spool-uncertain", 5), ("dead-letter", 7)],
)
def test_faults_are_not_refusals(code: str, exit_code: int) -> None:
    assert failure(code, "x").exit_code == exit_code


def test_every_exit_code_is_distinct() -> None:
    assert len({int(code) for code in Exit}) == len(Exit.__members__)


def test_modules_with_refusals_were_seen() -> None:
    assert transport.registry.NameTaken in kinds(InvalidInput)
    assert transport.message.TooLarge in kinds(InvalidInput)
