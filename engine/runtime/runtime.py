"""Containers as processes: created, started, signalled, watched and executed in, by an OCI runtime under conmon.

How it works. A container is two processes: its own first one, and a monitor (conmon) that holds its standard streams,
writes its log and, at its end, its exit code into a file. Neither is our child, so nothing about them depends on this
daemon's life: after a restart `watch` finds them by number again, or finds that they have gone and the exit file.

    create   conmon starts `crun create`: namespaces, mounts and limits are made, the program waits on a FIFO.
             Attaching and publishing ports happens now, so that not a byte of output is lost.
    start    the program is let go (`engine.runtime.gate`).
    watch    a pidfd on the *monitor*: it ends after the container, when log and exit file are complete.
    kill     straight to the process, by pidfd: no program is run. A process number is believed only if the control
             group of the process names the container, so a reused number never hits a stranger.
    delete   the runtime's record and the control groups go; by `crun delete` where something of it still lives.

Everything of a container lies in `<exec-root>/containers/<id>/`, the bundle directory (see `engine.runtime.conmon` for
the names), and the runtime's own records under `<exec-root>/runtime/`, apart from those of other users of the program.
Starts processes, signals, reads and writes files there. No state but the watcher's: any number of threads may call.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal as signals
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from engine.model import Json
from engine.oci.spec import STDIN_ONCE
from engine.runtime import attach, cgroups, conmon, gate, monitored, piped, unfinished
from engine.runtime.conmon import KILLED, Launch, RuntimeRefused, Sink
from engine.runtime.filters import Filters
from engine.runtime.identity import belongs, is_monitor
from engine.runtime.monitored import MonitoredProcess
from engine.runtime.piped import PipedProcess
from engine.runtime.probe import CANDIDATES
from engine.runtime.refusal import explain
from engine.runtime.sealed import Sealed
from engine.runtime.watcher import Watcher, open_pidfd
from engine.streams import Session
from netpy.errors import Conflict, KernelError, NotFound
from netpy.faults import point
from netpy.threads import aside

_COMMAND_TIMEOUT = 120.0
_ID_LENGTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A container's first process and its monitor, by number."""

    pid: int
    monitor_pid: int


class Runtime:
    """The containers below one `exec_root`. `binary` is the OCI runtime called `name`."""

    def __init__(self, *, exec_root: Path, conmon: str, binary: str, name: str) -> None:
        self.name = name
        self.binary = binary
        self._sealed = Sealed(binary)
        # runc gains nothing by it; what others make of it is not known.
        self._program: Callable[[], str] = self._sealed.path if name == "crun" else lambda: binary
        self._conmon = conmon
        self._bundles = exec_root / "containers"
        self._records = exec_root / "runtime"
        self._global_args = ("--root", str(self._records))
        self._watcher = Watcher()
        self._filters = Filters()
        self._groups: dict[str, str] = {}

    def bundle(self, container_id: str) -> Path:
        """The bundle directory of a container."""
        return self._bundles / container_id

    def create(self, id: str, spec: Json, *, log: Sink | None, tty: bool, stdin: bool) -> Process:
        """Make the container of an OCI configuration in its bundle, with its program held back until `start`.

        A `log` file is written in conmon's k8s-file format (`engine.runtime.logs`); None keeps none. With `stdin`, the
        input outlives its clients, or ends with the first if the configuration is annotated so (`spec.STDIN_ONCE`).
        Raises StartRefused (program not found or not executable: exit codes 127, 126), StartFailed.
        """
        bundle = self.bundle(id)
        conmon.clear(bundle, id)
        point("before writing the bundle")
        (bundle / "config.json").write_text(json.dumps(self._filters.hinted(spec)))
        point("after writing the bundle")
        self._groups[id] = str(spec["linux"]["cgroupsPath"])
        launch = Launch(
            conmon=self._conmon,
            runtime=self._program(),
            runtime_args=self._global_args,
            id=id,
            name=(log.name if log else "") or id[:12],
            directory=bundle,
            bundle=bundle,
            log=log,
            tty=tty,
            stdin="none" if not stdin else "once" if STDIN_ONCE in spec.get("annotations", {}) else "open",
        )
        with conmon.start(launch) as pending:
            try:
                started = pending.go()
            except RuntimeRefused as refused:
                raise self._refusal(refused, "create", spec["process"]) from None
        started.sync.close()
        self._filters.learn(spec, self._records / id)
        return Process(pid=started.pid, monitor_pid=started.monitor_pid)

    def _refusal(self, refused: RuntimeRefused, action: Literal["create", "exec"], process: Json) -> Exception:
        args = cast("Sequence[str]", process.get("args") or [""])
        return explain(str(refused), runtime=self.name, action=action, executable=args[0]).error()

    def start(self, id: str) -> None:
        """Let a created container's program run. Raises StartFailed."""
        pid = self.pid(id)
        pidfd = open_pidfd(pid, lambda: belongs(pid, id))
        if pidfd is not None:
            try:
                if gate.opened(self.name, self._records / id, pidfd):
                    return
            finally:
                os.close(pidfd)
        code, text = self._command("start", id)
        if code:
            raise explain(text, runtime=self.name, action="create", executable="").error()

    def kill(self, id: str, signal: int, all: bool = False) -> None:
        """Send a signal to the container's first process, or to every process in it. Raises NotFound if it has ended.

        Like `runc kill ID SIGNAL`, without running it.
        """
        if all:
            for pid in cgroups.pids(cgroups.current(), self.cgroup(id)):
                self._signal(id, pid, signal)
        elif not self._signal(id, self.pid(id), signal):
            raise NotFound(f"container {id[:12]} is not running")

    def kill_exec(self, id: str, pid: int) -> None:
        """End one more process of the container by force, and those of its group. Nothing where it has ended."""
        if belongs(pid, id):
            with suppress(ProcessLookupError):
                # An exec leads a session of its own, or the runtime that stays with it does; else it is ended alone.
                group = os.getpgid(pid)
                led = group == os.getsid(pid)
                os.killpg(group, signals.SIGKILL) if led else self._signal(id, pid, signals.SIGKILL)

    def _signal(self, id: str, pid: int, signal: int) -> bool:
        pidfd = open_pidfd(pid, lambda: belongs(pid, id))
        if pidfd is None:
            return False
        point("before a signal")
        try:
            signals.pidfd_send_signal(pidfd, signal)
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)
        point("after a signal")
        return True

    def pid(self, id: str) -> int:
        """The number of the container's first process as last known; 0 if there was none."""
        return conmon.read_number(self.bundle(id) / conmon.PIDFILE) or 0

    def alive(self, id: str) -> bool:
        """Whether the container's first process exists, created or running or paused."""
        return belongs(self.pid(id), id)

    def cgroup(self, id: str) -> str:
        """The control group of a container, from its configuration."""
        if id in self._groups:
            return self._groups[id]
        with suppress(OSError, ValueError, KeyError):
            spec = cast("Json", json.loads((self.bundle(id) / "config.json").read_text()))
            return str(spec["linux"]["cgroupsPath"])
        return cgroups.container_path(id)

    def delete(self, id: str, force: bool = False) -> None:
        """Forget a container that has ended; with `force`, kill it first. Idempotent. The bundle is left.

        Raises Conflict when it still runs, KernelError when something of it cannot be removed.
        """
        alive = self.alive(id)
        if alive and not force:
            raise Conflict(f"cannot delete container {id[:12]}: it is running")
        if not alive and self._forgotten(id):
            return
        code, text = self._command("delete", *(["--force"] if force else []), id)
        if code and not _is_unknown(text):
            raise KernelError(f"cannot delete container {id[:12]}: {text.strip()}")
        if force:  # what a runtime that was cut off made is unknown to the next, and may still have processes
            self._end_all(id)
        cgroups.remove(cgroups.current(), self.cgroup(id))
        shutil.rmtree(self._records / id, ignore_errors=True)
        self._groups.pop(id, None)

    def _end_all(self, id: str) -> None:
        for pid in cgroups.pids(cgroups.current(), self.cgroup(id)):
            unfinished.end(pid, lambda pid=pid: belongs(pid, id))

    def abandon(self, id: str) -> None:
        """End a start that an earlier daemon began and did not live to see: `delete` then finds all there is of it."""
        unfinished.abandon(id, self._records)

    def known(self) -> set[str]:
        """The ids of all containers of which there are files here, running or not."""
        rooms = (room for room in (self._bundles, self._records) if room.is_dir())
        return {path.name for room in rooms for path in room.iterdir() if len(path.name) == _ID_LENGTH}

    def _forgotten(self, id: str) -> bool:
        """Remove what `delete` would of a container that is known to have ended: its records and control groups.

        False where there may be more to it, such as processes of its group that outlived the first.
        """
        if self.name not in CANDIDATES or conmon.read_number(self.bundle(id) / id) is None:
            return False
        try:
            cgroups.remove(cgroups.current(), self.cgroup(id))
        except ExceptionGroup:
            return False
        point("before removing the runtime's record")
        with suppress(FileNotFoundError):
            shutil.rmtree(self._records / id)
        point("after removing the runtime's record")
        self._groups.pop(id, None)
        return True

    def pause(self, id: str) -> None:
        """Freeze every process of the container."""
        self._checked("pause", id)

    def resume(self, id: str) -> None:
        """Let a paused container go on."""
        self._checked("resume", id)

    def update(self, id: str, resources: Json) -> None:
        """Give a running container other limits: OCI `linux.resources`, of which what is not named stays.

        Equivalent: `runc update --resources - ID`. Raises KernelError with the runtime's words.
        """
        code, text = self._command("update", "--resources", "-", id, input=json.dumps(resources).encode())
        if code:
            raise KernelError(text.strip() or f"{self.name} update failed with code {code}")

    def state(self, id: str) -> Json | None:
        """The OCI state document (`status`, `pid`, …), or None where the runtime does not know the container."""
        code, text = self._command("state", id, output=True)
        return None if code else cast("Json", json.loads(text))

    def attach(self, id: str, *, tty: bool, stdin: bool) -> Session:
        """Join the container's streams from now on. Raises NotFound when it has ended."""
        return attach.connect(self.bundle(id), tty=tty, stdin=stdin)

    def resize(self, id: str, rows: int, cols: int) -> None:
        """Set the size of the container's terminal."""
        conmon.resize(self.bundle(id), rows, cols)

    def watch(self, id: str, monitor_pid: int, on_exit: Callable[[int, bool], None]) -> None:
        """Call `on_exit(exit_code, oom_killed)` once, in a thread of its own, when the container has ended.

        Also for a container that an earlier daemon started, and for one that has ended since: then at once.
        """

        def ended() -> None:
            on_exit(self._exit_code(id), self.oom_killed(id))

        pidfd = open_pidfd(monitor_pid, lambda: is_monitor(monitor_pid, id)) if monitor_pid > 0 else None
        if pidfd is None:
            aside(ended, "exit")
        else:
            self._watcher.add(pidfd, ended)

    def _exit_code(self, id: str) -> int:
        code = conmon.read_number(self.bundle(id) / id)
        if code is not None:
            return code
        # The monitor was killed. What it watched over has no streams any more and cannot be watched: end it.
        pid = self.pid(id)
        unfinished.end(pid, lambda: belongs(pid, id))
        return KILLED

    def oom_killed(self, id: str) -> bool:
        """Whether the kernel killed a process of the container for want of memory. True until `delete`."""
        if (self.bundle(id) / conmon.OOM).exists():
            return True
        return cgroups.oom_kills(cgroups.current(), self.cgroup(id)) > 0

    def exec(
        self, id: str, process: Json, *, tty: bool, stdin: bool, detach: bool = False
    ) -> MonitoredProcess | PipedProcess:
        """Run one more process (`spec.exec_process`) in a running container; it has started when this returns.

        Raises StartRefused (exit codes 127, 126) and StartFailed with Docker's words.
        """
        try:
            if self.name == "crun" and not tty:
                return piped.start([self._program(), *self._global_args], id, process, stdin=stdin, detach=detach)
            launch = Launch(
                conmon=self._conmon,
                runtime=self._program(),
                runtime_args=self._global_args,
                id=id,
                name=id[:12],
                directory=self.bundle(id) / "exec" / secrets.token_hex(8),
                bundle=self.bundle(id),
                log=None,
                tty=tty,
                stdin="once" if stdin else "none",
                attach=not detach,
            )
            return monitored.start(launch, process)
        except RuntimeRefused as refused:
            raise self._refusal(refused, "exec", process) from None

    def close(self) -> None:
        """Stop watching. Containers and their monitors go on."""
        self._watcher.close()
        self._sealed.close()

    def _checked(self, verb: str, id: str) -> None:
        code, text = self._command(verb, id)
        if code and _is_unknown(text):
            raise NotFound(f"container {id[:12]} is not running")
        if code:
            raise KernelError(f"cannot {verb} container {id[:12]}: {text.strip()}")

    def _command(self, *arguments: str, output: bool = False, input: bytes = b"") -> tuple[int, str]:
        point("before running the runtime")
        try:
            done = subprocess.run(
                [self._program(), *self._global_args, *arguments],
                stdin=None if input else subprocess.DEVNULL,
                input=input or None,
                stdout=subprocess.PIPE if output else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_COMMAND_TIMEOUT,
            )
        except OSError as error:
            raise KernelError(f"cannot run {self.binary}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise KernelError(f"{self.name} {arguments[0]} did not end in {_COMMAND_TIMEOUT:.0f} seconds") from None
        point("after running the runtime")
        return done.returncode, (done.stdout if output and not done.returncode else done.stderr).decode(
            errors="replace"
        )


def _is_unknown(text: str) -> bool:
    lower = text.lower()
    return "does not exist" in lower or "no such file or directory" in lower
