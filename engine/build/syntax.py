"""Which instruction takes what: flags, the number of arguments, the form. Decides whether an instruction can be meant.

Everything that can be known without a build is refused here, before the first step, and with the line. What a word
stands for is only known when its turn comes (variables). No I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import cast

from engine.build.dockerfile import Dockerfile, Instruction, failure, parse
from engine.images import changes
from netpy.errors import InvalidArgument

_FLAGS: Mapping[str, frozenset[str]] = {
    "FROM": frozenset({"platform"}),
    "RUN": frozenset({"mount", "network", "security"}),
    "COPY": frozenset({"from", "chown", "chmod", "link", "parents", "exclude"}),
    "ADD": frozenset({"chown", "chmod", "link", "checksum", "keep-git-dir", "exclude"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "start-interval", "retries"}),
}
_WITHOUT_VALUE = frozenset({"link", "parents", "keep-git-dir"})
_REPEATED = frozenset({"mount", "exclude"})
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_EXACTLY_ONE = ("MAINTAINER", "STOPSIGNAL", "USER", "WORKDIR")
_AT_LEAST_ONE = ("ARG", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "VOLUME")
_JSON_FORM = ("ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME")


def check(instruction: Instruction, escape: str) -> None:
    """InvalidArgument, with the line, when the instruction cannot be meant."""
    try:
        _check(instruction, escape)
    except InvalidArgument as error:
        if str(error).startswith("dockerfile parse error"):
            raise
        raise failure(instruction.line, error) from None


def trigger(text: str, line: int, escape: str) -> Instruction:
    """The instruction that an image's ONBUILD carries. InvalidArgument when it may not be one, or is none."""
    keyword = text.split(None, 1)[0].upper() if text.split() else ""
    if keyword == "ONBUILD":
        raise failure(line, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("FROM", "MAINTAINER"):
        raise failure(line, f"{keyword} isn't allowed as an ONBUILD trigger")
    found = parse(f"# escape={escape}\n{text}\n".encode()).instructions
    if len(found) != 1:
        raise failure(line, "ONBUILD takes one instruction")
    check(found[0], escape)
    return found[0]


def sources(instruction: Instruction) -> list[str]:
    """The words of COPY or ADD, not yet expanded: the sources, then the destination."""
    listed = changes.exec_form(instruction.rest)
    return listed if listed is not None else instruction.rest.split()


def stage_words(instruction: Instruction) -> tuple[str, str]:
    """Of a FROM: the image, not yet expanded, and the stage's name or the empty string."""
    found = instruction.rest.split()
    if len(found) not in (1, 3) or (len(found) == 3 and found[1].upper() != "AS"):
        raise InvalidArgument("FROM requires either one or three arguments")
    name = found[2].lower() if len(found) == 3 else ""
    if name and not _STAGE_NAME.fullmatch(name):
        raise InvalidArgument(
            f'invalid name for build stage: "{found[2]}", name can\'t start with a number or contain symbols'
        )
    return found[0], name


def _check(instruction: Instruction, escape: str) -> None:
    keyword, rest = instruction.keyword, instruction.rest
    _check_flags(instruction)
    if keyword in _EXACTLY_ONE and not rest:
        raise InvalidArgument(f"{keyword} requires exactly one argument")
    if keyword in _AT_LEAST_ONE and not rest:
        raise InvalidArgument(f"{keyword} requires at least one argument")
    if keyword in _JSON_FORM:
        _check_list(rest)
    if checker := _CHECKS.get(keyword):
        checker(instruction, escape)


def _check_flags(instruction: Instruction) -> None:
    known = _FLAGS.get(instruction.keyword, frozenset[str]())
    for name, values in instruction.flags.items():
        if name not in known:
            raise InvalidArgument(f"Unknown flag: {name}")
        if len(values) > 1 and name not in _REPEATED:
            raise InvalidArgument(f"Duplicate flag specified: {name}")
        if not instruction.flag(name) and name not in _WITHOUT_VALUE:
            raise InvalidArgument(f"Missing a value on flag: {name}")


def _check_list(rest: str) -> None:
    if not rest.startswith("["):
        return
    try:
        value: object = json.loads(rest)
    except (ValueError, RecursionError):
        return  # then it is the shell's
    if not all(isinstance(item, str) for item in cast("list[object]", value)):
        raise InvalidArgument("when using JSON array syntax, arrays must be comprised of strings only")


def _check_from(instruction: Instruction, escape: str) -> None:
    del escape
    stage_words(instruction)


def _check_copy(instruction: Instruction, escape: str) -> None:
    del escape
    keyword = instruction.keyword
    match len(sources(instruction)):
        case 0:
            raise InvalidArgument(f"{keyword} requires at least two arguments")
        case 1:
            raise InvalidArgument(
                f"{keyword} requires at least two arguments, but only one was provided. "
                "Destination could not be determined"
            )
        case _:
            pass


def _check_pairs(instruction: Instruction, escape: str) -> None:
    """The form alone: values that need a variable are judged when they are known."""
    if not instruction.rest:
        raise InvalidArgument(f"{instruction.keyword} requires at least one argument")
    # Values are kept from being expanded here, so that only the form can be at fault.
    changes.pairs(instruction.rest.replace("$", ""), instruction.keyword, {}, escape)


def _check_shell(instruction: Instruction, escape: str) -> None:
    del escape
    if not changes.exec_form(instruction.rest):
        raise InvalidArgument("SHELL requires the arguments to be in JSON form")


def _check_volume(instruction: Instruction, escape: str) -> None:
    del escape
    if any(not path.strip() for path in changes.exec_form(instruction.rest) or ()):
        raise InvalidArgument("VOLUME specified can not be an empty string")


def _check_healthcheck(instruction: Instruction, escape: str) -> None:
    changes.change({}, "HEALTHCHECK", with_flags(instruction), arguments={}, escape=escape)


def _check_onbuild(instruction: Instruction, escape: str) -> None:
    trigger(instruction.rest, instruction.line, escape)


def with_flags(instruction: Instruction) -> str:
    """What follows the keyword, flags included."""
    flags = [f"--{name}={value}" for name, values in instruction.flags.items() for value in values]
    return " ".join([*flags, instruction.rest])


def check_all(dockerfile: Dockerfile) -> None:
    """Check every instruction, in order."""
    for instruction in dockerfile.instructions:
        check(instruction, dockerfile.escape)


_CHECKS: Mapping[str, Callable[[Instruction, str], None]] = {
    "ADD": _check_copy,
    "COPY": _check_copy,
    "ENV": _check_pairs,
    "FROM": _check_from,
    "HEALTHCHECK": _check_healthcheck,
    "LABEL": _check_pairs,
    "ONBUILD": _check_onbuild,
    "SHELL": _check_shell,
    "VOLUME": _check_volume,
}
