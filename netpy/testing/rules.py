"""How a suite speaks: a rule that is broken says what it is and why it exists. And a runner that needs no pytest."""

from __future__ import annotations

import builtins
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest import SkipTest


class Broken(AssertionError):
    """A rule of the contract is broken."""

    def __init__(self, rule: str, why: str, found: str = "") -> None:
        found_line = f"\n  found: {found}" if found else ""
        super().__init__(f"{rule}{found_line}\n  why:   {why}")


def rule(kept: object, text: str, why: str, found: object = "") -> None:
    """Broken unless `kept`."""
    if not kept:
        raise Broken(text, why, str(found))


def is_a(value: object, kind: type) -> bool:
    """Whether a plugin's value is of that kind, whatever its declaration says."""
    return isinstance(value, kind)


_OUTSIDE: tuple[tuple[ModuleType, str], ...] = (
    (builtins, "open"),
    (socket, "socket"),
    (subprocess, "Popen"),
    (time, "time"),
    (time, "sleep"),
)


@contextmanager
def pure(function: str) -> Generator[None]:
    """Inside, opening a file or a socket, starting a program and asking for the time are Broken rules."""
    kept = [(module, name, getattr(module, name)) for module, name in _OUTSIDE]

    def refusal(name: str) -> Callable[..., Any]:
        def refuse(*arguments: object, **more: object) -> None:
            raise Broken(
                f"{function} asks the outside: it calls {name}",
                "it is asked again after a crash, in a dry run and by `netpy network check`, under locks that others "
                "wait for; ask in a hook (acquire) and keep the answer in facts",
            )

        return refuse

    for module, name, _ in kept:
        setattr(module, name, refusal(f"{module.__name__}.{name}"))
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one test: `problem` is empty when it passed; `skipped` says why it was not tried."""

    suite: str
    test: str
    problem: str = ""
    skipped: str = ""

    @property
    def title(self) -> str:
        """The test's name as a sentence."""
        return self.test.removeprefix("test_").replace("_", " ")


def run(suite: type) -> Iterator[Outcome]:
    """Every test of a suite, in the order in which they are written, each on an instance of its own."""
    names = [name for kind in reversed(suite.__mro__) for name in vars(kind) if name.startswith("test_")]
    for name in dict.fromkeys(names):
        yield _one(suite, name)


def _one(suite: type, name: str) -> Outcome:
    try:
        getattr(suite(), name)()
    except SkipTest as error:
        return Outcome(suite=suite.__name__, test=name, skipped=str(error))
    except Broken as error:
        return Outcome(suite=suite.__name__, test=name, problem=str(error))
    except Exception as error:
        where = "".join(traceback.format_tb(error.__traceback__, limit=-2)).rstrip()
        return Outcome(suite=suite.__name__, test=name, problem=f"{type(error).__name__}: {error}\n{where}")
    return Outcome(suite=suite.__name__, test=name)
