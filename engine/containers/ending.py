"""The end of a container's process, and all that brings it about: exits, stop, kill, restart.

Whatever ended the process, one function learns of it from the runtime's monitor: it gives back what the container
held, decides about a restart, and then tells those who wait. So whoever was told can rely on ports and names being
free.

What was asked for is written down before the first signal is sent, and struck out when it is done: a daemon that takes
over in between finishes it (`engine.containers.recovery`).
"""

from __future__ import annotations

import contextlib
import logging
import signal as signals
from collections.abc import Callable
from dataclasses import dataclass

from engine import lifecycle
from engine.containers import removal, running, wiring
from engine.containers.health import unwatched
from engine.containers.parts import Parts, announce
from engine.containers.records import Entry, require
from engine.containers.release import PHASE, RESTARTING, STOPPING, release, with_phase
from engine.containers.running import Hooks
from engine.containers.timing import seconds_between
from engine.containers.waiting import Waiter
from engine.model import Container, State
from netpy.errors import InvalidArgument, KernelError, NetpyError, NotFound

logger = logging.getLogger(__name__)
GRACE, LAST_WAIT = 10, 10.0
AGAIN = 2.0  # seconds until what could not be written is tried again


@dataclass(frozen=True, slots=True)
class Endings:
    """Ends containers. `hooks` are for those that are started again."""

    parts: Parts
    hooks: Hooks

    def exited(self, entry: Entry, monitor: int, code: int, oom: bool) -> None:
        """The process has ended; `monitor` tells a late message of an earlier process from one of the present."""
        with entry.lock:
            state = entry.container.state
            if not self.parts.records.exists(entry) or not state.running or state.monitor_pid != monitor:
                return
            try:
                self._finish(entry, code, oom)
            except (NetpyError, OSError) as error:  # the disk is full: it has ended all the same
                self._later(entry, "its end", error, lambda: self.exited(entry, monitor, code, oom))

    def _finish(self, entry: Entry, code: int, oom: bool) -> None:
        parts, container = self.parts, entry.container
        self.hooks.on_halted(entry)
        entry.released = not release(parts, container)
        finished = parts.now()
        delay = _restart_delay(container, code, finished)
        event = "exited" if delay is None else "backed-off"
        status = lifecycle.step(container.state.status, event, entry.id)
        ended = State(
            status=status,
            exit_code=code,
            oom_killed=oom,
            started_at=container.state.started_at,
            finished_at=finished,
            health=unwatched(container.state.health),
        )
        begun = container.facts.get(PHASE, "")
        facts = with_phase(container, "" if begun == STOPPING else begun)
        facts.pop("delay", None)
        facts |= {} if delay is None else {"delay": str(delay)}
        container = parts.records.change(entry, state=ended, facts=facts)
        if oom:
            announce(parts, container, "oom")
        announce(parts, container, "die", exitCode=str(code))
        wiring.announce_all(parts, container, "disconnect")
        if delay is not None:
            parts.scheduler.after(delay, entry.id, lambda: self.again(entry))
        parts.waiters.exited(entry.id, (code, ""))
        if delay is None and begun != RESTARTING and container.host_config.get("AutoRemove"):
            self.remove_quietly(entry)
        if not entry.released:
            parts.scheduler.after(AGAIN, f"{entry.id} released", lambda: self._let_go(entry))

    def _let_go(self, entry: Entry) -> None:
        """What could not be given back at its end, tried until it can be; whoever starts or removes it does so, too."""
        with entry.lock:
            if entry.released or entry.container.state.running or not self.parts.records.exists(entry):
                return
            entry.released = not release(self.parts, entry.container)
            if not entry.released:
                self.parts.scheduler.after(AGAIN, f"{entry.id} released", lambda: self._let_go(entry))

    def again(self, entry: Entry) -> None:
        """The back-off is over: start the container once more."""
        with entry.lock:
            container = entry.container
            if not self.parts.records.exists(entry) or container.state.status != "restarting":
                return
            try:
                self.parts.records.change(entry, restart_count=container.restart_count + 1)
                running.start(self.parts, entry, self.hooks, by_user=False)
            except (NetpyError, OSError) as error:
                if entry.container.state.status == "restarting":
                    self._later(entry, "its restart", error, lambda: self.again(entry))
                    return
                logger.warning("container %s cannot be restarted: %s", entry.id[:12], error)
                self.parts.waiters.exited(entry.id, (entry.container.state.exit_code, str(error)))

    def stop(self, entry: Entry, timeout: int | None, signal: str = "", begun: str = STOPPING) -> None:
        """Ask it to end, and make it end after `timeout` seconds (negative: never). Equivalent: `docker stop`."""
        with entry.lock:
            require(entry, "stop")
            if lifecycle.is_idle(entry.container.state.status, "stop"):
                return
            container = self._begun(entry, begun)
            if container.state.status == "restarting":
                self._give_up(entry)
                announce(self.parts, entry.container, "stop")
                return
            number = signal_number(signal or container.config.get("StopSignal") or "TERM")
            waiter = self.parts.waiters.register(entry.id, "not-running")
            self._send(entry, number)
        patience = _patience(container, timeout)
        if not _ended(waiter, None if patience < 0 else patience):
            with entry.lock:
                if entry.container.state.running:
                    self._send(entry, signals.SIGKILL)
            if not _ended(waiter, LAST_WAIT):
                self._given_up(entry)
                raise KernelError(f"container {entry.id} did not end {LAST_WAIT:.0f} seconds after it was killed")
        announce(self.parts, entry.container, "stop")

    def kill(self, entry: Entry, signal: str) -> None:
        """Send a signal; of SIGKILL, await the end, as Docker does. Equivalent: `docker kill -s`."""
        number = signal_number(signal)
        waiter: Waiter | None = None
        with entry.lock:
            require(entry, "kill")
            container = entry.container
            if number in (signals.SIGKILL, signal_number(container.config.get("StopSignal") or "TERM")):
                self._begun(entry, STOPPING if number == signals.SIGKILL else container.facts.get(PHASE, ""))
            if container.state.status == "restarting":
                self._give_up(entry)
                return
            if number == signals.SIGKILL:
                waiter = self.parts.waiters.register(entry.id, "not-running")
            self._send(entry, number)
        if waiter and not _ended(waiter, LAST_WAIT):
            self._given_up(entry)
            raise KernelError(f"container {entry.id} has not ended {LAST_WAIT:.0f} seconds after it was killed")

    def restart(self, entry: Entry, timeout: int | None, signal: str = "") -> None:
        """Stop it if it runs, start it. Equivalent: `docker restart`."""
        with entry.lock:
            alive = lifecycle.is_alive(entry.container.state.status)
            if alive:  # noted even of one that ends by itself now: one that removes itself stays for the second half
                self.parts.records.change(entry, facts=with_phase(entry.container, RESTARTING))
        if alive:
            try:
                self.stop(entry, timeout, signal, begun=RESTARTING)
            except BaseException:
                self._given_up(entry)
                raise
        with entry.lock:
            running.start(self.parts, entry, self.hooks)
        announce(self.parts, entry.container, "restart")

    def pause(self, entry: Entry) -> None:
        """Freeze all its processes. Equivalent: `docker pause`."""
        with entry.lock:
            require(entry, "pause")
            self.hooks.on_halted(entry)
            self.parts.runtime_of(entry.container).pause(entry.id)
            health = unwatched(entry.container.state.health)
            announce(self.parts, self.parts.records.change_state(entry, "pause", health=health), "pause")

    def unpause(self, entry: Entry) -> None:
        """Let them go on. Equivalent: `docker unpause`."""
        with entry.lock:
            require(entry, "unpause")
            self._thaw(entry)

    def remove(self, entry: Entry, *, force: bool, volumes: bool) -> None:
        """Remove it; a running one only by force, which kills it first. Equivalent: `docker rm`."""
        if force:
            self._kill_for_removal(entry, removal.phase(volumes))
        with entry.lock:
            if not self.parts.records.exists(entry):
                return
            removal.remove(self.parts, entry, volumes=volumes)

    def remove_quietly(self, entry: Entry) -> None:
        """The removal that `--rm` asked for: nobody is there to hear of a failure."""
        try:
            removal.remove(self.parts, entry, volumes=True)
        except NetpyError as error:
            logger.warning("removing container %s: %s", entry.id[:12], error)
            self.parts.waiters.removed(entry.id, (entry.container.state.exit_code, str(error)))

    def _kill_for_removal(self, entry: Entry, begun: str) -> None:
        with entry.lock:
            if not lifecycle.is_alive(entry.container.state.status):
                return
            require(entry, "force-remove")
            self._begun(entry, begun)
            if entry.container.state.status == "restarting":
                self._give_up(entry)
                return
            waiter = self.parts.waiters.register(entry.id, "not-running")
            self._send(entry, signals.SIGKILL)
        if not _ended(waiter, LAST_WAIT):
            self._given_up(entry)
            raise KernelError(f"could not kill container {entry.id}: it has not ended within {LAST_WAIT:.0f} seconds")

    def _later(self, entry: Entry, what: str, error: Exception, work: Callable[[], None]) -> None:
        """It cannot be written down now. It is tried until it can, since nobody else will."""
        logger.warning("container %s: %s cannot be recorded yet: %s", entry.id[:12], what, error)
        self.parts.scheduler.after(AGAIN, entry.id, work)

    def _begun(self, entry: Entry, phase: str) -> Container:
        """Write down that its end was asked for, and of what that is part."""
        return self.parts.records.change(entry, stopped_by_user=True, facts=with_phase(entry.container, phase))

    def _given_up(self, entry: Entry) -> None:
        """It does not end: nobody shall take that up again unasked."""
        with entry.lock:
            if self.parts.records.exists(entry):
                self.parts.records.change(entry, facts=with_phase(entry.container, ""))

    def _give_up(self, entry: Entry) -> None:
        """End the waiting for a restart."""
        self.parts.scheduler.cancel(entry.id)
        container = self.parts.records.change_state(entry, "exited")
        if container.facts.get(PHASE) == STOPPING:
            container = self.parts.records.change(entry, facts=with_phase(container, ""))
        self.parts.waiters.exited(entry.id, (container.state.exit_code, ""))
        if container.host_config.get("AutoRemove"):
            self.remove_quietly(entry)

    def _send(self, entry: Entry, number: int) -> None:
        # It may have ended this moment; its end is then on its way to us.
        with contextlib.suppress(NotFound):
            self.parts.runtime_of(entry.container).kill(entry.id, number)
        announce(self.parts, entry.container, "kill", signal=str(number))
        # A frozen process acts on no signal until it is thawed.
        if entry.container.state.status == "paused":
            self._thaw(entry)

    def _thaw(self, entry: Entry) -> None:
        self.parts.runtime_of(entry.container).resume(entry.id)
        announce(self.parts, self.parts.records.change_state(entry, "unpause"), "unpause")
        self.hooks.on_running(entry)


def signal_number(text: str) -> int:
    """`KILL`, `SIGKILL`, `9`, `RTMIN+3`. InvalidArgument("Invalid signal: x")."""
    name = text.upper().removeprefix("SIG")
    base, plus, offset = name.partition("+")
    if name.isascii() and name.isdigit() and 0 < int(name) <= signals.SIGRTMAX:
        return int(name)
    found = getattr(signals, f"SIG{base}", None)
    if not isinstance(found, signals.Signals) or (plus and not offset.isdigit()):
        raise InvalidArgument(f"Invalid signal: {text}")
    return int(found) + int(offset or 0)


def _patience(container: Container, timeout: int | None) -> float:
    if timeout is not None:
        return timeout
    configured = container.config.get("StopTimeout")
    return GRACE if configured is None else float(configured)


def _ended(waiter: Waiter, timeout: float | None) -> bool:
    try:
        waiter.result(timeout)
    except TimeoutError:
        return False
    return True


def _restart_delay(container: Container, code: int, finished: str) -> float | None:
    ending = lifecycle.Ending(
        exit_code=code,
        restarts=container.restart_count,
        stopped_by_user=container.stopped_by_user,
        ran_for=seconds_between(container.state.started_at, finished),
        delay=float(container.facts.get("delay", "0")),
    )
    return lifecycle.restart_delay(lifecycle.restart_policy(container.host_config["RestartPolicy"]), ending)
