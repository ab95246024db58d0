"""One step of a stage: found by its keyword, carried out, its progress told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.build import history, metadata, progress
from engine.build.bench import Bench, Scene, commit, probe
from engine.build.copying import copy
from engine.build.dockerfile import Instruction
from engine.build.metadata import Setting
from engine.build.running import run
from engine.images.workspace import workspace
from engine.trees import child
from netpy.errors import InvalidArgument

Json = dict[str, Any]


def perform(bench: Bench, scene: Scene, instruction: Instruction) -> Iterator[Json]:
    """Carry a step out; afterwards the scene stands on its image. What fails raises, and leaves the scene as it was."""
    bench.cancellation.check()
    match instruction.keyword:
        case "RUN":
            yield from run(bench, scene, instruction)
        case "COPY" | "ADD":
            yield from copy(bench, scene, instruction)
        case "WORKDIR":
            yield from _work_in(bench, scene, instruction)
        case "ARG":
            yield from _declare(bench, scene, instruction)
        case _:
            yield from _configure(bench, scene, instruction)


def _setting(bench: Bench, scene: Scene) -> Setting:
    return Setting(
        config=scene.config, arguments=bench.arguments, escape=bench.escape, command_set=scene.command_set
    )


def _configure(bench: Bench, scene: Scene, instruction: Instruction) -> Iterator[Json]:
    scene.config, comment = metadata.changed(instruction, _setting(bench, scene))
    if instruction.keyword == "MAINTAINER":
        scene.author = instruction.rest
    scene.command_set = scene.command_set or instruction.keyword == "CMD"
    yield from _recorded(bench, scene, comment)


def _declare(bench: Bench, scene: Scene, instruction: Instruction) -> Iterator[Json]:
    names = metadata.declared(instruction, _setting(bench, scene).variables, bench.escape)
    for name, default in names.items():
        bench.arguments.declare(name, default)
    yield from _recorded(bench, scene, metadata.argument_comment(names))


def _recorded(bench: Bench, scene: Scene, comment: str) -> Iterator[Json]:
    """The image of a step that runs nothing. Docker makes a container for it, which we do not need: its id is told,
    since those who read the stream wait for it, and stands in the image as its container."""
    told = {**scene.config, "Cmd": history.marked(scene.config, comment)}
    if probe(bench, scene, told):
        yield progress.cached()
        return
    container = bench.shop.new_id()
    yield progress.running(container)
    commit(bench, scene, told, container=container)
    if bench.options.remove or bench.options.force_remove:
        yield progress.removing(container)


def _work_in(bench: Bench, scene: Scene, instruction: Instruction) -> Iterator[Json]:
    """WORKDIR changes the configuration, and makes the directory if it is not there."""
    scene.config, _ = metadata.changed(instruction, _setting(bench, scene))
    path = scene.config["WorkingDir"]
    told = {**scene.config, "Cmd": history.marked_files(scene.config, f"WORKDIR {path}")}
    if probe(bench, scene, told):
        yield progress.cached()
        return
    container = bench.shop.new_id()
    yield progress.running(container)
    with workspace(bench.shop.images, scene.image) as space:
        failure = child.carry_out({"verb": "make_directory", "root": str(space.root), "path": path})
        if failure is not None:
            raise InvalidArgument(f"cannot make the working directory {path}: {failure.text}")
        commit(bench, scene, told, container=container, upper=space.upper)
    if bench.options.remove or bench.options.force_remove:
        yield progress.removing(container)
