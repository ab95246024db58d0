"""Removing a container: everything that was ever made for it, in an order that a crash can interrupt.

The state goes to `removing` first; whatever is found in that state when the daemon starts is removed then, with its
unnamed volumes if they were to go. No step is left out because another failed; if something stays behind, so does the
record, as `dead`, to be removed again.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

from engine import lifecycle
from engine.containers.parts import Parts, announce
from engine.containers.records import Entry
from engine.containers.release import REMOVING, REMOVING_ALL, each, release, with_phase
from engine.containers.volumes import ANONYMOUS
from engine.model import Container
from netpy.errors import Conflict, KernelError, NetpyError, NotFound


def remove(parts: Parts, entry: Entry, *, volumes: bool) -> None:
    """Remove a container that does not run. The caller holds its lock, and has stopped it if it was to be forced."""
    state = entry.container.state
    state = replace(state, status=lifecycle.step(state.status, "remove", entry.id))
    container = parts.records.change(entry, state=state, facts=with_phase(entry.container, phase(volumes)))
    identity = container.id
    try:
        _remove(parts, entry, container, volumes)
    except (NetpyError, OSError) as error:
        _mark_dead(parts, entry, str(error))
        raise
    announce(parts, container, "destroy")
    parts.waiters.removed(identity, (container.state.exit_code, ""))


def _remove(parts: Parts, entry: Entry, container: Container, volumes: bool) -> None:
    identity, paths = container.id, parts.paths
    failures = [] if entry.released else release(parts, container)
    failures += each(
        f"container {identity[:12]}",
        ("giving back its addresses", lambda: parts.controller.unreserve(identity)),
        ("removing its layer", lambda: _remove_tree(paths.layer(identity))),
        ("removing its files", lambda: _remove_tree(paths.home(identity))),
    )
    if failures:
        raise KernelError(f"container {identity}: removal is incomplete: {'; '.join(failures)}")
    if volumes:  # while the record still says which
        remove_anonymous(parts, container)
    parts.records.drop(entry)


def _mark_dead(parts: Parts, entry: Entry, error: str) -> None:
    """It is to be removed again; known here at least, where it cannot be written down (the disk is full)."""
    status = lifecycle.step(entry.container.state.status, "removal-failed", entry.id)
    state = replace(entry.container.state, status=status, error=error)
    entry.container = replace(entry.container, state=state)
    with contextlib.suppress(NetpyError):
        parts.records.change(entry, state=state)


def phase(volumes: bool) -> str:
    """What is noted of a removal that has begun: its second half has to know what was asked for."""
    return REMOVING_ALL if volumes else REMOVING


def remove_anonymous(parts: Parts, container: Container) -> None:
    """Remove its unnamed volumes that nobody else mounts."""
    for name in [point["Name"] for point in container.mounts if point["Type"] == "volume"]:
        try:
            if ANONYMOUS in (parts.volumes.get(name).get("Labels") or {}):
                parts.volumes.remove(name, leaving=container.id)
        except (Conflict, NotFound):
            continue  # another container has it by --volumes-from, or it has gone


def _remove_tree(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
