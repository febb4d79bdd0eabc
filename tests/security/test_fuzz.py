"""The targets of `scripts/fuzz`, driven by Hypothesis: any bytes, and bytes made of what means something to them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.security.fuzz_targets import NEEDLE, SEEDS, TARGETS

TOP = Path(__file__).parents[2]
WORDS = (
    *(
        b"\n",
        b"\r",
        b"\x1b",
        b"\x1b[",
        b"\x9b",
        b"\0",
        b'"',
        b"\\",
        b"<",
        b">",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"=",
    ),
    *(b"<peer-message-000000", b"</peer-message-000000>", b' id="', NEEDLE.encode(), b"%begin 1 2 1", b"%end 1 2 1"),
    *(b"\xe2\x80\xa8", b"\xef\xbc\x9c", b"\xc2\x9b", b"\xff", b"\xed\xa0\x80", b"[Pasted text +", b" lines]", b"null"),
    *(b"1" * 5000, b"-1", b"1e999", b"NaN", b'"type"', b'"user"', b"true", "❯\u00a0".encode(), "─".encode() * 12),
)
FINDINGS: dict[str, tuple[bytes, ...]] = {
    "records": (
        b'{"type": "user", "text": "<peer-message-", "payload": ' + b"[" * 100_000,
        b'{"type": "user", "text": "<peer-message-", "message": ' + b"9" * 5_000 + b"}",
    ),
    "json_lines": (
        b'{"peerwake": 1, "role": ["mcp"]}',
        b'{"peerwake": 1, "role": {}}',
        b'{"id": ' + b"[" * 900 + b"]" * 900 + b', "verb": "ping"}',
        b'{"jsonrpc": "2.0", "id": null, "method": "x", "params": {"a": ' + b"9" * 5_000 + b"}}",
    ),
    "decoders": (
        json.dumps(json.loads(SEEDS["decoders"][0]) | {"woke_at": 10**400}).encode(),
        json.dumps(json.loads(SEEDS["decoders"][0]) | {"woke_at": float("inf")}).encode(),
        json.dumps(json.loads(SEEDS["decoders"][0]) | {"woke_at": float("nan")}).encode(),
    ),
    "toml": (b"attempts = " + b"1" * 5_000, b"env" + b".a" * 3_000 + b' = "x"', b"port = " + b"1" * 5_000),
}
BYTES = st.binary(max_size=400)


def pieces(name: str) -> st.SearchStrategy[bytes]:
    """Bytes as a fuzzer would make them: the seeds of a target cut, joined and sprinkled with words."""
    seeds = st.sampled_from(SEEDS[name])
    cuts = st.builds(
        lambda seed, start, end: seed[start : max(start, len(seed) - end)], seeds, *2 * [st.integers(0, 80)]
    )
    return st.lists(seeds | cuts | st.sampled_from(WORDS) | BYTES, max_size=6).map(b"".join)


@pytest.mark.parametrize("name", TARGETS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_input_breaks_a_promise(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(BYTES | pieces(name)))


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_once_found_stays_mended(name: str) -> None:
    target: Callable[[bytes], None] = TARGETS[name]
    for case in (*SEEDS[name], *FINDINGS.get(name, ())):
        target(case)


def test_every_target_has_seeds_and_what_runs_them_is_pinned() -> None:
    assert SEEDS.keys() == TARGETS.keys() >= FINDINGS.keys()
    first, *hashes = (TOP / "scripts/fuzz-requirements.lock").read_text().replace("\\\n", "").split()
    assert first.startswith("atheris==")
    assert hashes
    assert all(word.startswith("--hash=sha256:") for word in hashes)
