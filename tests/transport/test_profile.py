"""Profiles: checked, written whole, never followed elsewhere, never overwritten when unreadable."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport import files
from transport.errors import InvalidInput
from transport.identity import Identity
from transport.profile import (
    MAX_FILE_BYTES,
    CorruptProfile,
    NewerProfile,
    NoProfile,
    Profile,
    ProfileUnusable,
    decode_profile,
    encode_profile,
    host,
    load_profile,
    make_profile,
    profile_path,
    save_profile,
    tenant,
)
from transport.vocabulary import Intelligence, WakePolicy

FIELDS: dict[str, object] = {
    "name": "alice",
    "runtimes": ("claude", "codex"),
    "default_runtime": "claude",
    "cwd": "/work/alice",
    "host": "box",
    "tenant_id": "me",
    "created_at": "2026-11-20T08:00:00.000+00:00",
}


def profile(cwd: Path, **changes: object) -> Profile:
    return make_profile(**{**FIELDS, "cwd": cwd, **changes})


def write(cwd: Path, text: str | bytes) -> Path:
    path = profile_path(cwd)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved = save_profile(
        profile(
            tmp_path,
            description="Reviews Ünïcode 😀",
            intelligence=Intelligence.NATURAL,
            wake_policy=WakePolicy.EPHEMERAL,
            initial_prompt="first\n\tsecond",
        )
    )
    assert load_profile(tmp_path) == saved
    assert saved.identities == (Identity("claude", "alice"), Identity("codex", "alice"))
    assert saved.path.stat().st_mode & 0o777 == 0o600
    assert saved.path.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in saved.path.parent.iterdir()] == ["profile.json"]


def test_defaults() -> None:
    made = make_profile(**FIELDS)
    assert (made.intelligence, made.wake_policy) == (Intelligence.ARTIFICIAL, WakePolicy.WARM)
    assert (made.description, made.initial_prompt, made.version) == ("", None, 1)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "Alice", "must match"),
        ("name", "alice\n", "must match"),
        ("name", "operator", "reserved"),
        ("name", 3, "valid string"),
        ("runtimes", (), "at least 1"),
        ("runtimes", ("claude", "claude"), "twice"),
        ("runtimes.1", ("claude", "co-dex"), "must match"),
        ("default_runtime", "gemini", "not among claude, codex"),
        ("cwd", "work/alice", "not an absolute path"),
        ("cwd", "/work/a\nb", "control characters"),
        ("cwd", "/work/\udc80", "not UTF-8"),
        ("intelligence", "superhuman", "'artificial', 'natural' or 'absent'"),
        ("wake_policy", "never", "'warm' or 'ephemeral'"),
        ("description", "x" * 451, "451 characters are over the limit of 450"),
        ("description", "a\nb", "control characters"),
        ("description", "a\x1b[31m", "control characters"),
        ("description", "\u202eabc", "control characters"),
        ("initial_prompt", "a\x1b[201~", "control characters"),
        ("initial_prompt", "x" * 32_769, "32,769 characters are over the limit of 32,768"),
    ],
)
def test_bad_fields_are_refused_by_name(field: str, value: object, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        make_profile(**{**FIELDS, field.partition(".")[0]: value})
    assert caught.value.field == field
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"^tenant_id: it is missing"):
        make_profile(**{name: value for name, value in FIELDS.items() if name != "tenant_id"})


def test_unknown_fields_survive_a_rewrite(tmp_path: Path) -> None:
    save_profile(profile(tmp_path))
    path = profile_path(tmp_path)
    document = json.loads(path.read_text()) | {"colour": {"ink": "blue"}, "budget": 7}
    path.write_text(json.dumps(document))
    save_profile(load_profile(tmp_path).model_copy(update={"description": "new"}))
    save_profile(profile(tmp_path, description="newer"))
    rewritten = json.loads(path.read_text())
    assert (rewritten["colour"], rewritten["budget"], rewritten["description"]) == ({"ink": "blue"}, 7, "newer")


def test_a_directory_without_a_profile_is_no_peer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for cwd in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(NoProfile) as caught:
            load_profile(cwd)
        assert caught.value.code == "no-profile"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "EOF"),
        ("{", "EOF"),
        ("[]", "object"),
        ("null", "object"),
        ('{"name": "alice"}', "runtimes: it is missing"),
        (b"\xff\xfe\x00", "JSON"),
        (json.dumps({**FIELDS, "default_runtime": "x"}), "default_runtime: 'x' is not among"),
        (json.dumps({**FIELDS, "version": 0}), "version"),
        (json.dumps({**FIELDS, "version": "two"}), "version"),
    ],
)
def test_a_corrupt_profile_names_file_and_problem_and_is_kept(tmp_path: Path, text: str | bytes, says: str) -> None:
    path = write(tmp_path, text)
    before = path.read_bytes()
    for action in (lambda: load_profile(tmp_path), lambda: save_profile(profile(tmp_path))):
        with pytest.raises(CorruptProfile) as caught:
            action()
        assert says.lower() in str(caught.value).lower()
        assert str(path) in str(caught.value)
        assert caught.value.code == "corrupt-profile"
    assert path.read_bytes() == before


def test_a_newer_profile_is_refused_and_kept(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps({"version": 2, "whatever": True}))
    for action in (lambda: load_profile(tmp_path), lambda: save_profile(profile(tmp_path))):
        with pytest.raises(NewerProfile, match="version 2 is newer than 1") as caught:
            action()
        assert caught.value.code == "newer-profile"
    assert json.loads(path.read_text()) == {"version": 2, "whatever": True}


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for directory in (home, elsewhere):
        directory.mkdir()
    save_profile(profile(elsewhere))
    before = profile_path(elsewhere).read_bytes()
    (home / ".peerwake").mkdir()
    profile_path(home).symlink_to(profile_path(elsewhere))
    with pytest.raises(CorruptProfile, match="symbolic link"):
        load_profile(home)
    with pytest.raises(CorruptProfile, match="symbolic link"):
        save_profile(profile(home))
    profile_path(home).unlink()
    (home / ".peerwake").rmdir()
    (home / ".peerwake").symlink_to(elsewhere / ".peerwake")
    with pytest.raises(CorruptProfile, match="symbolic link"):
        load_profile(home)
    assert profile_path(elsewhere).read_bytes() == before


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    path = profile_path(tmp_path)
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(CorruptProfile, match="not a regular file"):
        load_profile(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(CorruptProfile):
        load_profile(tmp_path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    os.truncate(path, MAX_FILE_BYTES + 1)
    with pytest.raises(CorruptProfile, match="over the limit"):
        load_profile(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_else_s_profile_is_refused(tmp_path: Path) -> None:
    save_profile(profile(tmp_path))
    os.chown(profile_path(tmp_path), 65534, -1)
    with pytest.raises(CorruptProfile, match="uid 65534"):
        load_profile(tmp_path)


@pytest.mark.parametrize("seam", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seam: str) -> None:
    old = save_profile(profile(tmp_path))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, seam, fail)
    with pytest.raises(OSError, match="No space"):
        save_profile(profile(tmp_path, description="new"))
    assert load_profile(tmp_path) == old
    assert len(list(profile_path(tmp_path).parent.iterdir())) == 1


@given(st.binary(max_size=300))
def test_no_bytes_make_reading_fail_otherwise(data: bytes) -> None:
    with pytest.raises(ProfileUnusable):
        decode_profile(Path("/x/profile.json"), data)


@given(st.text(max_size=450))
def test_any_description_is_refused_or_read_back(description: str) -> None:
    try:
        made = make_profile(**FIELDS, description=description)
    except InvalidInput as error:
        assert error.field == "description"
    else:
        assert decode_profile(made.path, encode_profile(made).encode()) == made
        assert "\n" not in made.description


def test_host_and_tenant_are_short_and_valid() -> None:
    assert "." not in host()
    assert profile(Path("/x"), host=host(), tenant_id=tenant()).tenant_id == tenant()
