"""A peer's profile: the truth about it, in `<cwd>/.peerwake/profile.json`."""

import errno
import os
import pwd
import re
import socket
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import from_json

from transport.errors import InvalidInput, PeerwakeError
from transport.files import read_regular, write_atomic
from transport.identity import PERSONALITY, RESERVED, RUNTIME, Identity
from transport.vocabulary import Intelligence, WakePolicy

SCHEMA: Final = 1
MAX_DESCRIPTION: Final = 450
MAX_PROMPT: Final = 32 * 1024
MAX_RUNTIMES: Final = 16
MAX_FILE_BYTES: Final = 1 << 20
DIRECTORY: Final = ".peerwake"
FILE: Final = "profile.json"

_PLAIN: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"
_TEXT: Final = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"

Name = Annotated[str, StringConstraints(pattern=f"^{PERSONALITY.pattern}$")]
Runtime = Annotated[str, StringConstraints(pattern=f"^{RUNTIME.pattern}$")]
Line = Annotated[str, StringConstraints(pattern=_PLAIN, min_length=1, max_length=255)]


class ProfileUnusable(PeerwakeError):
    """The profile at `path` cannot be used because of `problem`; it is left as it is."""

    code = "profile-unusable"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class NoProfile(ProfileUnusable):
    """The directory has no profile: it is no peer's."""

    code = "no-profile"


class CorruptProfile(ProfileUnusable):
    """The profile cannot be read; its owner mends or removes the file."""

    code = "corrupt-profile"


class NewerProfile(ProfileUnusable):
    """The profile was written by a newer version; the user upgrades."""

    code = "newer-profile"


class Profile(BaseModel):
    """One peer; fields that this version does not know are kept when the profile is written again."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=False)

    version: Annotated[int, Field(ge=1)] = SCHEMA
    name: Name
    runtimes: Annotated[tuple[Runtime, ...], Field(min_length=1, max_length=MAX_RUNTIMES)]
    default_runtime: Runtime
    cwd: Path
    intelligence: Intelligence = Intelligence.ARTIFICIAL
    description: Annotated[str, StringConstraints(pattern=_PLAIN, max_length=MAX_DESCRIPTION)] = ""
    wake_policy: WakePolicy = WakePolicy.WARM
    initial_prompt: Annotated[str, StringConstraints(pattern=_TEXT, max_length=MAX_PROMPT)] | None = None
    host: Line
    tenant_id: Line
    created_at: Line

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.name in RESERVED:
            raise ValueError(f"name: {self.name!r} is reserved; choose another")
        if len(set(self.runtimes)) != len(self.runtimes):
            raise ValueError("runtimes: one is named twice; name each once")
        if self.default_runtime not in self.runtimes:
            raise ValueError(
                f"default_runtime: {self.default_runtime!r} is not among {', '.join(self.runtimes)}; declare it"
            )
        if not self.cwd.is_absolute():
            raise ValueError(f"cwd: {str(self.cwd)!r} is not an absolute path; give one that starts with /")
        if not _is_plain(str(self.cwd)):
            raise ValueError(f"cwd: {str(self.cwd)!r} has control characters or is not UTF-8; rename the directory")
        return self

    @property
    def path(self) -> Path:
        return profile_path(self.cwd)

    @property
    def identities(self) -> tuple[Identity, ...]:
        return tuple(Identity(runtime, self.name) for runtime in self.runtimes)


def profile_path(cwd: Path) -> Path:
    """Return where the profile of the peer that works in `cwd` is."""
    return cwd / DIRECTORY / FILE


def removed_path(cwd: Path) -> Path:
    """Return where the profile of a peer is kept that worked in `cwd` and was removed."""
    return cwd / DIRECTORY / f"{FILE}.removed"


def make_profile(**fields: object) -> Profile:
    """Return a profile of checked fields; raises InvalidInput naming the first bad one."""
    try:
        return Profile.model_validate(fields)
    except ValidationError as error:
        raise InvalidInput(*describe(error)) from error


def describe(error: ValidationError) -> tuple[str, str]:
    """Return the field and the problem of the first error in words, without the value of long input."""
    first = error.errors(include_url=False)[0]
    field, problem = ".".join(str(part) for part in first["loc"]), first["msg"]
    limits = first.get("ctx", {})
    match first["type"]:
        case "value_error":
            field, _, problem = str(limits["error"]).partition(": ")
        case "string_pattern_mismatch" if field in {"description", "initial_prompt"}:
            problem = "it has control characters; give plain text"
        case "string_pattern_mismatch":
            problem = f"{first['input']!r:.80} is not allowed; it must match {limits['pattern']}"
        case "string_too_long":
            problem = f"{len(first['input']):,} characters are over the limit of {limits['max_length']:,}; shorten it"
        case "missing":
            problem = "it is missing"
        case _:
            problem = f"{problem[0].lower()}{problem[1:]}"
    return field, problem


def load_profile(cwd: Path) -> Profile:
    """Read the profile of the peer that works in `cwd`.

    Raises NoProfile, CorruptProfile (with the file and what is wrong with it) or NewerProfile.
    """
    path = profile_path(cwd)
    return decode_profile(path, _read(path))


def decode_profile(path: Path, data: bytes) -> Profile:
    """Return the profile that `data` holds; raises CorruptProfile or NewerProfile naming `path`."""
    version = json_version(data)
    if version > SCHEMA:
        raise NewerProfile(path, f"version {version} is newer than {SCHEMA}, the newest known here; upgrade peerwake")
    try:
        return Profile.model_validate_json(data)
    except ValidationError as error:
        raise CorruptProfile(path, ": ".join(filter(None, describe(error)))) from error


def json_version(data: bytes) -> int:
    """Return the version that a JSON document claims, 0 if it claims none."""
    try:
        document = from_json(data)
    except ValueError:
        return 0
    version = document.get("version") if isinstance(document, dict) else None
    return version if isinstance(version, int) else 0


def encode_profile(profile: Profile) -> str:
    """Return the text of a profile's file."""
    return profile.model_dump_json(indent=2) + "\n"


def save_profile(profile: Profile) -> Profile:
    """Write a profile to its place, whole or not at all, the file 0600 and its directory 0700.

    Returns what was written: unknown fields of the file are kept. Raises OSError, and CorruptProfile or
    NewerProfile rather than overwrite such a file.
    """
    try:
        kept = load_profile(profile.cwd).model_extra or {}
    except NoProfile:
        profile.path.parent.mkdir(mode=0o700, exist_ok=True)
    else:
        profile = profile.model_copy(update={**kept, **(profile.model_extra or {})})
    write_atomic(profile.path, encode_profile(profile))
    return profile


def host() -> str:
    """Return the short name of this host."""
    return socket.gethostname().partition(".")[0] or "localhost"


def tenant() -> str:
    """Return the name of the OS user we run as, the number where it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _is_plain(text: str) -> bool:
    return not re.search(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", text)


def _read(path: Path) -> bytes:
    try:
        if path.parent.is_symlink():
            raise CorruptProfile(path, f"{path.parent.name} is a symbolic link; put the directory itself there")
        data, status = read_regular(path, follow=False, limit=MAX_FILE_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoProfile(path, "there is no profile; make one with: peerwake init") from error
    except OSError as error:
        linked = error.errno in (errno.ELOOP, errno.EMLINK)
        problem = "it is a symbolic link; put the file itself there" if linked else f"cannot be read: {error.strerror}"
        raise CorruptProfile(path, problem) from error
    if status.st_uid not in (os.geteuid(), 0):
        raise CorruptProfile(path, f"it belongs to uid {status.st_uid}, not to you")
    return data
