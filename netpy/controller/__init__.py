"""The controller: what a program that wants networks for its sandboxes calls. A facade over the parts in this package.

It keeps the records, asks drivers what they want for them, and makes the kernel so. Where to look:

* `networks` makes and removes networks, `attachment` plugs sandboxes in, `detachment` out, `truth` compares and mends;
* `outside` and `pools` ask drivers and IPAM drivers that are not built in, `calls` with a time limit;
* `choices` (pure) ranks, picks gateways and interface names; `publishing` picks and holds host ports;
* `records` and `leases` are the memory, `wiring` is the way into the kernel, `locks` says who waits for whom.

At a start: make the controller, then `reconcile` and `ensure_predefined`, in either order.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address

from netpy.controller.attachment import Attachment
from netpy.controller.choices import check_request
from netpy.controller.context import Context
from netpy.controller.detachment import Detachment
from netpy.controller.locks import Locks
from netpy.controller.networks import Networks, prune
from netpy.controller.outside import Outside
from netpy.controller.publishing import Publishing
from netpy.controller.records import Records, Reservation
from netpy.controller.settings import Settings
from netpy.controller.truth import Truth
from netpy.controller.wiring import Wiring
from netpy.diff import Plan
from netpy.dns import NameService
from netpy.drivers import Driver
from netpy.drivers.addressing import IpamDriver
from netpy.drivers.builtin import DefaultIpam
from netpy.drivers.registry import Registry
from netpy.firewall.ports import Ports
from netpy.ipam import Pool
from netpy.kernel import Kernel
from netpy.model import Endpoint, EndpointSpec, Network, NetworkSpec, PortBinding, Sandbox
from netpy.store import Store

__all__ = ["Controller", "Pool", "Settings"]


def now() -> str:
    """RFC 3339 in UTC with nanoseconds, as Docker writes times."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _random_id() -> str:
    return secrets.token_hex(32)


class Controller:
    """Networks and who is plugged into them. Thread-safe. Raises the errors of `netpy.errors`."""

    def __init__(  # noqa: PLR0913
        self,
        *,
        store: Store,
        kernel: Kernel,
        drivers: Registry,
        names: NameService,
        settings: Settings,
        clock: Callable[[], str] = now,
        new_id: Callable[[], str] = _random_id,
    ) -> None:
        settings.pools()  # a malformed pool is reported now, not when somebody needs it
        records = Records(store, Ports(kernel.local_port_range()))
        wiring = Wiring(kernel, drivers, settings)
        context = Context(
            settings=settings,
            kernel=kernel,
            drivers=drivers,
            names=names,
            records=records,
            locks=Locks(),
            wiring=wiring,
            publishing=Publishing(kernel, records, settings.host_binding, wiring.opener),
            outside=Outside(drivers, records, wiring, kernel),
            clock=clock,
            new_id=new_id,
        )
        self._records = records
        self._context = context
        self._networks = Networks(context)
        self._attachment = Attachment(context)
        self._detachment = Detachment(context)
        self._truth = Truth(context, self._networks)

    # ---- networks ------------------------------------------------------------------------------------------------

    def networks(self) -> list[Network]:
        """Every network, oldest first. `docker network ls`."""
        with self._records.lock:
            return [network for network in self._records.networks() if network.phase == "active"]

    def network(self, ref: str) -> Network:
        """The network of that id, else of that name, else of that unique beginning of an id.

        NotFound when there is none, InvalidArgument when several ids begin so.
        """
        with self._records.lock:
            return self._records.find(ref)

    def create_network(self, spec: NetworkSpec) -> Network:
        """Make a network. `docker network create`.

        InvalidArgument for a malformed request, Conflict for a name in use, Forbidden for an overlap or a reserved
        name, Exhausted for empty pools, NotFound for an unknown driver, ApplyError when the kernel refuses; then
        everything is as before.
        """
        return self._networks.create(spec)

    def plan_network(self, spec: NetworkSpec) -> Plan:
        """What `create_network` would do, over intents; changes nothing. The same errors."""
        return self._networks.plan(spec)

    def ensure_predefined(self) -> None:
        """The networks bridge, host and none exist, as the settings say."""
        self._networks.ensure_predefined()

    def remove_network(self, ref: str) -> Network:
        """Remove a network. Forbidden when it is predefined or in use. `docker network rm`.

        What the kernel refuses to remove is reported in an ExceptionGroup; the network is gone nevertheless.
        """
        return self._networks.remove(ref)

    def prune_networks(self, keep: Callable[[Network], bool]) -> list[str]:
        """Remove the networks that nobody uses, apart from predefined ones and those to keep. Names of the removed."""
        return prune(self._networks, self.networks(), keep)

    # ---- drivers -------------------------------------------------------------------------------------------------

    def driver_names(self) -> list[str]:
        """Every network driver that could be asked for: built in, installed, or found by a finder."""
        return self._context.outside.names()

    def ipam_names(self) -> list[str]:
        """Every IPAM driver that is built in or installed."""
        return self._context.drivers.ipam_names()

    def driver(self, name: str) -> Driver:
        """The network driver of that name: NotFound where there is none, Unsupported where it does not load."""
        self._context.outside.seek(name)
        return self._context.drivers.get(name)

    def ipam_driver(self, name: str) -> IpamDriver:
        """The IPAM driver of that name, as `driver`."""
        if name in ("", "default"):
            return DefaultIpam()
        self._context.outside.seek("null", name)
        return self._context.drivers.ipam(name)

    def answers_names(self, network: Network) -> bool:
        """Whether the embedded DNS answers in this network."""
        return self._context.wiring.answers_names(network)

    # ---- endpoints -----------------------------------------------------------------------------------------------

    def endpoints(self, *, network_id: str = "", sandbox_id: str = "") -> list[Endpoint]:
        """The active endpoints of one network, one sandbox, or all, in the order in which they were attached."""
        with self._records.lock:
            found = self._records.endpoints(network_id=network_id, sandbox_id=sandbox_id)
        return [endpoint for endpoint in found if endpoint.phase == "active"]

    def attach(self, sandbox: Sandbox, requests: Sequence[tuple[str, EndpointSpec]]) -> list[Endpoint]:
        """Plug a sandbox into networks (by id, name or beginning of an id), in that order; all or nothing.

        The sandbox's namespace must exist. `ports` of all its endpoints count as one request of the sandbox: they are
        published at the endpoint that has the default route, once. Returns the new endpoints, in the order asked.
        """
        return self._attachment.attach(sandbox, requests) if requests else []

    def plan_attach(self, sandbox: Sandbox, requests: Sequence[tuple[str, EndpointSpec]]) -> Plan:
        """What `attach` would do, over intents; nothing is written, held or opened. The namespace need not exist."""
        return self._attachment.plan(sandbox, requests) if requests else Plan()

    def detach(self, sandbox_id: str, network: str = "") -> None:
        """Unplug a sandbox from one network, or from all. Does nothing where it is not plugged in.

        Never stops at a failure; what failed comes in an ExceptionGroup at the end, and the sandbox is unplugged.
        """
        self._detachment.detach(sandbox_id, network)

    def release(self, sandbox_id: str, netns: str) -> None:
        """Let go of a sandbox's namespace and unplug it from all networks, so that nobody takes the one for sabotage.

        The namespace goes first: its links go with it, and nobody waits 20 ms for each of them; unless others take
        links out of it. Failures as for `detach`.
        """

        def let_go() -> None:
            self._context.kernel.delete_netns(netns)

        if self._needs_namespace(sandbox_id):
            try:
                self._detachment.detach(sandbox_id)
            finally:
                let_go()
        else:
            self._detachment.detach(sandbox_id, first=let_go)

    def publish(self, sandbox_id: str, ports: Sequence[PortBinding]) -> list[Endpoint]:
        """Publish these ports of an attached sandbox, and no others; those that stay keep their host ports.

        They are published at the endpoint that has the default route. PortTaken, Exhausted or ApplyError leave
        everything as before; NotFound for a sandbox that is in no network. Returns all its endpoints.
        """
        return self._attachment.publish(sandbox_id, ports)

    def reserve(self, network: str, holder: str, addresses: Sequence[str]) -> None:
        """Keep static addresses of a network for `holder`, a sandbox's id, whether it is attached or not.

        Replaces what was kept for it there. InvalidArgument or Forbidden as for `attach` with these addresses.
        """
        with self._records.lock:
            found = self._records.find(network)
            spec = EndpointSpec(name=holder, addresses=tuple(addresses))
            check_request(found, spec, self._context.wiring.driver(found))
            canonical = tuple(str(ip_address(address)) for address in addresses)
            self._records.reserve(Reservation(network_id=found.id, holder=holder, addresses=canonical))

    def unreserve(self, holder: str, network: str = "") -> None:
        """Let go what is kept for `holder`, in one network or in all."""
        with self._records.lock:
            self._records.unreserve(holder, self._records.find(network).id if network else "")

    def reservations(self, holder: str) -> list[Network]:
        """The networks in which addresses are kept for `holder`."""
        with self._records.lock:
            return self._records.reserved(holder)

    def rename(self, sandbox_id: str, old: str, new: str) -> None:
        """The sandbox's owner is called `new` now: endpoints and DNS names follow."""
        self._detachment.rename(sandbox_id, old, new)

    def _needs_namespace(self, sandbox_id: str) -> bool:
        with self._records.lock:
            plugs = self._records.plugs(sandbox_id)
        return any(self._context.outside.concerns(plug) for plug in plugs)

    # ---- truth ---------------------------------------------------------------------------------------------------

    def check(self) -> list[str]:
        """What is not as it should be, a line each, such as `bridge br-1: mtu is 1400, should be 1500`."""
        return self._truth.check()

    def repair(self) -> list[str]:
        """Put right what `check` names; returns the lines that are true no more."""
        return self._truth.repair()

    def mend(
        self, links: frozenset[str] | None = None, inside: frozenset[str] = frozenset(), *, wait: bool = True
    ) -> list[str] | None:
        """Undo what somebody else did to the host's links and rules, and say what that was.

        As `repair`, but of sandboxes only those that pairs `inside` lead to and whose owners cannot have done it
        (`Sandbox.sealed`). `links`: the host only if one of these is wanted. None when `wait` is off and operations
        are going on.
        """
        return self._truth.mend(links, inside, wait=wait)

    def reconcile(self, alive: Callable[[Sandbox], bool]) -> None:
        """After a start: finish what was half-done, drop what belongs to dead sandboxes, restore all that should be.

        Where there are predefined networks, they follow the settings now that nothing dead uses them any more.
        """
        self._truth.reconcile(alive)
        if any(network.predefined for network in self.networks()):
            self.ensure_predefined()
