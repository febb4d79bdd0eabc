"""The registry's file: one line per peer, and a change that costs what it changes."""

import json
from pathlib import Path

import pytest

from transport.profile import Profile, make_profile
from transport.snapshot import RegistryCorrupt, Snapshot, decode, encode_line, snapshot_from

FILE = Path("/root/peers.json")


def profile(name: str, **changes: object) -> Profile:
    fields: dict[str, object] = {
        "name": name,
        "runtimes": ("claude",),
        "default_runtime": "claude",
        "cwd": f"/work/{name}",
        "host": "box",
        "tenant_id": "me",
        "created_at": "2026",
    }
    return make_profile(**{**fields, **changes})


@pytest.fixture
def three() -> Snapshot:
    return snapshot_from([profile("zoe"), profile("adam", colour="blue"), profile("mia", description="a\u00a0b")])


def test_what_is_written_is_read(three: Snapshot) -> None:
    data = three.encode()
    assert decode(FILE, data) == three
    assert three.names == ("adam", "mia", "zoe")
    document = json.loads(data)
    assert [peer["name"] for peer in document["peers"]] == ["adam", "mia", "zoe"]
    assert document["peers"][0]["colour"] == "blue"
    assert decode(FILE, snapshot_from([]).encode()) == snapshot_from([])


def test_unchanged_lines_are_not_read_again(three: Snapshot) -> None:
    after = three.replaced(drop=["mia"], put=[profile("bob"), profile("zoe", description="new")])
    assert after.names == ("adam", "bob", "zoe")
    assert three.names == ("adam", "mia", "zoe")
    reread = decode(FILE, after.encode(), known=three)
    assert reread == after
    assert reread.peers["adam"] is three.peers["adam"]
    assert reread.peers["zoe"].description == "new"


@pytest.mark.parametrize(
    "lines",
    [
        [profile("a"), profile("a", description="twice")],
        [profile("a"), profile("b", cwd="/work/a")],
    ],
)
def test_a_name_or_a_directory_stands_once(lines: list[Profile]) -> None:
    data = b'{"version": 1, "peers": [\n' + b",\n".join(map(encode_line, lines)) + b"\n]}\n"
    with pytest.raises(RegistryCorrupt, match="twice"):
        decode(FILE, data)


def test_a_bad_line_is_named(three: Snapshot) -> None:
    data = three.encode().replace(b'"/work/mia"', b'"work/mia"')
    with pytest.raises(RegistryCorrupt, match=r"/root/peers.json, peer 2: cwd: 'work/mia' is not an absolute path"):
        decode(FILE, data)


def test_every_truncation_is_noticed(three: Snapshot) -> None:
    data = three.encode().rstrip(b"\n")
    for end in range(len(data)):
        with pytest.raises(RegistryCorrupt):
            decode(FILE, data[:end])
