import sys
from glob import escape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lifecycle.runtimes.base import AGENTS, CannotResume, LaunchSpec, Reader, Runtime, SessionFacts, literal
from lifecycle.states import Mode
from transport.envelope import Form
from transport.screen import ScreenRules
from transport.vocabulary import ScreenState

RULES = ScreenRules(composer="^> (?P<text>.*)$")


def runtime(**fields) -> Runtime:
    return Runtime.model_validate({"name": "x", "argv": ("x",), "screen": RULES, **fields})


def spec(**fields) -> LaunchSpec:
    given = {"mode": Mode.FRESH, "session_id": "s-1", "cwd": Path("/w d"), "home": Path("/h"), "python": "/py"}
    return LaunchSpec(**(given | fields))


def test_placeholders_are_replaced_word_by_word() -> None:
    made = runtime(argv=("x", "--id={session_id}", "{cwd}", "{python}{home}", "{agents}/a.py"))
    assert made.command(spec()) == ("x", "--id=s-1", "/w d", "/py/h", f"{AGENTS}/a.py")


def test_nothing_that_was_filled_in_is_read_again_or_split() -> None:
    odd = Path("/a b/{session_id}/$(x);'\"")
    assert runtime(argv=("x", "{cwd}")).command(spec(cwd=odd)) == ("x", str(odd))


def test_other_braces_stand_for_themselves() -> None:
    words = ('{"a": {"b":1}}', "{}", "{A}", "${HOME}", "{a-b}", "{{cwd}}")
    assert runtime(argv=words).command(spec()) == (*words[:-1], "{cwd}")


@given(st.text(alphabet="{}acwd_ \"'", max_size=30))
def test_any_word_can_be_said_literally(word: str) -> None:
    assert runtime(argv=(literal(word),)).command(spec()) == (word,)


def test_the_prompt_file_adds_its_words() -> None:
    made = runtime(prompt_argv=("--prompt", "{prompt_file}"))
    assert made.command(spec()) == ("x",)
    assert made.command(spec(prompt_file=Path("/p"))) == ("x", "--prompt", "/p")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mode": Mode.FRESH}, ("fresh",)),
        ({}, ("again",)),
        ({"is_prompt_renewable": False}, ("fresh",)),
        ({"is_prompt_held": True}, ("held",)),
    ],
)
def test_how_the_prompt_is_passed_on_a_resume(fields, words: tuple[str, ...]) -> None:
    made = runtime(
        resume_argv=("x",), prompt_argv=("fresh",), prompt_resume_argv=("again",), prompt_held_argv=("held",)
    )
    given = {"mode": Mode.RESUME, "session_ref": "r", "prompt_file": Path("/p")}
    assert made.command(spec(**(given | fields)))[1:] == words


def test_a_held_prompt_can_be_passed_by_no_words_at_all() -> None:
    made = runtime(resume_argv=("x",), prompt_argv=("-p", "{prompt_file}"), prompt_held_argv=())
    held = spec(mode=Mode.RESUME, session_ref="r", prompt_file=Path("/p"), is_prompt_held=True)
    assert made.command(held) == ("x",)


def test_resume_names_the_conversation() -> None:
    made = runtime(resume_argv=("x", "-r", "{session_ref}"), prompt_argv=("-p{prompt_file}",))
    resumed = made.command(spec(mode=Mode.RESUME, session_ref="r-9", prompt_file=Path("/p")))
    assert resumed == ("x", "-r", "r-9", "-p/p")


@pytest.mark.parametrize(("words", "reference"), [((), "r"), (("x", "{session_ref}"), None)])
def test_a_resume_that_is_impossible_fails_loudly(words: tuple[str, ...], reference: str | None) -> None:
    with pytest.raises(CannotResume, match="start the peer fresh"):
        runtime(resume_argv=words).command(spec(mode=Mode.RESUME, session_ref=reference))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"argv": ("{sesion_id}",)}, "argv: unknown placeholder {sesion_id}; here you can use {agents} {cwd}"),
        ({"argv": ("{session_ref}",)}, "argv: unknown placeholder {session_ref}"),
        ({"resume_argv": ("{prompt_file}",)}, "resume_argv: unknown placeholder {prompt_file}"),
        ({"env": {"A": "{x}"}}, "env.A: unknown placeholder {x}"),
        ({"env": {"A=B": "x"}}, "env: 'A=B' is not a variable that can be set"),
        ({"env": {"A": "x\0"}}, "env: 'A' is not a variable that can be set"),
        ({"argv": ("a\0b",)}, "a word contains a NUL byte"),
        ({"env_pass": ("*",)}, "'*' is not a variable's name"),
        ({"env_pass": ("A=1",)}, "'A=1' is not a variable's name"),
        ({"transcript_path": "sessions/*.jsonl"}, "transcript_path: it must begin with /, {home}/ or {cwd}/"),
        ({"transcript_path": "/{session_ref}"}, "transcript_path: unknown placeholder"),
        ({"transcript_path": "{home}/.x/**.jsonl"}, "transcript_path: '**.jsonl' is no pattern; ** stands alone"),
        ({"transcript_path": "/***/x"}, "transcript_path: '***' is no pattern"),
        ({"transcript_path": "{home}/"}, "transcript_path: it names no file; give the path of the transcripts"),
        ({"transcript_path": "/./"}, "transcript_path: it names no file"),
        ({"name": "Big"}, "is not a runtime's name"),
        ({"attempts": 0}, "greater than or equal to 1"),
        ({"atempts": 1}, "Extra inputs are not permitted"),
        ({"argv": "x y"}, "valid tuple"),
    ],
)
def test_what_is_wrong_is_refused_and_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        runtime(**fields)
    assert said in str(caught.value)


def test_the_environment_is_the_allowed_part_of_the_operators_and_our_own() -> None:
    common = {"HOME": "/h", "LC_ALL": "C", "https_proxy": "p"}
    asked = {"X_KEY": "k", "X_2": "2"}
    never = {"PEER_IDENTITY": "x-a", "PEERWAKE_CREDENTIAL": "c", "TMUX": "t", "TMUX_PANE": "%1", "TERM": "dumb"}
    operator = common | asked | never | {"SECRET": "s", "OVER": "theirs"}
    made = runtime(
        env={"ID": "{session_id}", "OVER": "ours"}, env_pass=("X_*", "OVER", "PEER_*", "PEERWAKE_CREDENTIAL")
    )
    assert made.environment(operator, spec()) == common | asked | {"ID": "s-1", "OVER": "ours"}


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ({}, "/w"),
        ({"HOME": "/ho", "CODEX_HOME": ""}, "/w"),
        ({"HOME": "/ho", "CODEX_HOME": "/c"}, "/c"),
        ({"CLAUDE_CONFIG_DIR": "/d"}, "/d"),
        ({"PEERWAKE_TRANSCRIPT": "/t/acknowledged.jsonl", "CODEX_HOME": "/c"}, "/t/acknowledged.jsonl"),
    ],
)
def test_a_client_keeps_its_files_in_a_place_of_its_own_or_with_its_peer(env: dict[str, str], place: str) -> None:
    assert SessionFacts("s-1", Path("/w"), 1.0, env).place == Path(place)


def test_a_transcript_path_is_a_glob_whose_placeholders_are_not() -> None:
    facts = SessionFacts("s-1", Path("/a[b]*"), 0.0, {"HOME": "/ho"})
    made = runtime(transcript_path="{home}/t/*/{session_id}.jsonl")
    assert made.transcript_pattern(facts) == "/ho/t/*/s-1.jsonl"
    assert runtime(transcript_path="{cwd}/*").transcript_pattern(facts) == "/a[[]b][*]/*"
    assert runtime(transcript_path="/t/**/*.jsonl").transcript_pattern(facts) == "/t/**/*.jsonl"
    assert runtime().transcript_pattern(facts) is None


def test_a_home_that_the_session_was_not_given_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    made = runtime(transcript_path="{home}/{python}.log")
    facts = SessionFacts("s-1", Path("/a"), 0.0)
    assert made.transcript_pattern(facts) == f"/home/me/{escape(sys.executable)}.log"


@pytest.mark.parametrize(
    ("own", "form"), [({}, Form(4096, None)), ({"inline_bytes": 300, "rewritten_line": "^x"}, Form(300, "^x"))]
)
def test_what_body_can_be_typed_is_the_hosts_limit_or_the_runtimes_own(own: dict[str, object], form: Form) -> None:
    assert runtime(**own).form(4096) == form


@pytest.mark.parametrize(("reference", "said"), [(None, "s-1"), ("r-9", "r-9")])
def test_a_reader_that_only_parses_knows_the_conversation_by_the_name_it_was_started_with(
    reference: str | None, said: str
) -> None:
    plain = Reader(parse=lambda _: None, locate=lambda _: None)
    facts = SessionFacts("s-1", Path("/a"), 0.0, session_ref=reference)
    assert plain.refer(facts) == said
    assert plain.status(facts) is None
    assert plain.follow(facts, Path("/b")) == ()
    assert plain.left(facts) == ()


def test_a_reader_has_a_status_when_it_is_given_one() -> None:
    assert not Reader(parse=lambda _: None, locate=lambda _: None).has_status
    assert Reader(parse=lambda _: None, locate=lambda _: None, status=lambda _: ScreenState.BUSY).has_status
