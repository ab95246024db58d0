"""What is to be settled with the drivers' other sides after a start, and asked of them for a check.

At a start: load the drivers of all networks, so that one that is missing is named once and never waited for again;
then, when records and kernel are in line, give back what ended with the last daemon, let drivers collect what nobody
uses, and repeat requests to IPAM drivers that have no memory. That happens driver by driver, each in a thread, while
the daemon already serves: a driver that is stuck delays none of the others, and the start waits a moment for them, no
longer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from netpy.controller.context import Context
from netpy.drivers.registry import BUILT_IN
from netpy.errors import NetpyError
from netpy.model import Endpoint, Network

PATIENCE = 2.0
Owed = tuple[str, Callable[[], object]]  # the driver, and what it is owed
logger = logging.getLogger(__name__)


class Aftercare:
    """Calls to drivers that concern all of their networks. Thread-safe."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def seek(self) -> None:
        """Load the drivers of all networks. What is missing is logged; its networks stay."""
        wanted = {(network.spec.driver, network.spec.ipam_driver) for network, _ in self._networks(foreign=True)}
        _together([(driver, lambda d=driver, i=ipam: self._sought(d, i)) for driver, ipam in sorted(wanted)], 60)

    def _sought(self, driver: str, ipam: str) -> None:
        try:
            self._context.outside.seek(driver, ipam)
        except NetpyError as error:
            logger.warning("networks of driver %s stay as they are: %s", driver, error)

    def start(self, owed: Sequence[Owed]) -> None:
        """Settle what is owed, collect and replay, in the background; waits for those who are quick."""
        outside = self._context.outside
        work = [each for each in owed if each[0] not in BUILT_IN]
        work += [each for each in owed if each[0] in BUILT_IN]
        for network, endpoints in self._networks(foreign=True):
            work.append((network.spec.driver, lambda n=network, e=endpoints: outside.collect(n, e)))
            work.append((network.spec.driver, lambda n=network, e=endpoints: outside.pools.replay(n, e)))
        _together(work, PATIENCE)

    def check(self) -> list[str]:
        """What drivers say is wrong with their networks, a line each, in the order of the networks."""
        found: dict[int, list[str]] = {}
        work: list[Owed] = []
        for number, (network, endpoints) in enumerate(self._networks(foreign=True)):

            def look(n: Network = network, e: Sequence[Endpoint] = endpoints, at: int = number) -> None:
                found[at] = self._context.outside.check(n, e)

            work.append((network.spec.driver, look))
        _together(work, 600)
        return [line for number in sorted(found) for line in found[number]]

    def _networks(self, *, foreign: bool) -> list[tuple[Network, list[Endpoint]]]:
        records = self._context.records
        with records.lock:
            return [
                (network, [e for e in records.endpoints(network_id=network.id) if e.phase == "active"])
                for network in records.networks()
                if not foreign or not self._is_plain(network)
            ]

    def _is_plain(self, network: Network) -> bool:
        return network.spec.driver in BUILT_IN and self._context.outside.pools.is_built_in(network.spec.ipam_driver)


def _together(work: Sequence[Owed], patience: float) -> None:
    """Do it driver by driver, side by side; leave those behind that take longer than `patience` seconds."""
    queues: dict[str, list[Callable[[], object]]] = defaultdict(list)
    for driver, step in work:
        queues[driver].append(step)
    threads = [
        threading.Thread(target=_one_by_one, args=(steps,), name=f"aftercare of {driver}", daemon=True)
        for driver, steps in queues.items()
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _one_by_one(steps: Sequence[Callable[[], object]]) -> None:
    for step in steps:
        try:
            step()
        except Exception as error:
            logger.warning("aftercare: %s", error)
