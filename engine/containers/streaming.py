"""What a container says and how it fares: attach, logs, top, stats. Reads; changes nothing but a terminal's size."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.containers import logdrivers
from engine.containers.networking import is_host
from engine.containers.parts import Parts, announce
from engine.containers.records import Entry, require
from engine.containers.sessions import LateSession, Lobby, PartialSession
from engine.model import Container, Json
from engine.runtime import cgroups, journal, logs
from engine.runtime.conmon import Sink
from engine.runtime.rotation import Log
from engine.runtime.stats import Subject, idle, sample
from engine.streams import STDERR, STDOUT, Frame, Session
from netpy.errors import InvalidArgument, KernelError, Unsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """What `docker logs` asks for. Times are seconds since the epoch; `tail` counts lines, None means all."""

    stdout: bool = True
    stderr: bool = True
    since: float | None = None
    until: float | None = None
    tail: int | None = None
    follow: bool = False
    timestamps: bool = False
    details: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachQuery:
    """What `docker attach` asks for; `logs` puts what was said before in front."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    logs: bool = False
    stream: bool = True


def attach(parts: Parts, lobby: Lobby, entry: Entry, query: AttachQuery) -> Session:
    """A session with the first process; with one that is yet to start, when it does not run."""
    with entry.lock:
        require(entry, "attach")
        container = entry.container
        tty = bool(container.config.get("Tty"))
        stdin = query.stdin and bool(container.config.get("OpenStdin"))
        live: Session | None = None
        if query.stream and container.state.running:
            live = parts.runtime_of(container).attach(container.id, tty=tty, stdin=stdin)
        elif query.stream:
            late = LateSession(tty, stdin)
            lobby.enter(container.id, late)
            live = late
        announce(parts, container, "attach")
    past = LogQuery(stdout=query.stdout, stderr=query.stderr)
    wanted = frozenset({STDOUT} if query.stdout else ()) | frozenset({STDERR} if query.stderr else ())
    return PartialSession(live, read_logs(parts, entry, past) if query.logs else iter(()), wanted, tty=tty)


def read_logs(parts: Parts, entry: Entry, query: LogQuery) -> Iterator[Frame]:
    """The log, oldest first; with `follow`, until the container has ended."""
    if not (query.stdout or query.stderr):
        raise InvalidArgument("you must choose at least one stream")
    plan = logdrivers.plan(entry.container)
    if plan.driver == "none":
        raise Unsupported("configured logging driver does not support reading")
    options: logs.Options = {
        "since": query.since,
        "until": query.until,
        "tail": query.tail,
        "follow": query.follow,
        "timestamps": query.timestamps,
        "stdout": query.stdout,
        "stderr": query.stderr,
        "details": f"{logdrivers.details(plan.attributes)} ".encode() if query.details else b"",
        "stopped": lambda: not entry.container.state.running or not parts.records.exists(entry),
    }
    if plan.driver == "journald":
        _require_journal()
        return journal.read(entry.id, **options)
    return logs.read(parts.paths.log(entry.id), **options)


def _require_journal() -> None:
    if not journal.is_there():
        raise KernelError("journald is not enabled on this host")


def sink(parts: Parts, container: Container) -> Sink | None:
    """Where the output of a container that is started goes. KernelError("failed to initialize logging driver: …")."""
    plan = logdrivers.plan(container)
    if plan.driver == "journald":
        if not journal.is_there():
            raise KernelError("failed to initialize logging driver: journald is not enabled on this host")
        return Sink(journal=True, name=container.name, tag=plan.tag)
    if not plan.is_file:
        return None
    return Sink(path=parts.paths.log(container.id), bound=plan.limit.bound if plan.limit else 0)


def rotate(parts: Parts, container: Container) -> None:
    """Have the log of a running container kept within its limit, if it has one."""
    limit = logdrivers.plan(container).limit
    if limit:
        log = Log(path=parts.paths.log(container.id), directory=parts.paths.bundle(container.id), limit=limit)
        parts.rotation.follow(container.id, log)


def resize(parts: Parts, entry: Entry, rows: int, columns: int) -> None:
    """Tell its terminal how large it is."""
    if not entry.container.state.running:
        require(entry, "exec")
    parts.runtime_of(entry.container).resize(entry.id, rows, columns)
    announce(parts, entry.container, "resize", height=str(rows), width=str(columns))


def top(parts: Parts, entry: Entry, ps_arguments: str) -> Json:
    """Its processes, as the host's ps shows them: {"Titles": […], "Processes": [[…]]}."""
    require(entry, "top")
    inside = set(cgroups.pids(parts.host.hierarchy, cgroup_of(entry.container)))
    try:
        done = subprocess.run(
            ["ps", *(ps_arguments or "-ef").split()], capture_output=True, text=True, check=False, timeout=30
        )
    except FileNotFoundError:
        raise Unsupported("the program ps is missing: install the package procps") from None
    if done.returncode != 0:
        raise KernelError(done.stderr.partition("\n")[0] or f"ps: exit status {done.returncode}")
    document = processes(done.stdout, inside)
    announce(parts, entry.container, "top")
    return document


def statistics(parts: Parts, entry: Entry) -> Json:
    """How much it uses just now; zeros when it does not run."""
    container = entry.container
    if not container.state.running:
        return idle(container.id, container.name)
    subject = Subject(
        id=container.id,
        name=f"/{container.name}",
        cgroup=cgroup_of(container),
        hierarchy=parts.host.hierarchy,
        pid=0 if is_host(container.host_config) else container.state.pid,
    )
    return sample(subject)


def processes(text: str, inside: set[int]) -> Json:
    """The lines of a ps listing that are about these process ids. Pure."""
    titles, *lines = [line.split() for line in text.splitlines() if line.strip()] or [[]]
    if "PID" not in titles:
        raise KernelError("Couldn't find PID field in ps output")
    column = titles.index("PID")
    found: list[Sequence[str]] = []
    for line in lines:
        if len(line) > column and line[column].isdigit() and int(line[column]) in inside:
            last = len(titles) - 1
            found.append([*line[:last], " ".join(line[last:])])
    return {"Titles": titles, "Processes": found}


def cgroup_of(container: Container) -> str:
    """The control group that holds it."""
    return cgroups.container_path(container.id, container.host_config.get("CgroupParent") or "")
