"""Dockerfiles read: directives, continued lines, flags, here-documents, and errors that name the line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.build import stages
from engine.build.dockerfile import Dockerfile, parse
from engine.build.stages import Recipe
from netpy.errors import InvalidArgument


def read(text: str) -> Dockerfile:
    return parse(text.encode())


def planned(text: str, target: str = "") -> Recipe:
    return stages.recipe(read(text), target=target)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("from a\nrun  b", ["from a", "run  b"]),
        ("# c\n\nFROM a\n  RUN x \\\n   # comment\n   y \\\n\n  z", ["FROM a", "RUN x    y   z"]),
        ("FROM a\r\nRUN x \\\r\n y\r\n", ["FROM a", "RUN x  y"]),
        ("# escape=`\nFROM a\nRUN x `\n c:\\\nUSER b", ["FROM a", "RUN x  c:\\", "USER b"]),
        ("FROM a\nRUN x \\  \n y", ["FROM a", "RUN x  y"]),
        ("FROM a\nRUN x \\\\\nUSER b", ["FROM a", "RUN x \\\\", "USER b"]),
        ("FROM a\nRUN x \\", ["FROM a", "RUN x"]),
        ("# syntax=docker/dockerfile:1\n# escape=\\\nFROM a", ["FROM a"]),
        ("\ufeffFROM a", ["FROM a"]),
    ],
)
def test_lines_become_instructions(text: str, shown: list[str]) -> None:
    assert [each.text for each in read(text).instructions] == shown


def test_a_here_document_is_no_instruction() -> None:
    found = read('FROM a\nRUN <<EOF cat && <<-"B"\necho $x\nEOF\n\t\tq $y\n\tB\nCOPY <<x y <<z /d/\n1\nx\nz\nUSER u\n')
    _, run, copy, user = found.instructions
    assert [(each.name, each.content, each.expand) for each in run.heredocs] == [
        ("EOF", "echo $x\n", True),
        ("B", "q $y\n", False),
    ]
    assert [(each.name, each.content) for each in copy.heredocs] == [("x", "1\n"), ("z", "")]
    assert (user.keyword, user.line) == ("USER", 11)


def test_flags_stand_before_arguments() -> None:
    copy = read('FROM a\nCOPY --from=b --chown="1:2" --link x --y z\n').instructions[1]
    assert (copy.flag("from"), copy.flag("chown"), copy.flags["link"], copy.rest) == ("b", "1:2", ("",), "x --y z")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the Dockerfile (Dockerfile) cannot be empty"),
        ("# nothing\n", "failed to parse Dockerfile: file with no instructions"),
        ("FROM a\n\nFOO b", "dockerfile parse error line 3: unknown instruction: FOO"),
        ("# escape=x\nFROM a", "dockerfile parse error line 1: invalid ESCAPE 'x'. Must be ` or \\"),
        ("RUN x", "dockerfile parse error line 1: no build stage in current context"),
        ("FROM a b", "dockerfile parse error line 1: FROM requires either one or three arguments"),
        ("FROM a AS 1", 'line 1: invalid name for build stage: "1", name can\'t start with a number'),
        ("FROM a AS x\nFROM b as X", "line 2: x stage name already used"),
        ("FROM a\nCOPY b", "line 2: COPY requires at least two arguments, but only one was provided. Destination"),
        ("FROM a\nCOPY --foo=1 a b", "line 2: Unknown flag: foo"),
        ("FROM a\nCOPY --from=1 --from=2 a b", "line 2: Duplicate flag specified: from"),
        ("FROM a\nCOPY --from a b", "line 2: Missing a value on flag: from"),
        ("FROM a\nENV x", "line 2: ENV must have two arguments"),
        ("FROM a\nLABEL", "line 2: LABEL requires at least one argument"),
        ("FROM a\nUSER", "line 2: USER requires exactly one argument"),
        ("FROM a\nSHELL sh", "line 2: SHELL requires the arguments to be in JSON form"),
        ('FROM a\nCMD ["a", 1]', "line 2: when using JSON array syntax, arrays must be comprised of strings only"),
        ("FROM a\nONBUILD ONBUILD RUN x", "line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("FROM a\nONBUILD FROM x", "line 2: FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nHEALTHCHECK x", "line 2: unknown type 'x' in HEALTHCHECK (try CMD)"),
        ("FROM a\nRUN <<E\nx", "line 2: unterminated heredoc E"),
    ],
)
def test_errors_name_the_line(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        planned(text)
    assert message in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_is_a_dockerfile_or_refused(text: str) -> None:
    for tried in (text, f"FROM a\n{text}", f"FROM a\nRUN {text}", f"FROM a\nCOPY {text}", f"FROM a\nENV {text}"):
        try:
            planned(tried)
        except InvalidArgument as refusal:
            assert str(refusal)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_dockerfile_or_refused(content: bytes) -> None:
    try:
        stages.recipe(parse(content))
    except InvalidArgument as refusal:
        assert str(refusal)


THREE = "ARG v=1\nFROM a AS one\nRUN x\nFROM one AS two\nFROM b\nCOPY --from=0 x y\n"


@pytest.mark.parametrize(("target", "count"), [("", 3), ("one", 1), ("TWO", 2), ("1", 2)])
def test_a_target_ends_the_build(target: str, count: int) -> None:
    assert len(planned(THREE, target).stages) == count


def test_steps_are_counted_with_arguments_and_labels() -> None:
    recipe = stages.recipe(read(THREE), labels={"b": "1", "a": "it's"})
    assert recipe.length == 8
    assert [step.text for step in recipe.stages[-1].steps] == ["COPY --from=0 x y", "LABEL a=it's", "LABEL b=1"]


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="failed to reach build target nope in Dockerfile"):
        planned(THREE, "nope")


def test_from_names_a_stage_by_name_or_number() -> None:
    assert stages.find(["one", "", "two"], "ONE") == 0
    assert stages.find(["one", "", "two"], "2") == 2
    assert stages.find(["one"], "busybox") is None
    with pytest.raises(InvalidArgument, match="index out of bounds"):
        stages.find(["one"], "1")
