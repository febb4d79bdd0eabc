"""The registry's file: one line per peer, and a change that costs what it changes."""

import json
from pathlib import Path

import pytest

from transport.profile import Profile, make_profile
from transport.snapshot import RegistryCorrupt, RegistryNewer, Snapshot, decode, encode_line, snapshot_from

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


@pytest.mark.parametrize("indent", [None, 1])
def test_a_file_that_somebody_has_laid_out_anew_is_read_all_the_same(three: Snapshot, indent: int | None) -> None:
    data = json.dumps(json.loads(three.encode()), indent=indent).encode()
    assert decode(FILE, data).peers == three.peers


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[]", "is not a registry of version 1"),
        (b"7", "is not a registry of version 1"),
        (b"{}", "is not a registry of version 1"),
        (b'{"version": 0, "peers": []}', "is not a registry of version 1"),
        (b'{"version": 1}', "is not a registry of version 1"),
        (b'{"version": 1, "peers": {}}', "is not a registry of version 1"),
        (b'{"version": 1, "peers": [7]}', "peer 1: "),
    ],
)
def test_what_is_no_registry_is_named_with_the_command_that_mends_it(data: bytes, said: str) -> None:
    with pytest.raises(RegistryCorrupt, match="run: peerwake verify --fix") as caught:
        decode(FILE, data)
    assert said in str(caught.value)


def test_a_registry_of_a_newer_version_is_left_alone() -> None:
    with pytest.raises(RegistryNewer, match="version 2 is newer than 1"):
        decode(FILE, b'{"version": 2, "peers": []}')


def names(found: tuple[tuple[Profile, ...], int]) -> tuple[list[str], int]:
    return [peer.name for peer in found[0]], found[1]


def test_those_whose_name_matches_come_first_and_all_are_counted() -> None:
    team = snapshot_from(
        [
            profile("adam", description="works with Zoe"),
            profile("mia", runtimes=("codex",), default_runtime="codex"),
            profile("zoe"),
            profile("zora"),
        ]
    )
    assert names(team.page("", 0, 9)) == (["adam", "mia", "zoe", "zora"], 4)
    assert names(team.page("  ", 1, 2)) == (["mia", "zoe"], 4)
    assert names(team.page(" ZO", 0, 9)) == (["zoe", "zora", "adam"], 3)
    assert names(team.page("zoe", 0, 1)) == (["zoe"], 2)
    assert names(team.page("codex", 0, 9)) == (["mia"], 1)
    assert names(team.page("nobody", 0, 9)) == ([], 0)
    assert names(team.page("", -3, 1)) == (["adam"], 4)
    assert names(team.page("", 0, -1)) == ([], 4)


@pytest.mark.parametrize(
    ("wanted", "count", "near"),
    [
        ("reveiwer", 3, ("reviewer",)),
        (" REVIEWER ", 3, ("reviewer",)),
        ("view", 3, ("reviewer",)),
        ("builder-of-things", 3, ("builder",)),
        ("buidler", 1, ("builder",)),
        ("xyz", 3, ()),
        ("", 3, ()),
        (" ", 3, ()),
        ("builder", 0, ()),
    ],
)
def test_a_name_that_was_mistyped_leads_to_those_it_may_have_been(wanted: str, count: int, near: tuple[str]) -> None:
    assert snapshot_from([profile("builder"), profile("reviewer"), profile("tom")]).nearest(wanted, count) == near


def test_of_many_that_are_near_the_likeliest_come_first() -> None:
    team = snapshot_from(profile(f"worker{number}") for number in range(100))
    assert team.nearest("worker7", 1) == ("worker7",)
    assert team.nearest("worker77x", 2)[0] == "worker77"


def test_each_directory_leads_to_its_peer(three: Snapshot) -> None:
    assert three.directories == {Path(f"/work/{name}"): name for name in ("adam", "mia", "zoe")}


def test_who_works_below_a_directory() -> None:
    peers = snapshot_from([profile("a", cwd="/w/a"), profile("b", cwd="/w/a/b/c"), profile("ab", cwd="/w/ab")])
    assert peers.below(Path("/w/a")) == ("b",)
    assert peers.below(Path("/w")) == ("a", "ab", "b")
    assert peers.below(Path("/w/a/b/c")) == ()
