"""RUN: a command in a container on top of the image so far, its output as progress, what it wrote as a layer.

The container is the engine's own, made, started and waited for as any other; whoever cancels the build ends it. As
Docker has it, the container of a command that failed stays, to be looked at, unless the build was told otherwise.
"""

from __future__ import annotations

import codecs
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any

from engine.build import history, progress
from engine.build.bench import Bench, Cancelled, Failed, Scene, commit, discard, probe
from engine.build.dockerfile import Instruction
from engine.build.mounting import mounts
from engine.images import changes
from engine.streams import STDERR, Session
from netpy.errors import InvalidArgument, NetpyError

Json = dict[str, Any]


def run(bench: Bench, scene: Scene, instruction: Instruction) -> Iterator[Json]:
    """Carry the step out. Failed when the command does, Cancelled when nobody waits for it."""
    command = command_of(instruction, scene.config)
    environment = changes.environment(scene.config)
    seen = bench.arguments.for_run(environment)
    shown = history.run(command, bench.arguments.for_cache(environment)) if seen else command
    wanted = mounts(bench, instruction)
    told = {**scene.config, "Cmd": [*wanted.marks, *shown], "Entrypoint": None}
    if probe(bench, scene, told):
        yield progress.cached()
        return
    with wanted.prepared(bench) as binds:
        container = _made(bench, scene, command, seen, binds | _network(instruction))
        yield from _carried_out(bench, scene, container, command, told)


def command_of(instruction: Instruction, config: Json) -> list[str]:
    """What is to be run. A here-document alone is the script; one with a command around it is the shell's business."""
    listed = changes.exec_form(instruction.rest)
    if listed is not None:
        return listed
    if not instruction.heredocs:
        return [*history.shell(config), instruction.rest] if instruction.rest else history.shell(config)
    if len(instruction.heredocs) == 1 and len(instruction.rest.split()) == 1:
        return [*history.shell(config), instruction.heredocs[0].content]
    bodies = "".join(f"{each.content}{each.name}\n" for each in instruction.heredocs)
    return [*history.shell(config), f"{instruction.rest}\n{bodies}"]


def _network(instruction: Instruction) -> Json:
    match instruction.flag("network"):
        case "" | "default":
            return {}
        case "none" | "host" as mode:
            return {"NetworkMode": mode}
        case other:
            raise InvalidArgument(f"unsupported network mode of RUN: {other!r} (default, none, host)")


def _made(bench: Bench, scene: Scene, command: list[str], seen: dict[str, str], host_config: Json) -> str:
    if not scene.image:
        raise InvalidArgument(f'exec: "{command[0]}": stat {command[0]}: no such file or directory')
    config: Json = scene.config | {
        "Image": scene.image,
        "Cmd": command,
        "Entrypoint": [""],
        "Env": [*(scene.config.get("Env") or []), *(f"{name}={value}" for name, value in seen.items())],
        "Healthcheck": {"Test": ["NONE"]},
        "AttachStdout": True,
        "AttachStderr": True,
    }
    options = bench.options.host_config | host_config
    return bench.shop.containers.intermediate(config=config, host_config=options)


def _carried_out(bench: Bench, scene: Scene, container: str, command: list[str], told: Json) -> Iterator[Json]:
    options = bench.options
    try:
        yield progress.running(container)
        code = yield from _awaited(bench, container)
        if code:
            text = f"The command '{' '.join(command)}' returned a non-zero code: {code}"
            raise Failed(text, code)
        commit(bench, scene, told, container=container, upper=bench.shop.upper(container), ran=True)
    except (Cancelled, GeneratorExit):
        discard(bench, container)
        raise
    except BaseException:
        if options.force_remove:
            discard(bench, container)
            yield progress.removing(container)
        else:
            bench.shop.containers.keep(container)
        raise
    if options.remove or options.force_remove:
        bench.shop.containers.remove(container, force=True, volumes=True)
        yield progress.removing(container)
    else:
        bench.shop.containers.keep(container)


def _awaited(bench: Bench, container: str) -> Generator[Json, None, int]:
    """Start it and pass on what it says; its exit code."""
    containers = bench.shop.containers
    session = containers.attach(container, stdin=False, stdout=True, stderr=True, logs=False, stream=True)
    waiter = containers.wait(container, "next-exit")

    def end() -> None:
        session.close()
        with suppress(NetpyError):
            containers.kill(container)

    try:
        containers.start(container)
        bench.cancellation.on_cancel(end)
        yield from _spoken(session)
        bench.cancellation.check()
        return waiter.result()[0]
    finally:
        bench.cancellation.on_cancel(None)
        waiter.close()
        session.close()


def _spoken(session: Session) -> Iterator[Json]:
    """Output as messages. A character that was cut in two by a read is put together again."""
    decoders = {stream: codecs.getincrementaldecoder("utf-8")(errors="replace") for stream in range(3)}
    while (frame := session.read()) is not None:
        if text := decoders[frame.stream].decode(frame.data):
            yield progress.complained(text) if frame.stream == STDERR else progress.said(text)
