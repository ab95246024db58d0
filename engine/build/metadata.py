"""Steps that change an image's configuration alone: what it becomes, and what its history says of it. No I/O.

The grammar of the instructions is that of `commit --change` (engine/images/changes.py); here is what a build adds:
arguments, the author, and the words of the history.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.build import history
from engine.build.arguments import Arguments
from engine.build.dockerfile import Instruction
from engine.build.syntax import with_flags
from engine.images import changes, words
from netpy.errors import InvalidArgument

Json = dict[str, Any]
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What surrounds an instruction: the configuration, the arguments, the escape, whether the stage has a CMD."""

    config: Json
    arguments: Arguments
    escape: str
    command_set: bool = False

    @property
    def variables(self) -> dict[str, str]:
        """What words may name: arguments, and the environment, which hides them."""
        return {**self.arguments.visible(), **changes.environment(self.config)}


def changed(instruction: Instruction, setting: Setting) -> tuple[Json, str]:
    """The configuration after an instruction, and the comment on it. InvalidArgument for words that make no sense."""
    if instruction.keyword == "MAINTAINER":
        return setting.config, f"MAINTAINER {instruction.rest}"
    after = changes.change(
        setting.config,
        instruction.keyword,
        with_flags(instruction),
        arguments=setting.arguments.visible(),
        escape=setting.escape,
        command_set=setting.command_set,
    )
    return after, history.comment(instruction, setting.config, after, _assigned(instruction, setting))


def declared(instruction: Instruction, variables: Mapping[str, str], escape: str) -> dict[str, str | None]:
    """What an ARG declares, by name; None for one without a default. InvalidArgument for a bad name."""
    found: dict[str, str | None] = {}
    for word in words.raw_words(instruction.rest, escape):
        name, equals, default = word.partition("=")
        name = words.expand(name, variables, escape)
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"ARG names can not be blank or contain symbols: {word!r}")
        found[name] = words.expand(default, variables, escape) if equals else None
    return found


def argument_comment(names: Mapping[str, str | None]) -> str:
    """What the history says of an ARG."""
    parts = (name if default is None else f"{name}={default}" for name, default in names.items())
    return " ".join(["ARG", *parts])


def with_path(config: Json) -> Json:
    """The configuration a stage begins with: what its base has, and a PATH in any case."""
    environment: list[str] = config.get("Env") or []
    if any(entry.startswith("PATH=") for entry in environment):
        return dict(config)
    return {**config, "Env": [*environment, DEFAULT_PATH]}


def _assigned(instruction: Instruction, setting: Setting) -> dict[str, str]:
    """The words an instruction consists of, expanded."""
    keyword, rest, variables = instruction.keyword, instruction.rest, setting.variables
    if keyword in ("ENV", "LABEL"):
        return dict(changes.pairs(rest, keyword, variables, setting.escape))
    if keyword == "VOLUME":
        listed = changes.exec_form(rest)
        return dict.fromkeys(listed if listed is not None else words.split(rest, variables, setting.escape), "")
    return dict.fromkeys(words.split(rest, variables, setting.escape), "") if keyword == "EXPOSE" else {}
