"""Bearer tokens derived from one key file, so that nothing but the key needs to be kept."""

import base64
import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from transport.errors import InvalidInput, PeerwakeError
from transport.files import fsync
from transport.identity import Identity, parse_identity
from transport.retired import Retired

VERSION: Final = "pw1"
OPERATOR_NAME: Final = "operator"
KEY_BYTES: Final = 32
MAX_TOKEN: Final = 200


class SecretUnusable(PeerwakeError):
    """The key file cannot be trusted as it is; the user runs the command in the text."""

    code = "secret-unusable"


class BadCredential(PeerwakeError):
    """The token was not made with this server's key."""

    code = "bad-credential"


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a valid token names: a peer's presence, or the operator when `identity` is None."""

    identity: Identity | None


class Credentials:
    """Makes and checks tokens with the key of one root; a name that was `retired` has others from then on."""

    def __init__(self, key: bytes, retired: Retired | None = None) -> None:
        self._key = key
        self._retired = retired

    def credential_for(self, identity: Identity) -> str:
        """Return the token of one presence of a peer."""
        return self._token("peer", str(identity))

    def operator_credential(self) -> str:
        """Return the operator's token, which no peer's token can be turned into."""
        return self._token("operator", OPERATOR_NAME)

    def generation(self, identity: Identity) -> int:
        """Return how many peers of this name are gone; raises SecretUnusable."""
        return self._generation(identity.personality)

    def verify(self, token: str) -> Bearer:
        """Return whom the token names; raises BadCredential. Takes the same time for every forgery."""
        _, _, rest = token.partition(".")
        name, _, _ = rest.partition(".")
        label: Literal["operator", "peer"] = "operator" if name == OPERATOR_NAME else "peer"
        expected = self._token(label, name[:MAX_TOKEN])
        if not hmac.compare_digest(_bytes(expected), _bytes(token[:MAX_TOKEN])):
            raise BadCredential("the credential is not valid for this server; make one with: peerwake mcp-config")
        if label == "operator":
            return Bearer(None)
        try:
            return Bearer(parse_identity(name))
        except InvalidInput as error:
            raise BadCredential(f"the credential names no identity: {error}") from error

    def _token(self, label: str, name: str) -> str:
        message = _bytes(f"peerwake {label} credential\0{name}")
        generation = self._generation(name.partition("-")[2]) if label == "peer" else 0
        if generation:
            message += b"\0%d" % generation
        digest = hmac.new(self._key, message, hashlib.sha256).digest()
        return f"{VERSION}.{name}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    def _generation(self, personality: str) -> int:
        try:
            return 0 if self._retired is None else self._retired.count(personality)
        except OSError as error:
            raise SecretUnusable(f"cannot read which credentials ended: {error}; mend that file") from error


def _bytes(text: str) -> bytes:
    """Return text as bytes, also what is no valid Unicode; different texts stay different."""
    return text.encode("utf-8", "surrogatepass")


def load_credentials(path: Path) -> Credentials:
    """Return the credentials of the key in `path`, which is made (0600) if it is not there.

    Raises SecretUnusable for a symlink, another owner, open permissions or a damaged key.
    """
    try:
        _create(path)
        key = _read(path)
    except OSError as error:
        raise SecretUnusable(f"cannot use {path}: {error.strerror}; mend it, or move it away for a new key") from error
    return Credentials(key, Retired(path.parent))


def _create(path: Path) -> None:
    if path.is_symlink() or path.exists():
        return
    # Written aside and linked into place, so that no other process ever reads half a key.
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            fsync(file.fileno())
        try:
            os.link(aside, path)
        except FileExistsError:
            return
    finally:
        aside.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    if path.is_symlink():
        raise SecretUnusable(f"{path} is a symlink; replace it by the file itself, with mode 600")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretUnusable(f"{path} is not a regular file; move it away")
        if status.st_uid != os.geteuid():
            raise SecretUnusable(f"{path} belongs to uid {status.st_uid}, not to you; run: chown {os.geteuid()} {path}")
        if status.st_mode & 0o077:
            raise SecretUnusable(f"{path} is open to other users; run: chmod 600 {path}")
        key = os.read(descriptor, KEY_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(key) != KEY_BYTES:
        raise SecretUnusable(f"{path} holds {len(key)} bytes, not {KEY_BYTES}; move it away and a new key is made")
    return key
