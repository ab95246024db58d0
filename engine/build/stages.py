"""A Dockerfile as stages: what each is based on, which of them a build needs, where a `--from` points.

As Docker's classic builder does, a build with a target runs every stage up to it, in order. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engine.build import syntax
from engine.build.dockerfile import Dockerfile, Instruction, failure
from netpy.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One FROM and what follows it. `base` is not yet expanded; `name` is empty for an unnamed stage."""

    start: Instruction
    base: str
    name: str
    steps: tuple[Instruction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is to be built: the ARGs before the first stage, and the stages, the last of which is the result."""

    arguments: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    escape: str
    warnings: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """How many steps progress counts."""
        return len(self.arguments) + sum(1 + len(stage.steps) for stage in self.stages)


def recipe(dockerfile: Dockerfile, *, target: str = "", labels: Mapping[str, str] | None = None) -> Recipe:
    """The stages up to `target`, the last one labelled. InvalidArgument when there is no such stage, or none at all."""
    syntax.check_all(dockerfile)
    arguments, stages = _cut(dockerfile)
    if target:
        stages = stages[: _position(stages, target) + 1]
    extra = tuple(_label(name, value) for name, value in sorted((labels or {}).items()))
    last = replace(stages[-1], steps=(*stages[-1].steps, *extra))
    return Recipe(
        arguments=tuple(arguments),
        stages=(*stages[:-1], last),
        escape=dockerfile.escape,
        warnings=dockerfile.warnings,
    )


def find(stages: Sequence[str], word: str) -> int | None:
    """The stage that a word means, by name or number, among those that are done, given by their names.

    None when it means something else, which can only be an image. InvalidArgument for a number too high.
    """
    if word.isdigit():
        if int(word) >= len(stages):
            raise InvalidArgument("index out of bounds")
        return int(word)
    names = [name for name in stages]
    return len(names) - 1 - names[::-1].index(word.lower()) if word and word.lower() in names else None


def _cut(dockerfile: Dockerfile) -> tuple[list[Instruction], list[Stage]]:
    arguments: list[Instruction] = []
    stages: list[Stage] = []
    for instruction in dockerfile.instructions:
        if instruction.keyword == "FROM":
            base, name = syntax.stage_words(instruction)
            if name and any(stage.name == name for stage in stages):
                raise failure(instruction.line, f"{name} stage name already used")
            stages.append(Stage(start=instruction, base=base, name=name))
        elif stages:
            stages[-1] = replace(stages[-1], steps=(*stages[-1].steps, instruction))
        elif instruction.keyword == "ARG":
            arguments.append(instruction)
        else:
            raise failure(instruction.line, "no build stage in current context")
    if not stages:
        raise InvalidArgument("no build stage in current context")
    return arguments, stages


def _position(stages: Sequence[Stage], target: str) -> int:
    for index, stage in enumerate(stages):
        if stage.name and stage.name == target.lower():
            return index
    if target.isdigit() and int(target) < len(stages):
        return int(target)
    raise InvalidArgument(f"failed to reach build target {target} in Dockerfile")


def _label(name: str, value: str) -> Instruction:
    """The instruction that `--label` stands for. Quoted by single quotes, which keep everything but themselves."""
    quoted = "=".join("'" + text.replace("'", "'\"'\"'") + "'" for text in (name, value))
    return Instruction(keyword="LABEL", text=f"LABEL {name}={value}", rest=quoted, line=0, flags={})
