"""The messages of a build: the JSON stream of Docker's classic builder, piece by piece. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.images.records import short

Json = dict[str, Any]


def said(text: str) -> Json:
    return {"stream": text}


def complained(text: str) -> Json:
    """What a program wrote to its standard error: in red, as Docker has it."""
    return said(f"\x1b[91m{text}\x1b[0m")


def step(number: int, total: int, text: str) -> list[Json]:
    return [said(f"Step {number}/{total} : {text}"), said("\n")]


def arrived(image: str) -> Json:
    """The image that the build stands on now; empty at the start of `FROM scratch`."""
    return said(f" ---> {short(image)}\n")


def running(container: str) -> Json:
    return said(f" ---> Running in {short(container)}\n")


def removing(container: str) -> Json:
    return said(f"Removing intermediate container {short(container)}\n")


def cached() -> Json:
    return said(" ---> Using cache\n")


def triggers(count: int) -> list[Json]:
    return [said(f"# Executing {count} build trigger{'s' if count > 1 else ''}"), said("\n")]


def stage_done(image: str) -> Json:
    return {"aux": {"ID": image}}


def unconsumed(names: Sequence[str]) -> Json:
    return said(f"[Warning] One or more build-args [{' '.join(names)}] were not consumed\n")


def built(image: str) -> Json:
    return said(f"Successfully built {short(image)}\n")


def tagged(name: str) -> Json:
    return said(f"Successfully tagged {name}\n")


def failed(message: str, code: int = 0) -> Json:
    """The last message of a build that failed. `code` is the exit code of the program that did, else 0."""
    detail: Json = {"code": code} if code else {}
    return {"errorDetail": detail | {"message": message}, "error": message}
