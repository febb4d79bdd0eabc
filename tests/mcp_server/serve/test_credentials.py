"""Tokens: derived, verified, and a key file that is trusted only when it is ours alone."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.serve.credentials import BadCredential, Bearer, Credentials, SecretUnusable, load_credentials
from transport.identity import Identity
from transport.paths import Root

ALICE = Identity("claude", "alice")
KEY = Credentials(b"k" * 32)


def test_a_token_names_its_identity() -> None:
    token = KEY.credential_for(ALICE)
    assert token.startswith("pw1.claude-alice.")
    assert KEY.verify(token) == Bearer(ALICE)


def test_the_operators_token_names_nobody() -> None:
    assert KEY.verify(KEY.operator_credential()) == Bearer(None)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "pw1",
        "pw1.claude-alice",
        "pw1.claude-alice.",
        KEY.credential_for(ALICE)[:-1],
        KEY.credential_for(ALICE) + "A",
        KEY.credential_for(ALICE).replace("alice", "bobby"),
        KEY.credential_for(ALICE).replace("pw1", "pw2"),
        KEY.credential_for(ALICE).replace("claude-alice", "operator"),
        KEY.operator_credential().replace("operator", "claude-alice"),
        Credentials(b"x" * 32).credential_for(ALICE),
        "pw1.claude-alice.\udcff",
        "a" * 100_000,
    ],
)
def test_forgeries_are_refused(token: str) -> None:
    with pytest.raises(BadCredential):
        KEY.verify(token)


@given(st.text(max_size=120))
def test_no_text_is_a_credential(text: str) -> None:
    with pytest.raises(BadCredential):
        KEY.verify(text)


def test_the_key_is_made_once_and_private(root: Root) -> None:
    first = load_credentials(root.secret)
    again = load_credentials(root.secret)
    assert root.secret.stat().st_mode & 0o777 == 0o600
    assert len(root.secret.read_bytes()) == 32
    assert again.verify(first.credential_for(ALICE)) == Bearer(ALICE)
    assert [path.name for path in root.home.iterdir() if path.name.startswith(".secret")] == []


def test_many_starters_agree_on_one_key(root: Root) -> None:
    tokens: list[str] = []
    threads = [
        threading.Thread(target=lambda: tokens.append(load_credentials(root.secret).operator_credential()))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 16
    assert len(set(tokens)) == 1


def test_a_key_that_the_disk_does_not_take_is_told_and_leaves_nothing(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = os.listdir(root.home)
    with monkeypatch.context() as disk:
        disk.setattr("mcp_server.serve.credentials.fsync", full)
        with pytest.raises(SecretUnusable, match=f"{root.secret}: No space left"):
            load_credentials(root.secret)
    assert os.listdir(root.home) == before
    assert load_credentials(root.secret)


def test_a_key_open_to_others_is_refused_with_the_command(root: Root) -> None:
    load_credentials(root.secret)
    root.secret.chmod(0o640)
    with pytest.raises(SecretUnusable, match=f"chmod 600 {root.secret}"):
        load_credentials(root.secret)


def test_a_symlink_is_refused(root: Root, tmp_path: Path) -> None:
    target = tmp_path / "key"
    target.write_bytes(b"k" * 32)
    target.chmod(0o600)
    root.secret.symlink_to(target)
    with pytest.raises(SecretUnusable, match="symlink"):
        load_credentials(root.secret)
    root.secret.unlink()
    root.secret.symlink_to(tmp_path / "nowhere")
    with pytest.raises(SecretUnusable, match="symlink"):
        load_credentials(root.secret)


@pytest.mark.parametrize("size", [0, 31, 33, 4096])
def test_a_damaged_key_is_refused(root: Root, size: int) -> None:
    root.secret.write_bytes(b"k" * size)
    root.secret.chmod(0o600)
    with pytest.raises(SecretUnusable, match="move it away"):
        load_credentials(root.secret)


def test_a_directory_in_its_place_is_refused(root: Root) -> None:
    root.secret.mkdir(0o700)
    with pytest.raises(SecretUnusable):
        load_credentials(root.secret)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a foreign file")
def test_a_key_of_another_user_is_refused(root: Root) -> None:
    load_credentials(root.secret)
    os.chown(root.secret, 12345, -1)
    with pytest.raises(SecretUnusable, match="uid 12345"):
        load_credentials(root.secret)
