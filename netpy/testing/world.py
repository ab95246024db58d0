"""The in-memory world: a whole controller on a fake kernel, beside a fake name server. Does no I/O."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from netpy.controller import Controller, Settings
from netpy.dns import Record, View
from netpy.drivers import Defaults, Driver
from netpy.drivers.addressing import IpamDriver
from netpy.drivers.registry import Registry
from netpy.errors import KernelError
from netpy.kernel.memory import MemoryKernel
from netpy.model import Sandbox
from netpy.store import Store


class RecordingNames:
    """A NameService that keeps what it is told. `fail` names calls that are refused (`{"open"}`). Thread-safe."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.views: dict[str, View] = {}
        self.ports: dict[str, int] = {}
        self.fail: set[str] = set()
        self._lock = threading.Lock()
        self._free = count(40000)

    def open(self, sandbox: Sandbox, port: int = 0) -> int:
        with self._lock:
            self._refuse("open")
            return self.ports.setdefault(sandbox.id, port or next(self._free))

    def close(self, sandbox_id: str) -> None:
        with self._lock:
            self._refuse("close")
            self.ports.pop(sandbox_id, None)
            self.views.pop(sandbox_id, None)

    def update(self, *, put: Iterable[Record] = (), drop: Iterable[str] = (), views: Iterable[View] = ()) -> None:
        with self._lock:
            self._refuse("update")
            for id in drop:
                self.records.pop(id, None)
            self.records.update({record.endpoint_id: record for record in put})
            self.views.update({view.sandbox_id: view for view in views})

    def replace(self, records: Iterable[Record], views: Iterable[View]) -> None:
        with self._lock:
            self._refuse("replace")
            self.records = {record.endpoint_id: record for record in records}
            self.views = {view.sandbox_id: view for view in views}

    def snapshot(self) -> tuple[dict[str, Record], dict[str, View], dict[str, int]]:
        """Everything it knows, to compare."""
        with self._lock:
            return dict(self.records), dict(self.views), dict(self.ports)

    def _refuse(self, what: str) -> None:
        if what in self.fail:
            raise KernelError(f"name server: {what} refused")


@dataclass(slots=True)
class Machine:
    """A controller and the world it works on. Ids and times are counted, so that they are the same in every run."""

    kernel: MemoryKernel = field(default_factory=MemoryKernel)
    names: RecordingNames = field(default_factory=RecordingNames)
    store: Store = field(default_factory=lambda: Store(":memory:"))
    settings: Settings = field(default_factory=Settings)
    plugins: Mapping[str, Callable[[Defaults], Driver]] = field(default_factory=dict[str, Callable[[Defaults], Driver]])
    ipam: Mapping[str, IpamDriver] = field(default_factory=dict[str, IpamDriver])
    controller: Controller = field(init=False)
    _ids: Iterable[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> Controller:
        """Another controller on the same world, as after a crash: what was held by sockets is free."""
        self.kernel.held.clear()
        drivers = Registry(Defaults(instance=self.settings.instance, mtu=self.settings.mtu), plugins=())
        for name, factory in self.plugins.items():
            drivers.add(name, factory(Defaults(instance=self.settings.instance, mtu=self.settings.mtu)))
        for name, driver in self.ipam.items():
            drivers.add_ipam(name, driver)
        ids = iter(self._ids)
        self.controller = Controller(
            store=self.store,
            kernel=self.kernel,
            drivers=drivers,
            names=self.names,
            settings=self.settings,
            clock=lambda: "2024-03-18T09:00:33.692926496Z",
            new_id=lambda: f"{next(ids):04x}" * 16,
        )
        return self.controller

    def sandbox(self, number: int, **more: object) -> Sandbox:
        """A sandbox with a namespace that exists. The same number gives the same one."""
        sandbox = replace(Sandbox(id=f"{number:064x}", netns=f"/run/netns/{number}"), **more)  # pyright: ignore[reportArgumentType]
        if sandbox.netns not in self.kernel.namespaces:
            self.kernel.create_netns(sandbox.netns)
        return sandbox

    def snapshot(self) -> dict[str, object]:
        """The whole world as a value. The host's settings are left out: netpy never takes them back."""
        kinds = ("network", "endpoint", "sandbox", "reservation")
        objects = {key: obj for key, obj in self.kernel.objects.items() if key.kind != "sysctl" or key.netns}
        return {
            "kernel": objects,
            "held": set(self.kernel.held),
            "names": self.names.snapshot(),
            "store": {kind: self.store.all(kind) for kind in kinds},
        }


def machine(*, settings: Settings | None = None) -> Machine:
    """A controller on an empty in-memory machine, with the predefined networks in place."""
    made = Machine(settings=settings or Settings(host_id="test"))
    made.controller.reconcile(lambda sandbox: True)
    made.controller.ensure_predefined()
    return made
