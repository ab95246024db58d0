"""Starting a container: from its record to a process that runs, all or nothing.

The order keeps the way short. The network namespace is made first; then its networks are attached in one thread while
another mounts the root file system, writes the bundle and has the runtime make the process, stopped before its first
instruction. When both are done the hosts file gets its addresses, and the process goes. So user code never sees
a half-made network, and neither half waits for the other.

A record of what is begun is written before anything is done, so that a daemon which dies half-way finds out.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from engine import lifecycle
from engine.containers import isolation, links, sources, streaming, wiring
from engine.containers.documents import items
from engine.containers.parts import Parts, Process, announce
from engine.containers.probing import healthy_start
from engine.containers.records import Entry, require
from engine.containers.release import PHASE, RESTARTING, STARTING, release, with_phase
from engine.model import Container
from engine.oci.spec import SpecRequest, oci_spec
from engine.runtime import accounts, host
from engine.runtime.cgroups import container_path
from netpy import threads
from netpy.errors import KernelError, NetpyError
from netpy.faults import point
from netpy.model import Endpoint

T = TypeVar("T")
OnExit = Callable[[Entry, int, int, bool], None]
"""Called with the entry, the monitor's pid, the exit code, and whether memory ran out."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What happens around a start: `on_exit` when the process ends, `on_made` before its first instruction.

    Under the entry's lock: `on_running` when it has started or goes on, `on_halted` when it has ended or is paused.
    """

    on_exit: OnExit
    on_made: Callable[[Container], None]
    on_running: Callable[[Entry], None]
    on_halted: Callable[[Entry], None]


def start(parts: Parts, entry: Entry, hooks: Hooks, *, by_user: bool = True) -> None:
    """Start it. Nothing happens when it runs already. The caller holds the entry's lock.

    Any failure gives back everything, and is kept in the state with exit code 127 (command not found), 126 (cannot
    be executed) or 128. Equivalent: `docker start`.
    """
    require(entry, "start")
    if by_user and lifecycle.is_idle(entry.container.state.status, "start"):
        return
    container = _begin(parts, entry, by_user=by_user)
    try:
        _launch(parts, entry, hooks)
    except (NetpyError, OSError) as error:
        entry.released = not release(parts, container)
        _failed(parts, entry, error)
        raise
    wiring.announce_all(parts, entry.container, "connect")
    announce(parts, entry.container, "start")
    hooks.on_running(entry)


def _begin(parts: Parts, entry: Entry, *, by_user: bool) -> Container:
    container = entry.container
    entry.released = False
    again = container.facts.get(PHASE) == RESTARTING  # half of a restart: whoever takes over has to start it, too
    facts = with_phase(container, RESTARTING if again else STARTING)
    if by_user:
        facts.pop("delay", None)
    return parts.records.change(
        entry,
        facts=facts,
        stopped_by_user=False,
        restart_count=0 if by_user else container.restart_count,
        state=replace(container.state, error="", oom_killed=False, pid=0, monitor_pid=0),
    )


def _failed(parts: Parts, entry: Entry, error: Exception) -> None:
    state = entry.container.state
    code = exit_code_of(error)
    status = lifecycle.step(state.status, "failed", entry.id)
    state = replace(state, status=status, error=str(error), exit_code=code, pid=0, monitor_pid=0)
    parts.records.change(entry, state=state, facts=with_phase(entry.container, ""))


def exit_code_of(error: Exception) -> int:
    """What a container that could not be started exits with: 127 and 126 where its program was the reason."""
    return int(getattr(error, "exit_code", 128))


def _launch(parts: Parts, entry: Entry, hooks: Hooks) -> None:
    container = _with_target_hostname(parts, entry)
    wiring.check_shared_modes(parts, container)
    linked = links.linked(parts, container)
    target = wiring.target_of(parts, container)
    sandbox = wiring.sandbox_of(parts, container)
    if sandbox.netns and target is None:
        parts.kernel.create_netns(sandbox.netns)
    attached = aside(lambda: _attach(parts, container))
    try:
        process = _make(parts, links.informed(container, linked))
    finally:
        # Whatever became of the process: nothing may be given back while the other half still takes.
        failure = attached.exception()
    if failure is not None:
        raise failure
    if target is None:
        wired = wiring.wiring_of(parts, container, attached.result())
        parts.files.write(container, replace(wired, links=links.host_lines(linked)))
    parts.records.change_state(entry, pid=process.pid, monitor_pid=process.monitor_pid)
    hooks.on_made(container)
    parts.runtime_of(container).start(container.id)
    parts.records.change(
        entry,
        facts=with_phase(entry.container, ""),
        state=replace(
            entry.container.state,
            status=lifecycle.step(entry.container.state.status, "started", entry.id),
            exit_code=0,
            started_at=parts.now(),
            health=healthy_start(entry),
        ),
    )
    watch(parts, entry, hooks.on_exit)


def watch(parts: Parts, entry: Entry, on_exit: OnExit) -> None:
    """Have `on_exit` called, in a thread of its own, when the container's present process ends."""
    monitor = entry.container.state.monitor_pid
    streaming.rotate(parts, entry.container)

    def ended(code: int, oom: bool) -> None:
        on_exit(entry, monitor, code, oom)

    parts.runtime_of(entry.container).watch(entry.id, monitor, ended)


def _attach(parts: Parts, container: Container) -> list[Endpoint]:
    if not container.attachments:
        return []
    return parts.controller.attach(wiring.sandbox_of(parts, container), wiring.requests_of(container))


def _with_target_hostname(parts: Parts, entry: Entry) -> Container:
    """A container in another's network bears its hostname too."""
    target = wiring.target_of(parts, entry.container)
    if target is None:
        return entry.container
    names = {key: target.container.config.get(key) or "" for key in ("Hostname", "Domainname")}
    return parts.records.change(entry, config=entry.container.config | names)


def _make(parts: Parts, container: Container) -> Process:
    """Mount, have the runtime make the process."""
    paths, identity = parts.paths, container.id
    rootfs, layer = paths.rootfs(identity), paths.layer(identity)
    for directory in (rootfs, layer / "upper", layer / "work", paths.home(identity)):
        point("before making a directory")
        directory.mkdir(parents=True, exist_ok=True)
    parts.mounter.mount(parts.images.layers(container.image_id), layer / "upper", layer / "work", rootfs)
    config = container.config
    return parts.runtime_of(container).create(
        identity,
        oci_spec(_request(parts, container, rootfs)),
        log=streaming.sink(parts, container),
        tty=bool(config.get("Tty")),
        stdin=bool(config.get("OpenStdin")),
    )


def _request(parts: Parts, container: Container, rootfs: Path) -> SpecRequest:
    config, host_config = container.config, host.with_block_devices(container.host_config)
    if refusal := isolation.gpu_refusal(host_config):
        raise KernelError(refusal)
    target = wiring.target_of(parts, container)
    netns = wiring.sandbox_of(parts, target.container if target else container).netns
    namespaces = {
        kind: f"/proc/{pid}/ns/{kind}"
        for kind, key in (("ipc", "IpcMode"), ("pid", "PidMode"))
        if (pid := wiring.joined(parts, container, key))
    }
    return SpecRequest(
        id=container.id,
        rootfs=str(rootfs),
        args=(container.path, *container.args),
        config=config,
        host_config=host_config,
        cgroup=container_path(container.id, host_config.get("CgroupParent") or ""),
        hostname=config["Hostname"],
        domainname=config.get("Domainname") or "",
        netns=netns,
        namespaces=namespaces,
        shm=sources.shared_memory(parts, container),
        mounts=tuple(sources.prepared(parts, container, rootfs)),
        devices=host.devices(host_config),
        user=accounts.resolve(rootfs, config.get("User") or "", tuple(items(host_config, "GroupAdd"))),
        facts=parts.host.facts,
    )


def aside(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a thread of its own; the future has its result or its exception."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threads.aside(run, "aside")
    return future
