"""Tries a driver: finds what a module holds, puts it through the suites of `netpy.testing`, and says what came of it.

The module is imported, so whatever it does on import happens. As root the real kernel is used too, in namespaces that
are gone afterwards.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from engine.cli.command import CommandError
from netpy.drivers import Defaults
from netpy.testing import DriverContract, IpamContract, LinuxContract, Outcome, run

Suite = type[DriverContract] | type[IpamContract]
_MARKS = {"network_state": LinuxContract, "request_pool": IpamContract}


def report(reference: str) -> int:
    """Print what every suite found. 1 if a rule is broken, and CommandError if there is nothing to try."""
    failed = 0
    for title, suite in suites(reference):
        print(title)
        outcomes: list[Outcome] = []
        for outcome in run(suite):
            outcomes.append(outcome)
            _print(outcome)
        failed += sum(bool(outcome.problem) for outcome in outcomes)
        skipped = sum(bool(outcome.skipped) for outcome in outcomes)
        passed = len(outcomes) - skipped - sum(bool(outcome.problem) for outcome in outcomes)
        print(f"{passed} kept, {len(outcomes) - passed - skipped} broken, {skipped} not tried\n")
    return 1 if failed else 0


def suites(reference: str) -> Iterator[tuple[str, Suite]]:
    """What there is to run, with a title for each: the module's own suites, else one for each driver in it."""
    name, _, attribute = reference.partition(":")
    module = _imported(name)
    if attribute:
        found = getattr(module, attribute, None)
        if found is None:
            raise CommandError(f"module {name} has no {attribute}")
        yield reference, _suite(found, reference)
        return
    own = [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__]
    chosen = [each for each in own if issubclass(each, DriverContract | IpamContract)] or [
        each for each in own if any(hasattr(each, mark) for mark in _MARKS) and not getattr(each, "_is_protocol", False)
    ]
    if not chosen:
        raise CommandError(f"module {name} has neither a driver nor a suite: name it, as in {name}:Driver")
    for each in chosen:
        yield f"{name}:{each.__name__}", _suite(each, f"{name}:{each.__name__}")


def _suite(found: Any, title: str) -> Suite:
    if inspect.isclass(found) and issubclass(found, DriverContract | IpamContract):
        return found
    mark = next((mark for mark in _MARKS if hasattr(found, mark)), "")
    if not mark and callable(found):
        made = _made(found, title)
        mark = next((mark for mark in _MARKS if hasattr(made, mark)), "")
    if not mark:
        raise CommandError(f"{title} is no driver: it lacks network_state and endpoint_state")
    factory: Callable[[], object] = (lambda: _made(found, title)) if callable(found) else (lambda: found)
    return cast(Suite, type("Suite", (_MARKS[mark],), {"driver": lambda self: factory()}))  # pyright: ignore[reportUnknownLambdaType]


def _made(factory: Callable[..., object], title: str) -> object:
    try:
        return factory(Defaults())
    except Exception as error:
        raise CommandError(f"{title} cannot be made with Defaults(): {error!r}") from error


def _imported(name: str) -> ModuleType:
    """The module of that name, looked for in the current directory first; or the file, if it is one's path."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        spec = importlib.util.spec_from_file_location(Path(name).stem, name)
        if spec is None or spec.loader is None:
            raise ImportError(name)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    except Exception as error:
        raise CommandError(f"module {name} cannot be imported: {error!r}") from error


def _print(outcome: Outcome) -> None:
    if outcome.problem:
        print(f"  BROKEN  {outcome.title}")
        for line in outcome.problem.splitlines():
            print(f"          {line}")
    elif outcome.skipped:
        print(f"  -       {outcome.title} ({outcome.skipped})")
    else:
        print(f"  ok      {outcome.title}")
