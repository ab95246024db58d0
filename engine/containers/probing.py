"""Runs the probes of containers' health checks and writes down what they say.

One scheduler knows when each is due; a thread exists only while a probe runs, so a slow one holds up nobody. A probe is
an exec like any other, with its events. What it means for the container, `health` decides. A `Round` is one stretch of
a container's life in which it is watched, from a start or an unpause to the next pause or end: what a probe of an
earlier round brings is dropped.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from engine.containers import health
from engine.containers.execs import Execs
from engine.containers.health import Check
from engine.containers.parts import Parts, announce
from engine.containers.records import Entry
from engine.containers.timing import seconds_between
from engine.model import Health, Probe
from engine.streams import Session
from netpy.errors import NetpyError


@dataclass(slots=True, eq=False)
class Round:
    """A stretch of time in which a container is probed. `exec` is the probe that runs, empty between two of them.

    `overdue` is the last one that took too long.
    """

    entry: Entry
    check: Check
    exec: str = ""
    overdue: str = ""


class Probing:
    """The health checks of all containers. Thread-safe."""

    def __init__(self, parts: Parts, execs: Execs) -> None:
        self._parts = parts
        self._execs = execs
        self._lock = threading.Lock()
        self._rounds: dict[str, Round] = {}

    def watch(self, entry: Entry) -> None:
        """It runs from now on, or again: probe it, if it has a check. The caller holds the entry's lock."""
        check = health.check_of(entry.container.config)
        if check is None:
            return
        begun = Round(entry, check)
        with self._lock:
            self._rounds[entry.id] = begun
        self._schedule(begun)

    def leave(self, entry: Entry) -> None:
        """It is paused or has ended: no more probes, and none that is under way counts."""
        with self._lock:
            left = self._rounds.pop(entry.id, None)
        if left is not None:
            self._parts.scheduler.cancel(_key(entry))
            self._execs.kill(left.exec)

    def close(self) -> None:
        """Stop watching. Containers go on, and so do their probes."""
        with self._lock:
            self._rounds.clear()

    def _current(self, wanted: Round) -> bool:
        with self._lock:
            return self._rounds.get(wanted.entry.id) is wanted

    def _schedule(self, due: Round) -> None:
        state = due.entry.container.state
        pause = health.pause_before(due.check, state.health or Health(), self._age(due, self._parts.now()))
        self._parts.scheduler.after(pause, _key(due.entry), lambda: self._probe(due))

    def _probe(self, due: Round) -> None:
        if not self._current(due):
            return
        started = self._parts.now()
        code, output = self._run(due)
        probe = Probe(start=started, end=self._parts.now(), exit_code=code, output=output)
        with due.entry.lock:
            if not self._current(due):
                return
            self._record(due, probe)
            self._schedule(due)

    def _record(self, due: Round, probe: Probe) -> None:
        before = due.entry.container.state.health or Health()
        present = health.after(due.check, before, probe, self._age(due, probe.start))
        container = self._parts.records.change_state(due.entry, health=present)
        if present.status != before.status:
            announce(self._parts, container, f"health_status: {present.status}")

    def _run(self, due: Round) -> tuple[int, str]:
        """The exit code of the probe and what it said; FAILED where there is none."""
        command = list(due.check.command)
        try:
            identity = self._execs.create(due.entry, {"Cmd": command, "AttachStdout": True, "AttachStderr": True})
        except NetpyError as error:
            return health.FAILED, str(error)
        due.exec = identity
        limit = self._limit(due, identity)
        try:
            session = self._execs.start(identity, tty=False, detach=False)
            output = health.shown(_read(session)) if session else ""
            code = self._execs.inspect(identity)["ExitCode"]
        except NetpyError as error:
            return health.FAILED, str(error)
        finally:
            due.exec = ""
            self._parts.scheduler.cancel(limit)
            self._execs.forget(identity)
        return (
            (health.FAILED, health.timed_out(due.check.timeout, output)) if due.overdue == identity else (code, output)
        )

    def _limit(self, due: Round, identity: str) -> str:
        """See to it that the probe ends in time; the key under which the scheduler has it."""

        def end() -> None:
            due.overdue = identity
            self._execs.kill(identity)

        self._parts.scheduler.after(due.check.timeout, identity, end)
        return identity

    def _age(self, due: Round, moment: str) -> float:
        return seconds_between(due.entry.container.state.started_at, moment)


def _key(entry: Entry) -> str:
    return f"health {entry.id}"


def _read(session: Session) -> bytes:
    """What it says to its end, as much as is kept and a byte more to tell that it was cut."""
    found = b""
    while (frame := session.read()) is not None:
        found = (found + frame.data)[: health.LONGEST_OUTPUT + 1]
    session.close()
    return found


def healthy_start(entry: Entry) -> Health | None:
    """The health with which the container starts now."""
    container = entry.container
    return health.begun(health.check_of(container.config), container.state.health)
