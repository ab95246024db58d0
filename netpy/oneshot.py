"""A controller for programs that live for one call: plugins of other engines, which are run anew for each container.

What a daemon keeps in memory is in a directory here: the records (SQLite), the lock that makes such processes wait for
one another, and the socket of the name server, which goes on when the call has ended. The directory belongs below
/run: after a reboot there is nothing to remember.

A call that was killed in the middle leaves the file `unfinished` behind. The next one finds it and, before its own
work, drops what was half-done and what belongs to sandboxes that are gone, as a daemon does when it starts. So it does
when the name server has died.

Host ports are allocated, so that two sandboxes cannot have the same, but no socket holds them: no process of ours stays
to keep it open. That is left to the engine. I/O: files, and whatever a controller does.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from netpy.controller import Controller, Settings
from netpy.drivers import Defaults
from netpy.drivers.registry import Registry
from netpy.errors import KernelError, NetpyError
from netpy.kernel import netns
from netpy.kernel.linux import LinuxKernel
from netpy.nameserver import Nameserver
from netpy.store import Store

if TYPE_CHECKING:
    from netpy.kernel.netfilter import Backend
    from netpy.model import Protocol, Sandbox

UNFINISHED, LOCK, FIREWALL, RECORDS = "unfinished", "lock", "firewall", "netpy.db"
Choice = Literal["auto", "nftables", "iptables"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one call works with. `kernel` and `drivers` are those of the controller; nothing of it outlives the call."""

    controller: Controller
    kernel: LinuxKernel
    drivers: Registry


class PortlessKernel(LinuxKernel):
    """Linux, but for the sockets that hold published ports: they would end with the call."""

    def __init__(self, backend: Backend, instance: str) -> None:
        super().__init__(backend, instance)
        self.hold = _unheld
        self.release = _let_go


@contextmanager
def session(root: Path, settings: Settings, firewall: Choice = "auto") -> Generator[Session]:
    """The controller of `root`, for this process alone until the block ends. Waits for other processes.

    `root` is made when it is missing. KernelError when it cannot be used; the errors of `netpy.errors` otherwise.
    """
    with ExitStack() as closers:
        _locked(root, closers)
        store = Store(root / RECORDS)
        closers.callback(store.close)
        kernel = PortlessKernel(_backend(root, settings.instance, firewall), settings.instance)
        closers.callback(kernel.close)
        names = Nameserver(root)
        closers.callback(names.disconnect)
        drivers = Registry(Defaults(instance=settings.instance, mtu=settings.mtu, icc=settings.icc))
        controller = Controller(store=store, kernel=kernel, drivers=drivers, names=names, settings=settings)
        mark = root / UNFINISHED
        if mark.exists() or _unnamed(controller, drivers, names):
            controller.reconcile(_alive)
        mark.touch()
        try:
            yield Session(controller=controller, kernel=kernel, drivers=drivers)
        finally:  # whatever was raised has been undone by the controller; only a killed process leaves the mark
            mark.unlink(missing_ok=True)


def detach_gone(controller: Controller, endpoints: Sequence[str]) -> list[Exception]:
    """Unplug those of these sandboxes (by id) whose namespaces are gone: their engine never said so."""
    errors: list[Exception] = []
    for sandbox_id in dict.fromkeys(endpoints):
        found = controller.endpoints(sandbox_id=sandbox_id)
        if found and not _alive(found[0].sandbox):
            try:
                controller.detach(sandbox_id)
            except ExceptionGroup as group:
                errors += group.exceptions
    return errors


def _locked(root: Path, closers: ExitStack) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KernelError(f"cannot use {root}: {(error.strerror or str(error)).lower()}") from error
    closers.callback(os.close, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _backend(root: Path, instance: str, requested: Choice) -> Backend:
    """The firewall: chosen once, then the same until the directory is gone, since looking anew takes long."""
    file = root / FIREWALL
    known = file.read_text() if file.exists() else ""
    if requested == "auto" and known == "nftables":
        from netpy.kernel.nft.backend import Nftables

        return Nftables(instance)
    if requested == "auto" and known == "iptables":
        from netpy.kernel.xt.backend import Xtables

        return Xtables(instance)
    from netpy.kernel.netfilter import choose

    chosen = choose(requested, instance)
    file.write_text(chosen.name)
    return chosen


def _unnamed(controller: Controller, drivers: Registry, names: Nameserver) -> bool:
    """Whether there are sandboxes that should be able to ask for names, and cannot."""
    wanted = {
        endpoint.sandbox.id
        for endpoint in controller.endpoints()
        if endpoint.sandbox.resolve and endpoint.sandbox.netns and _is_named(controller, drivers, endpoint.network_id)
    }
    return bool(wanted) and not wanted <= names.served().keys()


def _is_named(controller: Controller, drivers: Registry, network_id: str) -> bool:
    try:
        return drivers.get(controller.network(network_id).spec.driver).traits.names
    except NetpyError:  # its package is gone: told of when the network is asked for
        return False


def _alive(sandbox: Sandbox) -> bool:
    return not sandbox.netns or netns.exists(sandbox.netns)


def _unheld(protocol: Protocol, host_ip: str, host_port: int) -> int:
    return host_port


def _let_go(protocol: Protocol, host_ip: str, host_port: int) -> None:
    pass
