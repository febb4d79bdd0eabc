"""Which files make a prompt, and which are refused, why, and without waiting for anything."""

import os
from pathlib import Path

import pytest

from lifecycle.prompt.sources import FILE_BYTES, FILES_MAX, Place, Source, clean, places, read
from transport.paths import Root


def source(path: Path, text: bytes = b"text", mode: int = 0o600, follows: bool = False) -> Source:
    path.write_bytes(text)
    path.chmod(mode)
    return Source(path, follows)


def problem(of: Source) -> str:
    text, flaw = read(of)
    assert flaw is not None and text == ""
    return flaw.problem


def test_a_file_of_mine(tmp_path: Path) -> None:
    assert read(source(tmp_path / "a.md", b"\xef\xbb\xbf\n\nline\r\n  two \x00\x1b[31m\n\n", 0o644)) == (
        "line\n  two [31m",
        None,
    )


@pytest.mark.parametrize("mode", [0o622, 0o660, 0o602])
def test_what_others_can_write_is_not_doctrine(tmp_path: Path, mode: int) -> None:
    found = source(tmp_path / "a.md", mode=mode)
    assert problem(found) == f"others can write it; run: chmod go-w {found.path}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_somebody_else_owns_is_not_doctrine(tmp_path: Path) -> None:
    found = source(tmp_path / "a.md", mode=0o644)
    os.chown(found.path, 65534, 65534)
    assert problem(found) == "it belongs to uid 65534; it must be yours"


def test_a_pipe_and_a_directory_do_not_stop_anybody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "directory.md").mkdir()
    for name in ("pipe.md", "directory.md"):
        assert problem(Source(tmp_path / name, False)) == "it cannot be read: not a regular file"


@pytest.mark.parametrize("size", [FILE_BYTES, FILE_BYTES + 1])
def test_a_large_file_is_left_out_as_a_whole(tmp_path: Path, size: int) -> None:
    text, flaw = read(source(tmp_path / "a.md", b"x" * size))
    assert len(text) == (FILE_BYTES if size == FILE_BYTES else 0)
    assert (flaw is None) == (size == FILE_BYTES)
    assert flaw is None or flaw.problem == "48,001 bytes are over the limit of 48,000; shorten it"


def test_the_host_may_use_links_and_a_peer_may_not(tmp_path: Path) -> None:
    source(tmp_path / "secret.txt", b"secret")
    (tmp_path / "a.md").symlink_to("secret.txt")
    assert read(Source(tmp_path / "a.md", follows=True)) == ("secret", None)
    assert problem(Source(tmp_path / "a.md", follows=False)) == "it is a symbolic link; put the file itself there"
    (tmp_path / "secret.txt").chmod(0o666)
    assert "others can write it" in problem(Source(tmp_path / "a.md", follows=True))


def test_a_link_to_nothing_is_told_and_a_file_that_went_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.md").symlink_to("gone")
    assert problem(Source(tmp_path / "a.md", follows=True)) == "it is a link to nothing; mend or remove it"
    assert read(Source(tmp_path / "b.md", follows=True)) == ("", None)


def test_other_encodings_are_shown_and_told(tmp_path: Path) -> None:
    text, flaw = read(source(tmp_path / "a.md", "café".encode("latin-1")))
    assert text == "caf\ufffd"
    assert flaw is not None and flaw.problem == "byte 3 is not UTF-8 and is shown as \ufffd; save it as UTF-8"


def test_lists_are_sorted_bounded_and_only_of_markdown(tmp_path: Path) -> None:
    for name in ("b.md", "a.md", "PEER.md", ".c.md", "d.txt", "e.md~"):
        source(tmp_path / name)
    place = Place(tmp_path, "PEER.md", follows=False)
    assert [each.path.name for each in place.others()[0]] == ["a.md", "b.md"]
    assert [each.path.name for each in place.main()] == ["PEER.md"]
    for number in range(FILES_MAX):
        source(tmp_path / f"n{number}.md")
    found, (flaw,) = place.others()
    assert len(found) == FILES_MAX
    assert flaw.problem == "2 files are over the limit of 100; join some"


def test_fragments_that_are_a_link_a_file_or_absent(tmp_path: Path) -> None:
    place = Place(tmp_path / "peer", "PEER.md", follows=False)
    assert place.fragments() == ([], [])
    place.directory.mkdir()
    (tmp_path / "elsewhere").mkdir()
    source(tmp_path / "elsewhere" / "a.md")
    (place.directory / "fragments").symlink_to(tmp_path / "elsewhere")
    assert place.fragments()[1][0].problem == "it is a symbolic link; put the directory itself there"
    assert len(Place(place.directory, "PEER.md", follows=True).fragments()[0]) == 1
    (place.directory / "fragments").unlink()
    source(place.directory / "fragments")
    assert place.fragments()[1][0].problem == "it cannot be read: Not a directory"


def test_places() -> None:
    host, peer = places(Root(Path("/pw")), Path("/srv/alice"))
    assert (host.directory / host.doctrine, peer.directory / peer.doctrine) == (
        Path("/pw/PEERS.md"),
        Path("/srv/alice/.peerwake/PEER.md"),
    )
    assert host.follows and not peer.follows


def test_clean_keeps_indentation_and_blank_lines_between() -> None:
    assert clean("\n    code\n\n\n\tmore  \n\n") == "    code\n\n\n\tmore"
    assert clean(" \n ") == ""
