"""What the path of foreign drivers costs: an attach and a detach with the bridge driver built in, and as a plugin.

The same driver twice: once hard-wired, and once as a package would bring it, behind the guard that holds foreign
drivers to the rules. Rounds are interleaved, on the real kernel in a namespace of its own, and in memory, where the
controller's own time is all there is. The engines take no part.
"""

from __future__ import annotations

import gc
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack

from netpy.controller import Controller, Settings
from netpy.drivers import Defaults
from netpy.drivers.bridge import BridgeDriver
from netpy.drivers.registry import Registry
from netpy.kernel import Kernel, netfilter, netns
from netpy.kernel.linux import LinuxKernel
from netpy.kernel.memory import MemoryKernel
from netpy.model import EndpointSpec, NetworkSpec, Sandbox
from netpy.store import Store
from netpy.testing import RecordingNames
from scripts.benches.contenders import Contender
from scripts.benches.options import Options
from scripts.benches.rows import Row, against

INSTANCE = "netpybench"


class PluginBridge(BridgeDriver):
    """The bridge driver under another name, so that it is somebody else's."""

    name = "pluginbridge"


def times(kernel: Kernel, prepare: Callable[[str], str], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of an attach and detach, by driver."""
    drivers = Registry(Defaults(instance=INSTANCE), plugins=())
    drivers.add("pluginbridge", PluginBridge(Defaults(instance=INSTANCE)))
    controller = Controller(
        store=Store(":memory:"),
        kernel=kernel,
        drivers=drivers,
        names=RecordingNames(),
        settings=Settings(instance=INSTANCE),
    )
    found: dict[str, list[float]] = {"bridge": [], "pluginbridge": []}
    for driver in found:
        controller.create_network(NetworkSpec(name=f"n-{driver}", driver=driver))
    sandbox = Sandbox(id="a" * 64, netns=prepare("sandbox"), resolve=False)
    gc.disable()
    for number in range(rounds):
        order = list(found) if number % 2 else list(reversed(found))
        for driver in order:
            began = time.perf_counter()
            controller.attach(sandbox, [(f"n-{driver}", EndpointSpec(name="x"))])
            controller.detach(sandbox.id)
            found[driver].append((time.perf_counter() - began) * 1000)
    gc.enable()
    for driver in found:
        controller.remove_network(f"n-{driver}")
    return found


def in_memory(rounds: int) -> dict[str, list[float]]:
    kernel = MemoryKernel(INSTANCE)
    kernel.create_netns("/run/netns/bench")
    return times(kernel, lambda name: "/run/netns/bench", rounds)


def on_linux(rounds: int) -> dict[str, list[float]]:
    """The same on this machine's kernel; needs root."""
    base = f"/run/netpy-bench-{secrets.token_hex(3)}"
    with ExitStack() as stack:
        for name in ("host", "sandbox"):
            netns.create(f"{base}-{name}")
            stack.callback(netns.delete, f"{base}-{name}")

        def live() -> dict[str, list[float]]:
            backend = netfilter.choose("auto", INSTANCE)
            kernel = LinuxKernel(backend, INSTANCE)
            try:
                return times(kernel, lambda name: f"{base}-{name}", rounds)
            finally:
                kernel.close()

        return netns.run_in(f"{base}-host", live)


def run(_contenders: list[Contender], options: Options) -> list[Row]:
    """As a plugin it may take a twentieth more than built in."""
    rows: list[Row] = []
    for place, measured in (("in memory", in_memory), ("on Linux", on_linux)):
        found = measured(20 * options.rounds)
        values = {"netpy": found["pluginbridge"], "built in": found["bridge"]}
        rows.append(Row(f"attach and detach as a plugin, {place}", (against(1.05, "built in"),), values))
    return rows
