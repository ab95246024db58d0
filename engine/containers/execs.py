"""More processes in a running container: `docker exec`.

An exec is made, started once, and asked how it ended. It is known for five minutes after its end, and dies with the
container. It is not recorded: a daemon that starts anew has forgotten it, though its process goes on, as with Docker.
It must not write, though, if its output went to a client by pipes (`engine.runtime.piped`): nobody reads them any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from engine.containers.documents import console_size, items
from engine.containers.parts import ExecProcess, Parts, announce
from engine.containers.records import Entry, require
from engine.containers.sessions import AwaitedSession
from engine.model import Json
from engine.oci.spec import ExecRequest, exec_process
from engine.runtime import accounts
from engine.streams import Session
from netpy import threads
from netpy.errors import Conflict, InvalidArgument, KernelError, NetpyError, NotFound

KEPT = 300.0


@dataclass(slots=True, eq=False)
class Exec:
    """One exec. `exit_code` is None until it has ended."""

    id: str
    entry: Entry
    options: Json
    process: ExecProcess | None = None
    started: bool = False
    killed: bool = False
    exit_code: int | None = None
    ended_at: float = 0.0
    done: Future[None] = field(default_factory=Future[None])


class Execs:
    """All of them."""

    def __init__(self, parts: Parts, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._clock = clock
        self._lock = threading.Lock()
        self._execs: dict[str, Exec] = {}

    def create(self, entry: Entry, body: Json) -> str:
        """Prepare one. Conflict, in Docker's words, unless the container runs."""
        require(entry, "exec")
        if not body.get("Cmd"):
            raise InvalidArgument("No exec command specified")
        console_size(body)
        made = Exec(id=self._parts.new_id(), entry=entry, options=dict(body))
        with self._lock:
            self._forget_old()
            self._execs[made.id] = made
        announce(self._parts, entry.container, f"exec_create: {_spoken(body['Cmd'])}", execID=made.id)
        return made.id

    def of(self, container_id: str) -> list[str]:
        """The ids of those of a container that run."""
        with self._lock:
            found = [e for e in self._execs.values() if e.entry.id == container_id and e.started]
        return [e.id for e in found if e.exit_code is None]

    def check(self, identity: str) -> None:
        """Whether it could be started now. NotFound, Conflict in Docker's words."""
        wanted = self._find(identity)
        require(wanted.entry, "exec")
        if wanted.started:
            raise Conflict(f"Error: Exec command {identity} is already running")

    def start(self, identity: str, *, tty: bool, detach: bool) -> Session | None:
        """Run it. The session to talk to it, or None when detached. Once only."""
        wanted = self._find(identity)
        options = wanted.options | {"Tty": tty or bool(wanted.options.get("Tty"))}
        with wanted.entry.lock:
            require(wanted.entry, "exec")
            with self._lock:
                if wanted.started:
                    raise Conflict(f"Error: Exec command {identity} is already running")
                wanted.started = True
            try:
                wanted.process = self._run(wanted, options, detach=detach)
            except NetpyError as error:
                self._ended(wanted, int(getattr(error, "exit_code", 126)))
                wanted.done.set_result(None)
                raise
            self._catch_up(wanted, wanted.process, options)
            command = _spoken(wanted.options["Cmd"])
            announce(self._parts, wanted.entry.container, f"exec_start: {command}", execID=identity)
        try:
            threads.started(lambda: self._await(wanted), "exec")
        except KernelError:  # nobody would notice its end
            self._kill(wanted, wanted.process)
            self._await(wanted)
            raise
        if wanted.killed:  # while it was being started
            self._kill(wanted, wanted.process)
        live = wanted.process.session
        return None if detach or live is None else AwaitedSession(live, wanted.done)

    def inspect(self, identity: str) -> Json:
        """Docker's document."""
        found = self._find(identity)
        options = found.options
        command = [str(word) for word in options["Cmd"]]
        return {
            "ID": found.id,
            "Running": found.started and found.exit_code is None,
            "ExitCode": found.exit_code,
            "ProcessConfig": {
                "tty": bool(options.get("Tty")),
                "entrypoint": command[0],
                "arguments": command[1:],
                "privileged": bool(options.get("Privileged")),
                **({"user": options["User"]} if options.get("User") else {}),
            },
            "OpenStdin": bool(options.get("AttachStdin")),
            "OpenStderr": bool(options.get("AttachStderr")),
            "OpenStdout": bool(options.get("AttachStdout")),
            "CanRemove": found.exit_code is not None,
            "ContainerID": found.entry.id,
            "DetachKeys": options.get("DetachKeys") or "",
            "Pid": found.process.pid if found.process else 0,
        }

    def resize(self, identity: str, rows: int, columns: int) -> None:
        """Tell its terminal how large it is; remembered when it has not started."""
        found = self._find(identity)
        found.options["ConsoleSize"] = [rows, columns]
        if found.process is not None and found.exit_code is None:
            found.process.resize(rows, columns)

    def _catch_up(self, wanted: Exec, process: ExecProcess, begun_with: Json) -> None:
        """Docker 20.10's client tells a size at once and once only: it may come while the process is being started."""
        size = console_size(wanted.options)
        if size != console_size(begun_with):
            process.resize(*size)

    def kill(self, identity: str) -> None:
        """End it by force, with what it has started, and take no more of its output. Nothing where it has ended."""
        with self._lock:
            found = self._execs.get(identity)
        if found is None or found.exit_code is not None:
            return
        found.killed = True
        if found.process is not None:
            self._kill(found, found.process)

    def _kill(self, wanted: Exec, process: ExecProcess) -> None:
        self._parts.runtime_of(wanted.entry.container).kill_exec(wanted.entry.id, process.pid)
        if process.session is not None:
            process.session.close()  # something of it may live on, and hold its output open

    def forget(self, identity: str) -> None:
        """Nobody will ask for it again."""
        with self._lock:
            self._execs.pop(identity, None)

    def drop(self, container_id: str) -> None:
        """The container is no more."""
        with self._lock:
            self._execs = {i: e for i, e in self._execs.items() if e.entry.id != container_id}

    def _run(self, wanted: Exec, options: Json, *, detach: bool) -> ExecProcess:
        parts, container = self._parts, wanted.entry.container
        user = accounts.resolve(
            parts.paths.rootfs(container.id),
            options.get("User") or container.config.get("User") or "",
            tuple(items(container.host_config, "GroupAdd")),
        )
        request = ExecRequest(
            options=options,
            container=container.config,
            host_config=container.host_config,
            hostname=container.config["Hostname"],
            user=user,
            facts=parts.host.facts,
            console=console_size(options),
        )
        return parts.runtime_of(container).exec(
            container.id,
            exec_process(request),
            tty=bool(options.get("Tty")),
            stdin=bool(options.get("AttachStdin")) and not detach,
            detach=detach,
        )

    def _await(self, running: Exec) -> None:
        code = running.process.wait() if running.process else 0
        self._ended(running, code)
        announce(self._parts, running.entry.container, "exec_die", execID=running.id, exitCode=str(code))
        running.done.set_result(
            None
        )  # last: whoever waited may tell more, and the order of events is part of the story

    def _ended(self, ended: Exec, code: int) -> None:
        with self._lock:
            ended.exit_code = code
            ended.ended_at = self._clock()

    def _find(self, identity: str) -> Exec:
        with self._lock:
            found = self._execs.get(identity)
        if found is None:
            raise NotFound(f"No such exec instance: {identity}")
        return found

    def _forget_old(self) -> None:
        oldest = self._clock() - KEPT
        self._execs = {i: e for i, e in self._execs.items() if e.exit_code is None or e.ended_at > oldest}


def _spoken(command: list[str]) -> str:
    """A command as events tell it: with a blank behind the program, arguments or none, as Docker prints it."""
    return f"{command[0]} {' '.join(command[1:])}"
