"""Names that would be paths, options or others' names: where one is made into a file's, it stays in its directory."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lifecycle.runtimes.base import LaunchSpec, SessionFacts
from lifecycle.runtimes.overrides import RuntimeInvalid, read_runtime
from lifecycle.runtimes.scripted import SCRIPTED
from lifecycle.states import Mode
from transport.create import NewPeer, create
from transport.errors import InvalidInput
from transport.identity import check_personality, check_runtime, normalize, parse_identity
from transport.message import check_draft
from transport.paths import Root
from transport.profile import make_profile
from transport.registry import Registry

WORDS = (
    *("..", ".", "/", "\\", "\0", "~", "-", "--help", "-rf", "*", "?", "$HOME", "`id`", "a", "alice", "operator", "\n"),
    *(
        "\u2024\u2024\u2215",
        "\uff0e\uff0e\uff0f",
        "\u2044",
        "\uff41lice",
        "\u0430lice",
        "a\u0301",
        "\u200b",
        "\u202e",
        " ",
    ),
    *("%2e%2e%2f", "CON", "nul", ".peerwake", ".removed", "x" * 33, "x" * 5000, "\U0001d41a", "ﬁ", "İ", "ß", "①"),
)
hostile = st.lists(st.sampled_from(WORDS) | st.text(max_size=5), min_size=1, max_size=4).map("".join)


@given(hostile, hostile)
@example("scripted", "alice\n")
@example("scripted", "..")
def test_an_identity_is_one_file_in_each_directory(runtime: str, name: str) -> None:
    root = Root(Path("/root"))
    for text in (f"{runtime}-{name}", f"scripted-{name}", f"{runtime}-alice"):
        try:
            identity = parse_identity(text)
        except InvalidInput:
            continue
        for path in (root.tmux_socket(identity), root.flag(identity, "new"), root.pane_log(identity)):
            assert os.path.normpath(path) == str(path)
            assert path.parent in (root.run / "tmux", root.state, root.logs / "panes")
            assert path.name.isascii()
            assert path.name.isprintable()
            assert not path.name.startswith(("-", "."))


@given(hostile)
@example("Ａlice")
@example("OPERATOR")
@example("\uff4f\uff50\uff45\uff52\uff41\uff54\uff4f\uff52")
def test_what_a_directory_is_called_becomes_a_name_or_is_refused(basename: str) -> None:
    """Nothing that is written otherwise becomes a name that is reserved."""
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        try:
            name = normalize(unicodedata.normalize(form, basename))
        except InvalidInput:
            continue
        assert check_personality(name) == name
        assert name not in ("operator", "peerwake")


@given(st.one_of(hostile, st.none(), st.integers(), st.binary(), st.lists(hostile)))
def test_a_name_is_taken_as_it_is_or_refused(value: object) -> None:
    for check in (check_personality, check_runtime):
        try:
            taken = check(value)
        except InvalidInput:
            continue
        assert taken == value
        assert Path(taken).name == taken


@pytest.mark.parametrize("name", [word for word in WORDS if word not in ("a", "alice", "nul")])
def test_a_peer_is_not_made_of_a_path(root: Root, name: str) -> None:
    before = set(root.home.rglob("*"))
    with pytest.raises((InvalidInput, ValueError)):
        create(Registry(root), NewPeer(name=name, runtimes=("scripted",)))
    with pytest.raises(InvalidInput):
        make_profile(
            name=name,
            runtimes=["scripted"],
            default_runtime="scripted",
            cwd="/x",
            host="h",
            tenant_id="t",
            created_at="x",
        )
    made = set(root.home.rglob("*")) - before
    assert {path.name for path in made} <= {"peers.json", "peers.lock"}


SPECIAL = ("/proc/self/mem", "/dev/zero", "/dev/tty", "/proc/self/fd/0", "/proc/self/root", "/dev/stdin/..", "/.")


@pytest.mark.parametrize("path", SPECIAL)
def test_an_attachment_is_a_regular_file_that_can_be_read(path: str) -> None:
    """What /proc shows as a file holds nothing that the sender could not attach by copying it."""
    try:
        draft = check_draft("x", attachments=[path])
    except InvalidInput:
        return
    assert Path(path).is_file()
    assert draft.attachments == (path,)


@pytest.mark.parametrize("kind", ["link", "dangling", "loop", "fifo", "socket-like", "relative", "through dots"])
def test_an_attachment_that_is_something_else(tmp_path: Path, kind: str) -> None:
    file, path = tmp_path / "file", tmp_path / "path"
    file.write_text("x")
    match kind:
        case "link":
            path.symlink_to(file)
        case "dangling":
            path.symlink_to(tmp_path / "nothing")
        case "loop":
            path.symlink_to(path)
        case "fifo":
            os.mkfifo(path)
        case "socket-like":
            path = Path("/dev/null")
        case "relative":
            path = Path("file")
        case "through dots":
            path = Path(f"{tmp_path}/x/../file")
    if kind == "link":
        assert check_draft("x", attachments=[str(path)]).attachments == (str(path),)
    else:
        with pytest.raises(InvalidInput, match="attachments"):
            check_draft("x", attachments=[str(path)])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('transcript_path = "../x"', "transcript_path"),
        ('transcript_path = "~/x"', "transcript_path"),
        ('transcript_path = "{session_ref}/x"', "placeholder"),
        ('transcript_path = "{credential}"', "placeholder"),
        ('argv = ["x\\u0000y"]', "NUL"),
        ('argv = ["{secret}"]', "placeholder"),
        ('env_pass = ["*"]', "env_pass"),
        ('env_pass = ["A*B"]', "env_pass"),
        ('env = {"A=B" = "x"}', "env"),
        ('env = {A = "x\\u0000y"}', "env"),
        ('reader = "../x"', "reader"),
        ('reader = "os"', "reader"),
        ('extends = "../scripted"', "extends"),
        ('name = "../x"', "name"),
        ("prompt_file = 1", "prompt_file"),
        ("[screen]\ncomposer = '('", "composer"),
        ("mcp_files = 7", "mcp_files"),
    ],
)
def test_a_runtimes_file_reaches_nothing_that_it_may_not_name(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "scripted.toml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(RuntimeInvalid, match=says):
        read_runtime(path, {"scripted": SCRIPTED}, frozenset({"scripted"}))


@given(st.text(st.sampled_from("*?[]{}a/.-"), max_size=12))
def test_what_stands_in_a_glob_is_literal(odd: str) -> None:
    """A directory or a session called `*` matches itself."""
    runtime = SCRIPTED.model_copy(update={"transcript_path": "{cwd}/{session_id}.jsonl"})
    pattern = runtime.transcript_pattern(SessionFacts(odd, Path("/x", odd.strip("/") or "y"), 0.0))
    assert pattern is not None
    assert not set("*?") & set(pattern.replace("[*]", "").replace("[?]", ""))


def test_an_environment_variable_of_ours_is_never_passed_on() -> None:
    ours = ("PEERWAKE_CREDENTIAL", "PEER_IDENTITY", "TMUX", "TMUX_PANE", "TERM", "PEERWAKE_HOME")
    runtime = SCRIPTED.model_copy(update={"env_pass": ("PEER*", "PEERWAKE_*", "T*")})
    spec = LaunchSpec(Mode.FRESH, "s", Path("/x"), Path("/h"), "python")
    assert runtime.environment(dict.fromkeys((*ours, "TZ"), "x"), spec) == {"TZ": "x"}
