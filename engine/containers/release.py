"""Giving back everything that a running container holds: process, networks, namespace, mounts.

The same for an exit, a start that failed, a removal by force and a crash of the daemon: it takes no note of how far
things had come, succeeds where there is nothing to give back, and never stops at the first failure.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from typing import cast

from engine.containers import sources
from engine.containers.parts import Parts, Runtime
from engine.model import Container
from netpy.errors import NetpyError
from netpy.faults import point

logger = logging.getLogger(__name__)
PHASE = "phase"
STARTING, CREATING, REMOVING = "starting", "creating", "removing"
REMOVING_ALL = "removing with volumes"
INTERMEDIATE = "intermediate"  # a fact of containers that whoever takes over removes
STOPPING, RESTARTING = "stopping", "restarting"  # asked for while it ran: to be finished by whoever takes over


def with_phase(container: Container, phase: str) -> dict[str, str]:
    """The container's facts, saying that something has been begun; an empty phase says that nothing is half done."""
    facts = {key: value for key, value in container.facts.items() if key != PHASE}
    return facts | {PHASE: phase} if phase else facts


def release(parts: Parts, container: Container) -> list[str]:
    """Give back all of it. What could not be given back is logged, and returned as text."""
    identity, paths = container.id, parts.paths
    what = f"container {identity[:12]}"
    failures = each(
        what,
        ("deleting it in the runtime", lambda: _delete(parts, container)),
        (
            "letting go of its network namespace",
            lambda: parts.controller.release(identity, str(paths.netns(identity))),
        ),
        ("unmounting its file system", lambda: parts.mounter.unmount(paths.rootfs(identity))),
        ("letting go of its volumes", lambda: sources.release(parts, container)),
        ("settling its log", lambda: parts.rotation.settle(identity)),
    )
    # What could not be given back is found by the bundle at the next try, and may still be mounted in it.
    return failures or each(what, _without_bundle(parts, identity))


def remove_unrecorded(parts: Parts, runtime: Runtime, identity: str) -> None:
    """Take away what is left of a container that does not run and that no record is of."""
    what = f"container {identity[:12]}, of which there is no record"
    failures = each(
        what,
        ("ending its start", lambda: runtime.abandon(identity)),
        ("deleting it in the runtime", lambda: runtime.delete(identity, force=True)),
        ("unmounting its file system", lambda: parts.mounter.unmount(parts.paths.rootfs(identity))),
    )
    if not failures:
        each(what, _without_bundle(parts, identity))


def _without_bundle(parts: Parts, identity: str) -> tuple[str, Callable[[], object]]:
    return "removing its bundle", lambda: shutil.rmtree(parts.paths.bundle(identity), ignore_errors=True)


def _delete(parts: Parts, container: Container) -> None:
    # The runtime is a program: it is not run for what never got as far.
    if parts.paths.bundle(container.id).exists():
        parts.runtime_of(container).delete(container.id, force=True)


def each(what: str, *steps: tuple[str, Callable[[], object]]) -> list[str]:
    """Take every step, whatever becomes of the others; returns what went wrong."""
    failures: list[str] = []
    for name, step in steps:
        point(name)
        try:
            step()
        except (NetpyError, OSError, ExceptionGroup) as error:
            failures.append(f"{name}: {_told(error)}")
            logger.warning("%s: %s", what, failures[-1])
    return failures


def _told(error: Exception) -> str:
    """What went wrong; of a group, what every part of it says."""
    if not isinstance(error, ExceptionGroup):
        return str(error)
    inner = cast("ExceptionGroup[Exception]", error)
    return "; ".join(_told(part) for part in inner.exceptions)
