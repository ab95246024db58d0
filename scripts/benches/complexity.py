"""What an operation costs beside n networks, containers, ports or names: it should cost what it does beside one.

The library itself, on the real kernel in a namespace of its own, with a store on disk and a real name server: no
client and no runtime, whose cost would hide the curve. Cost is processor time of this process, in the kernel too: the
machine's other work does not show in it. With iptables it is time passed, because a process of its own does part of it.

Each dimension grows in a world of its own; the same operations are done at every size. Rows are of two kinds: a curve,
whose values are by size, and the last size over the first.
"""

from __future__ import annotations

import secrets
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from netpy.controller import Controller, Settings
from netpy.drivers import Defaults
from netpy.drivers.registry import Registry
from netpy.ipam import Pool
from netpy.kernel import netfilter, netns
from netpy.kernel.linux import LinuxKernel
from netpy.model import EndpointSpec, NetworkSpec, PortBinding, Sandbox
from netpy.nameserver import Nameserver
from netpy.store import Store
from scripts.benches.contenders import Contender
from scripts.benches.options import Options
from scripts.benches.rows import OURS, Row, bound

INSTANCE = "netpycost"
BACKENDS: tuple[netfilter.Choice, ...] = ("nftables", "iptables")
TOGETHER = 100  # ports, or names, of one container
SETTLED = 3.0  # seconds; until then the neighbours of new containers are told of them, in this process too
Curve = dict[int, dict[str, float]]  # size, operation: milliseconds


class World:
    """A controller, and sandboxes for it."""

    def __init__(self, controller: Controller, directory: Path, backend: str) -> None:
        self.controller = controller
        self.backend = backend
        self._directory = directory
        self._made: list[str] = []
        controller.create_network(NetworkSpec(name="ground"))

    def sandbox(self) -> Sandbox:
        path = f"{self._directory}/{len(self._made)}"
        netns.create(path)
        self._made.append(path)
        return Sandbox(id=secrets.token_hex(32), netns=path)

    def join(
        self, network: str, sandbox: Sandbox, name: str, **asked: tuple[PortBinding, ...] | tuple[str, ...]
    ) -> None:
        spec = EndpointSpec(name=name, **{"names": (name,), **asked})  # pyright: ignore[reportArgumentType]
        self.controller.attach(sandbox, [(network, spec)])

    def close(self) -> None:
        for path in self._made:
            netns.delete(path)


def networks(world: World, number: int) -> None:
    world.controller.create_network(NetworkSpec(name=f"network-{number}"))


def containers(world: World, number: int) -> None:
    world.join("ground", world.sandbox(), f"container-{number}")


def ports(world: World, number: int) -> None:
    if number % TOGETHER == 0:
        asked = tuple(port(10_000 + number + each) for each in range(TOGETHER))
        world.join("ground", world.sandbox(), f"server-{number}", ports=asked)


def names(world: World, number: int) -> None:
    if number % TOGETHER == 0:
        called = tuple(f"name-{number + each}" for each in range(TOGETHER))
        world.join("ground", world.sandbox(), called[0], names=called)


def port(number: int) -> PortBinding:
    return PortBinding(protocol="tcp", container_port=80, host_port=number)


Grow = Callable[[World, int], None]
SIZES: dict[Grow, tuple[tuple[int, ...], tuple[int, ...]]] = {
    networks: ((1, 10, 100, 300, 1000), (1, 10, 50)),
    containers: ((1, 10, 50, 100, 200), (1, 10, 20)),
    ports: ((1, 200, 500, 1000), (1, 200)),
    names: ((1, 200, 500, 1000), (1, 200)),
}


def once(world: World, sandbox: Sandbox) -> Iterator[tuple[str, float]]:
    """Each operation, once: its name and its milliseconds. Everything is as before afterwards."""
    clock = time.process_time if world.backend == "nftables" else time.perf_counter
    controller = world.controller
    steps: dict[str, Callable[[], object]] = {
        "network create": lambda: controller.create_network(NetworkSpec(name="probe")),
        "attach with a port": lambda: world.join("ground", sandbox, "probe", ports=(port(9_000),)),
        "connect": lambda: world.join("probe", sandbox, "probe"),
        "disconnect": lambda: controller.detach(sandbox.id, "probe"),
        "detach": lambda: controller.detach(sandbox.id),
        "network rm": lambda: controller.remove_network("probe"),
    }
    for name, step in steps.items():
        begun = clock()
        step()
        yield name, (clock() - begun) * 1000


def curve(grow: Grow, sizes: tuple[int, ...], world: World, rounds: int) -> Curve:
    """The median cost of each operation at every size."""
    found: Curve = {}
    sandbox, there = world.sandbox(), 0
    for size in sizes:
        for number in range(there, size):
            grow(world, number)
        there = size
        time.sleep(SETTLED)
        samples: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            for name, cost in once(world, sandbox):
                samples[name].append(cost)
        found[size] = {name: statistics.median(values) for name, values in samples.items()}
    return found


@contextmanager
def a_world(backend: netfilter.Choice) -> Generator[World]:
    """A world on the calling thread's network namespace."""
    directory = Path(f"/run/netpy-cost/{secrets.token_hex(4)}")
    directory.mkdir(parents=True)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        kernel = LinuxKernel(netfilter.choose(backend, INSTANCE), INSTANCE)
        stack.callback(kernel.close)
        server = Nameserver(directory)
        stack.callback(server.shutdown)
        settings = Settings(instance=INSTANCE, default_pools=(Pool(base="10.0.0.0/8", size=24),))
        store = Store(directory / "db")
        stack.callback(store.close)
        drivers = Registry(Defaults(instance=INSTANCE))
        controller = Controller(store=store, kernel=kernel, drivers=drivers, names=server, settings=settings)
        world = World(controller, directory, backend)
        stack.callback(world.close)
        yield world


def measured(grow: Grow, backend: netfilter.Choice, options: Options) -> Curve:
    """A curve, taken in a new namespace that plays the host."""
    host = f"/run/netpy-cost/host-{secrets.token_hex(4)}"
    netns.create(host)

    def live() -> Curve:
        with a_world(backend) as world:
            return curve(grow, SIZES[grow][options.quick], world, options.rounds)  # pyright: ignore

    try:
        return netns.run_in(host, live)
    finally:
        netns.delete(host)


def run(contenders: list[Contender], options: Options) -> list[Row]:
    """Curves of ours alone: what others' cost is stands in the other groups."""
    del contenders
    rows: list[Row] = []
    for backend in BACKENDS:
        for grow in SIZES:
            rows += as_rows(grow.__name__, backend, measured(grow, backend, options))
    return rows


def as_rows(dimension: str, backend: str, found: Curve) -> list[Row]:
    """The operations' curves in one chart, and for each the last size over the first."""
    first, last = min(found), max(found)
    sizes = sorted(found)
    curves = {operation: [found[size][operation] for size in sizes] for operation in found[first]}
    at = tuple(float(size) for size in sizes)
    rows = [Row(f"CPU time by {dimension}, {backend}", (), curves, at=at, axis=dimension)]
    for operation in curves:
        ratio = found[last][operation] / found[first][operation]
        goal = (bound(1.2),)
        rows.append(Row(f"{operation}: {last} {dimension} over {first}, {backend}", goal, {OURS: [ratio]}, "×"))
    return rows
