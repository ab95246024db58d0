"""Taking over from an earlier daemon, however it ended: killed, crashed, the machine rebooted.

Each container's record says what was begun. One that runs keeps running; one that ended while nobody looked is
finished now, with the exit code that its monitor left; a half-made one is undone, a half-removed one removed, and one
that was asked to stop or to restart does so. What a build was at is removed. Before that the controller brings the
kernel in line, knowing who is alive, and afterwards what is to run with the daemon is started. What is left of ours
that no container has is taken away; a control group whose name is not known here is another daemon's, and stays.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from engine import lifecycle
from engine.containers import creation, plugging, removal, running, sources
from engine.containers.ending import Endings
from engine.containers.parts import Parts
from engine.containers.probing import healthy_start
from engine.containers.records import Entry
from engine.containers.release import (
    CREATING,
    INTERMEDIATE,
    PHASE,
    REMOVING,
    REMOVING_ALL,
    RESTARTING,
    STARTING,
    STOPPING,
    each,
    release,
    remove_unrecorded,
    with_phase,
)
from engine.runtime import cgroups
from netpy.errors import NetpyError
from netpy.model import Sandbox
from netpy.threads import aside

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovery:
    """One pass over all containers, at the daemon's start, before anybody is served."""

    parts: Parts
    endings: Endings

    def run(self) -> None:
        """Take over, bring the kernel in line, start what is to run."""
        alive = {entry.id for entry in self.parts.records.entries() if self._is_alive(entry)}

        def lives(sandbox: Sandbox) -> bool:
            return sandbox.id in alive

        self.parts.controller.reconcile(lives)
        self.parts.volumes.settle()
        self._sweep(alive)
        due: list[Entry] = []
        for entry in self.parts.records.entries():
            with entry.lock:
                try:
                    due += self._settle(entry, entry.id in alive)
                except (NetpyError, OSError) as error:
                    logger.warning("container %s: %s", entry.id[:12], error)
        for entry in due:
            self._start(entry)

    def _sweep(self, alive: set[str]) -> None:
        """Files of containers that there is no record of; control groups of those that do not run and have no files."""
        parts, entries = self.parts, self.parts.records.entries()
        runtime = parts.runtimes(parts.host.defaults.runtime)
        for identity in runtime.known() - {entry.id for entry in entries}:
            if runtime.alive(identity):
                logger.warning("container %s runs, but there is no record of it", identity[:12])
            else:
                remove_unrecorded(parts, runtime, identity)
        for entry in entries:
            if entry.id not in alive and not parts.paths.bundle(entry.id).exists():
                parent = entry.container.host_config.get("CgroupParent") or ""
                group = cgroups.container_path(entry.id, parent)
                what = f"container {entry.id[:12]}"
                each(what, ("removing its control groups", lambda g=group: cgroups.remove(parts.host.hierarchy, g)))

    def _is_alive(self, entry: Entry) -> bool:
        """Whether its process runs: `created` alone, made but never started, does not count."""
        container = entry.container
        if container.state.running:
            return self.parts.runtime_of(entry.container).alive(entry.id)
        if container.facts.get(PHASE) not in (STARTING, RESTARTING):
            return False
        state = self.parts.runtime_of(entry.container).state(entry.id)
        return state is not None and state.get("status") == "running"

    def _settle(self, entry: Entry, alive: bool) -> list[Entry]:
        """Bring one record to rest. Returns it when it is to be started."""
        container = entry.container
        phase = container.facts.get(PHASE, "")
        if phase == CREATING:
            creation.undo(self.parts, entry)
            return []
        unwanted = container.state.status in ("removing", "dead") or INTERMEDIATE in container.facts
        if phase in (REMOVING, REMOVING_ALL) or unwanted:
            self._remove(entry)
            return []
        if phase in (STOPPING, RESTARTING) and container.state.running:
            self._resume(entry, alive, phase)
            return []
        if alive:
            self._adopt(entry)
            return []
        if phase in (STARTING, RESTARTING):
            self._undo_start(entry)
        return [entry] if phase == RESTARTING else self._settle_dead(entry, cut_off=phase == STARTING)

    def _resume(self, entry: Entry, alive: bool, phase: str) -> None:
        """It was asked to end, and may or may not have heard of it: see to that aside, with its own patience."""
        self._adopt(entry) if alive else running.watch(self.parts, entry, self.endings.exited)

        def finish() -> None:
            try:
                self.endings.restart(entry, None) if phase == RESTARTING else self.endings.stop(entry, None)
            except NetpyError as error:
                logger.warning("container %s: %s was begun and cannot be finished: %s", entry.id[:12], phase, error)

        aside(finish, "resume")

    def _settle_dead(self, entry: Entry, *, cut_off: bool) -> list[Entry]:
        container = entry.container
        if container.state.running:
            # The monitor has the exit code; the watch tells it at once, and the usual end follows.
            running.watch(self.parts, entry, self.endings.exited)
            return []
        plugging.settle_reservations(self.parts, container)
        state = container.state
        if container.host_config.get("AutoRemove") and (state.status == "exited" or cut_off):
            self._remove(entry)
            return []
        if state.status == "restarting":
            self.parts.scheduler.after(lifecycle.FIRST_DELAY, entry.id, lambda: self.endings.again(entry))
            return []
        started_before = state.status == "exited"
        policy = lifecycle.restart_policy(container.host_config["RestartPolicy"])
        wanted = lifecycle.starts_with_daemon(
            policy,
            exit_code=state.exit_code,
            restarts=container.restart_count,
            stopped_by_user=container.stopped_by_user,
        )
        return [entry] if started_before and wanted else []

    def _adopt(self, entry: Entry) -> None:
        """It runs: go on as if nothing had been."""
        container = entry.container
        if not container.state.running:
            state = replace(
                container.state,
                status="running",
                started_at=self.parts.now(),
                exit_code=0,
                health=healthy_start(entry),
            )
            self.parts.records.change(entry, state=state, facts=with_phase(container, ""))
        running.watch(self.parts, entry, self.endings.exited)
        plugging.settle(self.parts, entry)
        if entry.container.state.status == "running":
            self.endings.hooks.on_running(entry)
        sources.adopt(self.parts, container)

    def _undo_start(self, entry: Entry) -> None:
        self.parts.runtime_of(entry.container).abandon(entry.id)
        release(self.parts, entry.container)
        state = replace(entry.container.state, pid=0, monitor_pid=0, error="the daemon ended while it was started")
        self.parts.records.change(entry, state=state, facts=with_phase(entry.container, ""))

    def _remove(self, entry: Entry) -> None:
        container = entry.container
        facts = container.facts
        volumes = facts.get(PHASE) == REMOVING_ALL or INTERMEDIATE in facts
        volumes = volumes or bool(container.host_config.get("AutoRemove"))
        self.parts.records.change(entry, state=replace(container.state, status="dead"))
        removal.remove(self.parts, entry, volumes=volumes)

    def _start(self, entry: Entry) -> None:
        with entry.lock:
            try:
                self.parts.records.change(entry, restart_count=0)
                running.start(self.parts, entry, self.endings.hooks, by_user=False)
            except (NetpyError, OSError) as error:
                logger.warning("container %s cannot be started: %s", entry.id[:12], error)
