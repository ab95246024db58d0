"""A daemon's containers without a machine: the real controller on the kernel in memory, and a runtime that only pretends.

The pretended runtime keeps processes as entries of a dictionary; a test ends them with `end`.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.containers import Containers
from engine.containers.files import Defaults as FileDefaults
from engine.containers.files import Files
from engine.containers.merging import Defaults
from engine.containers.parts import Host, Parts, Paths
from engine.containers.records import Records
from engine.containers.volumes import Volumes
from engine.containers.waiting import Waiters
from engine.events import Events
from engine.model import Json
from engine.oci.spec import HostFacts
from engine.runtime.cgroups import Hierarchy
from engine.runtime.conmon import Sink
from engine.runtime.refusal import StartRefused
from engine.runtime.rotation import Rotation
from engine.streams import Frame, Session
from netpy.controller import Controller, Settings
from netpy.dns import Record, View
from netpy.drivers import Defaults as DriverDefaults
from netpy.drivers.registry import Registry
from netpy.errors import Conflict, InvalidArgument, NotFound
from netpy.kernel.memory import MemoryKernel
from netpy.model import NetworkSpec, Sandbox, SubnetSpec
from netpy.store import Store


@dataclass
class Pretended:
    """One process that is not there."""

    pid: int
    monitor_pid: int
    spec: Json = field(default_factory=dict[str, Any])
    status: str = "created"
    exit_code: int = 0
    watchers: list[Callable[[int, bool], None]] = field(default_factory=list)


class PretendedSession:
    """Says one line, then ends."""

    def __init__(self, tty: bool) -> None:
        self.tty = tty
        self.written: list[bytes] = []
        self._frames = [Frame(1, b"out\n"), Frame(2, b"err\n")]

    def read(self) -> Frame | None:
        return self._frames.pop(0) if self._frames else None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close_input(self) -> None:
        self.written.append(b"<end>")

    def close(self) -> None:
        self._frames.clear()


class PretendedExec:
    def __init__(self, session: Session | None) -> None:
        self.session = session
        self.pid = 77
        self.size: tuple[int, int] | None = None
        self.finish = threading.Event()

    def wait(self) -> int:
        self.finish.wait(60)
        return 4

    def resize(self, rows: int, columns: int) -> None:
        self.size = (rows, columns)


class PretendedRuntime:
    """As `Runtime`. `refuse` fails the next create, `deaf` ignores all but SIGKILL, `ends_at_once` is about execs."""

    def __init__(self) -> None:
        self.processes: dict[str, Pretended] = {}
        self.gone: dict[int, int] = {}
        self.refuse: Exception | None = None
        self.deaf = False
        self.ends_at_once = False
        self.sessions: list[PretendedSession] = []
        self.execs: list[PretendedExec] = []
        self.signals: list[int] = []
        self.updates: list[Json] = []
        self._pids = itertools.count(100)

    def create(self, id: str, spec: Json, *, log: Sink | None, tty: bool, stdin: bool) -> Pretended:
        if self.refuse:
            refusal, self.refuse = self.refuse, None
            raise refusal
        if id in self.processes:
            raise Conflict(f"container {id} exists")
        made = Pretended(pid=next(self._pids), monitor_pid=next(self._pids), spec=spec)
        self.processes[id] = made
        return made

    def start(self, id: str) -> None:
        self.processes[id].status = "running"

    def kill(self, id: str, signal: int, all: bool = False) -> None:
        if id not in self.processes:
            raise NotFound(f"container {id} is not running")
        self.signals.append(signal)
        if signal == 9 or (signal in (2, 15) and not self.deaf):
            self.end(id, 128 + signal)

    def end(self, id: str, code: int, oom: bool = False) -> None:
        """The process ends."""
        process = self.processes[id]
        process.status, process.exit_code = "stopped", code
        self.gone[process.monitor_pid] = code
        for watcher in process.watchers:
            threading.Thread(target=watcher, args=(code, oom), daemon=True).start()

    def update(self, id: str, resources: Json) -> None:
        if self.refuse:
            refusal, self.refuse = self.refuse, None
            raise refusal
        assert self.processes[id].status in ("running", "paused")
        self.updates.append(resources)

    def kill_exec(self, id: str, pid: int) -> None:
        for made in self.execs:
            if made.pid == pid:
                made.finish.set()

    def delete(self, id: str, force: bool = False) -> None:
        self.processes.pop(id, None)

    def abandon(self, id: str) -> None: ...

    def known(self) -> set[str]:
        return set(self.processes)

    def pause(self, id: str) -> None:
        self.processes[id].status = "paused"

    def resume(self, id: str) -> None:
        self.processes[id].status = "running"

    def alive(self, id: str) -> bool:
        return id in self.processes and self.processes[id].status != "stopped"

    def state(self, id: str) -> Json | None:
        found = self.processes.get(id)
        return None if found is None else {"status": found.status, "pid": found.pid}

    def attach(self, id: str, *, tty: bool, stdin: bool) -> PretendedSession:
        made = PretendedSession(tty)
        self.sessions.append(made)
        return made

    def resize(self, id: str, rows: int, cols: int) -> None:
        del id, rows, cols

    def watch(self, id: str, monitor_pid: int, on_exit: Callable[[int, bool], None]) -> None:
        process = self.processes.get(id)
        if process is None or process.status == "stopped":
            code = self.gone.get(monitor_pid, 137)
            threading.Thread(target=on_exit, args=(code, False), daemon=True).start()
        else:
            process.watchers.append(on_exit)

    def exec(self, id: str, process: Json, *, tty: bool, stdin: bool, detach: bool = False) -> PretendedExec:
        if process["args"] == ["nosuch"]:
            raise StartRefused("executable file not found in $PATH", 127)
        made = PretendedExec(None if detach else PretendedSession(tty))
        made.pid += len(self.execs)
        if self.ends_at_once:
            made.finish.set()
        self.execs.append(made)
        return made


class PretendedImages:
    """Has `busybox` alone."""

    def __init__(self) -> None:
        self.config: Json = {"config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]}}
        self.id = "sha256:" + "1" * 64

    def resolve(self, ref: str) -> PretendedImages:
        if ref not in ("busybox", "busybox:latest"):
            raise NotFound(f"No such image: {ref}:latest")
        return self

    def layers(self, image_id: str) -> list[Path]:
        return [Path("/layers") / image_id]


class PretendedMounter:
    """Remembers what is mounted; the root file system is a plain directory with a little in it."""

    def __init__(self) -> None:
        self.mounted: set[Path] = set()

    def mount(self, layers: Sequence[Path], upper: Path, work: Path, target: Path) -> None:
        self.mounted.add(target)
        (target / "data").mkdir(exist_ok=True)
        (target / "data" / "seed").write_text("from the image")

    def unmount(self, target: Path) -> None:
        self.mounted.discard(target)


class PretendedNames:
    """Obeys `netpy.dns.NameService`."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.views: dict[str, View] = {}
        self.served: dict[str, int] = {}

    def open(self, sandbox: Sandbox, port: int = 0) -> int:
        return self.served.setdefault(sandbox.id, port or 40_000 + len(self.served))

    def close(self, sandbox_id: str) -> None:
        self.served.pop(sandbox_id, None)
        self.views.pop(sandbox_id, None)

    def update(self, *, put: Iterable[Record] = (), drop: Iterable[str] = (), views: Iterable[View] = ()) -> None:
        for identity in drop:
            self.records.pop(identity, None)
        self.records |= {record.endpoint_id: record for record in put}
        self.views |= {view.sandbox_id: view for view in views}

    def replace(self, records: Iterable[Record], views: Iterable[View]) -> None:
        self.records = {record.endpoint_id: record for record in records}
        self.views = {view.sandbox_id: view for view in views}


class Agenda:
    """Obeys `engine.containers.timing.Scheduler`, but nobody waits: what is due happens when a test says so."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, Callable[[], None]]] = {}

    def after(self, delay: float, key: str, work: Callable[[], None]) -> None:
        self._due[key] = (delay, work)

    def cancel(self, key: str) -> bool:
        return self._due.pop(key, None) is not None

    def close(self) -> None:
        self._due.clear()

    def due(self) -> list[float]:
        """The delays of all that is due."""
        return [delay for delay, _ in self._due.values()]

    def begin(self) -> None:
        """As `elapse`, without waiting for what it does."""
        threading.Thread(target=self.elapse, daemon=True).start()

    def elapse(self) -> list[float]:
        """The time of all that is due has come; gives the delays, in seconds, that it was due after."""
        until(lambda: self._due)
        due, self._due = self._due, {}
        for _, work in due.values():
            work()
        return [delay for delay, _ in due.values()]


class Lab:
    """A machine that outlives its daemons: `boot` starts one, `crash` ends it without a word."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernel = MemoryKernel()
        self.runtime = PretendedRuntime()
        self.mounter = PretendedMounter()
        self.images = PretendedImages()
        self.names = PretendedNames()
        self.path = root / "netpy.db"
        (root / "etc").mkdir()
        (root / "etc" / "resolv.conf").write_text("nameserver 192.0.2.53\n")
        (root / "etc" / "hosts").write_text("192.0.2.1 machine\n")
        self.boot()

    def boot(self) -> None:
        self.store = Store(self.path)
        self.events = Events()
        self.controller = Controller(
            store=self.store,
            kernel=self.kernel,
            drivers=Registry(DriverDefaults(), plugins=()),
            names=self.names,
            settings=Settings(),
        )
        self.controller.ensure_predefined()
        paths = Paths(data_root=self.root, exec_root=self.root / "run")
        records = Records(self.store)
        ticks = itertools.count()
        self.agenda = Agenda()
        self.parts = Parts(
            controller=self.controller,
            kernel=self.kernel,
            images=self.images,
            runtimes=self._runtime,
            mounter=self.mounter,
            events=self.events,
            records=records,
            waiters=Waiters(),
            volumes=Volumes(self.root / "volumes", self.store, lambda: "now", records.mounting),
            files=Files(paths.home, FileDefaults(etc=self.root / "etc", gateways=lambda: ["172.17.0.1"])),
            scheduler=self.agenda,
            rotation=Rotation(),
            paths=paths,
            host=Host(facts=HostFacts(), hierarchy=Hierarchy(version="v1"), defaults=Defaults()),
            now=lambda: f"2026-01-01T00:{next(ticks) // 60 % 60:02d}:{next(ticks) % 60:02d}.000000000Z",
            new_id=lambda: secrets.token_hex(32),
        )
        self.containers = Containers(self.parts)

    def _runtime(self, name: str) -> PretendedRuntime:
        if name != "runc":
            raise InvalidArgument(f"unknown or invalid runtime name: {name}")
        return self.runtime

    def crash(self) -> None:
        """The daemon is gone; machine, processes and database stay."""
        self.parts.scheduler.close()
        for process in self.runtime.processes.values():
            process.watchers.clear()
        self.store.close()
        self.kernel.held.clear()

    def reboot(self) -> None:
        """A crash, then a new daemon that takes over."""
        self.crash()
        self.boot()
        self.containers.recover()

    def create(self, name: str = "", config: Json | None = None, networks: Json | None = None, **host: Any) -> str:
        wanted = {"Image": "busybox"} | (config or {})
        identity, _ = self.containers.create(name=name, config=wanted, host_config=host, networks=networks or {})
        return identity

    def run(self, name: str = "", config: Json | None = None, networks: Json | None = None, **host: Any) -> str:
        identity = self.create(name, config, networks, **host)
        self.containers.start(identity)
        return identity

    def close(self) -> None:
        self.containers.close()
        self.store.close()


ALWAYS = {"Name": "always"}


def until(condition: Callable[[], object], patience: float = 5.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.005)


def status(lab: Lab, ref: str) -> str:
    return lab.containers.get(ref).state.status


def network(lab: Lab, name: str, subnet: str = "") -> str:
    subnets = (SubnetSpec(subnet=subnet),) if subnet else ()
    return lab.controller.create_network(NetworkSpec(name=name, subnets=subnets)).id


def actions(lab: Lab) -> list[str]:
    stream = lab.events.subscribe(since=0)
    found: list[str] = []
    while (event := stream.next(0)) is not None:
        if event["Type"] == "container":
            found.append(event["Action"])
    stream.close()
    return found


def leftovers(lab: Lab) -> list[object]:
    """What no container should have left on the machine."""
    return [*lab.mounter.mounted, *lab.runtime.processes, *(lab.kernel.namespaces - {""}), *lab.kernel.held]
