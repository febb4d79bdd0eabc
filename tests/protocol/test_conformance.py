"""The public MCP conformance suite against the real server, in both eras of the protocol."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from mcp_server.tools.schemas import TOOLS
from tests.live.world import World
from tests.protocol.relay import relay
from tests.protocol.suite import BASELINE, ERAS, expected, run_suite

GENERIC = {
    "2025-11-25": {
        *("server-initialize", "server-session-lifecycle", "ping", "tools-list", "resources-list"),
        *("server-sse-multiple-streams", "dns-rebinding-protection"),
    },
    "2026-07-28": {
        *("tools-list", "resources-list", "sep-2164-resource-not-found", "server-sse-multiple-streams"),
        *("dns-rebinding-protection", "http-header-validation"),
        *("input-required-result-unsupported-methods", "input-required-result-validate-input"),
    },
}
"""Scenarios that need nothing of the suite's own reference server: no check of them may fail."""


@pytest.mark.clients
@pytest.mark.live
@pytest.mark.parametrize("era", ERAS)
def test_only_what_is_expected_fails(programs: Path, world: World, tmp_path: Path, era: str) -> None:
    with relay(world.root.server_socket) as url:
        outcome = run_suite(programs, url, era, tmp_path)
    assert outcome.status == 0, outcome.output
    wanted = {check for check in expected() if check[0] in outcome.scenarios()}
    assert outcome.failures() - wanted == set()
    assert wanted - outcome.failures() == set(), f"these pass now, or are gone: take them out of {BASELINE.name}"
    passed = {scenario for scenario in outcome.scenarios() if not any(one == scenario for one, _ in outcome.failures())}
    assert passed >= GENERIC[era]
    wire = {status for (_, check), status in outcome.checks.items() if check == "wire-schema-valid"}
    assert wire == {"SUCCESS"}
    assert "failed" not in world.log("lifecycle")
    assert "Traceback" not in world.log("server")


@pytest.mark.clients
@pytest.mark.live
@pytest.mark.parametrize(
    ("entry", "says"),
    [("- ping:ping  # it passes", "stale"), (None, "unexpected")],
    ids=["an expected failure that passes", "a failure that is not expected"],
)
def test_a_wrong_baseline_fails(programs: Path, world: World, tmp_path: Path, entry: str | None, says: str) -> None:
    baseline = tmp_path / "baseline.yaml"
    lines = BASELINE.read_text().splitlines()
    baseline.write_text("\n".join([*lines, f"  {entry}"] if entry else lines[:-1]) + "\n")
    with relay(world.root.server_socket) as url:
        outcome = run_suite(programs, url, ERAS[0], tmp_path, baseline)
    assert outcome.status == 1
    assert says in outcome.output.lower()


def test_every_expected_failure_has_its_reason() -> None:
    assert len(expected()) > 20
    assert not {scenario for scenario, _ in expected()} & {one for scenarios in GENERIC.values() for one in scenarios}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: str(tool["name"]))
@pytest.mark.parametrize("schema", ["inputSchema", "outputSchema"])
def test_the_tools_schemas_are_json_schema_2020_12(tool: dict[str, dict[str, object]], schema: str) -> None:
    Draft202012Validator.check_schema(tool[schema])
    assert tool[schema]["type"] == "object"
