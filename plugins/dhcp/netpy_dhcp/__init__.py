"""The dhcp driver: sandboxes are hosts of the LAN, as with macvlan, and the LAN's own DHCP server gives the addresses.

`acquire` gets the lease before the endpoint is made, `connected` starts the client that keeps it, `disconnecting` ends
that one and gives the lease back (`netpy_dhcp.client`). The two functions are pure, and know the lease from the record
alone. What a server says at a renewal never changes the record: what differs is told by `check`.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_interface
from pathlib import Path

from netpy.diff import State
from netpy.drivers import Acquired, Defaults, Option, Traits
from netpy.drivers.parents import MTU, PARENT, Ground, Parents, checked_mtu, checked_parent, inside, isolated
from netpy.errors import Conflict, DriverError, InvalidArgument
from netpy.model import Endpoint, Network, NetworkSpec
from netpy.objects import Child, KernelObject, Route
from netpy_dhcp.client import Ask, Clients, Stand
from netpy_dhcp.lease import Lease, label

__all__ = ["DhcpDriver"]
MODE, WAIT = "macvlan_mode", "lease_timeout"
MODES = ("bridge", "private", "vepa")
RUN = Path("/run/netpy-dhcp")
logger = logging.getLogger(__name__)


def is_there(name: str) -> bool:
    """Whether the host has a link of that name."""
    try:
        return bool(socket.if_nametoindex(name))
    except OSError:
        return False


def checked_mode(text: str) -> str:
    """One of `MODES`; empty is the default."""
    if text not in ("", *MODES):
        raise ValueError(f"requested macvlan mode '{text}' is not valid (there are {', '.join(MODES)})")
    return text


def checked_wait(text: str) -> int:
    """Seconds to wait for a lease."""
    if not text.isdecimal() or not 2 <= int(text) <= 40:
        raise ValueError("must be between 2 and 40 seconds")
    return int(text)


class DhcpDriver:
    """Driver `dhcp`. `clients` makes the clients of a network, given the directory of their files."""

    name = "dhcp"
    traits = Traits(addressing=False, ports=False, routers=True, links=("macvlan",), timeout=60)
    options: Mapping[str, Option] = {
        PARENT: Option(
            help="interface of the host on the LAN; eth0.30 is made where it is missing",
            check=checked_parent,
            type="interface",
        ),
        MODE: Option(help="bridge, private or vepa", check=checked_mode, default="bridge", type="mode"),
        WAIT: Option(help="seconds to wait for a lease", check=checked_wait, default="12", type="seconds"),
        MTU: Option(help="MTU of the containers' interfaces; that of the parent if not stated", check=checked_mtu),
    }
    endpoint_options: Mapping[str, Option] = {}

    def __init__(
        self,
        defaults: Defaults,
        exists: Callable[[str], bool] = is_there,
        clients: Callable[[Path], Clients] = lambda root: Clients(root=root),
    ) -> None:
        self._instance = defaults.instance
        self._ground = Ground(instance=defaults.instance, prefix="dm-")
        self._parents = Parents(self.name, exists, lambda spec: False)
        self._made = clients

    # ---- pure --------------------------------------------------------------------------------------------------------

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        if isolated(spec):
            raise InvalidArgument(f"network {spec.name}: driver dhcp needs -o parent=INTERFACE")
        if spec.ipv6:
            raise InvalidArgument(f"network {spec.name}: driver dhcp gives IPv4 addresses alone")
        if spec.subnets:
            raise InvalidArgument(f"network {spec.name}: driver dhcp takes no subnets, the DHCP server knows them")
        return spec

    def network_state(self, network: Network) -> State:
        return frozenset(self._ground.state(network))

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        child = Child(
            kind="macvlan",
            parent=self._ground.name(network),
            netns=endpoint.sandbox.netns,
            ifname=endpoint.ifname,
            mode=network.spec.options.get(MODE) or "bridge",
            mark=f"{self._instance}/endpoint/{endpoint.id[:12]}",
            mac=endpoint.mac,
            mtu=int(network.spec.options.get(MTU, "0")),
        )
        return frozenset({child, *inside(endpoint), *_routes(endpoint)})

    # ---- hooks -------------------------------------------------------------------------------------------------------

    def acquire_network(self, network: Network) -> Mapping[str, str]:
        """The parent is there or can be made, and so is the client."""
        self._clients(network)
        return self._parents.claim(network)

    def release_network(self, network: Network) -> None:
        self._parents.drop(network)
        self._ended(network, "")

    def acquire(self, network: Network, endpoint: Endpoint) -> Acquired:
        """The lease. DriverError where no server gives one, Conflict where it is not the address that was asked for."""
        seconds = int(network.spec.options.get(WAIT) or "12")
        stand = Stand(
            parent=self._ground.name(network), mode=network.spec.options.get(MODE) or "bridge", mac=endpoint.mac
        )
        lease = self._clients(network).lease(_ask(endpoint), stand, seconds)
        wanted = next(iter(endpoint.spec.addresses), "")
        if wanted and wanted != lease.address.partition("/")[0]:
            raise Conflict(f"driver dhcp: {wanted} was asked for, the DHCP server leases {lease.address}")
        return Acquired(
            facts={"server": lease.server, "lease": str(lease.seconds)},
            addresses=(lease.address,),
            routers=(lease.router,) if lease.router else (),
            dns=lease.dns,
            search=lease.search,
        )

    def release(self, network: Network, endpoint: Endpoint) -> None:
        self._ended(network, endpoint.id)
        if clients := self._found(network):
            clients.unplug(_ask(endpoint))

    def connected(self, network: Network, endpoint: Endpoint) -> None:
        """From now on somebody renews the lease."""
        self._clients(network).keep(_ask(endpoint))

    def disconnecting(self, network: Network, endpoint: Endpoint) -> None:
        """The lease is given back while there is still a link to do so."""
        self._ended(network, endpoint.id)

    def collect(self, network: Network, endpoints: Sequence[Endpoint]) -> None:
        """After a restart: clients that died meanwhile are started again, those of endpoints that went are ended."""
        self._parents.remember(network)
        clients = self._clients(network)
        for id in set(clients.all()) - {each.id for each in endpoints}:
            clients.end(id)
        for endpoint in endpoints:
            if endpoint.addresses and Path(endpoint.sandbox.netns).exists():
                clients.keep(_ask(endpoint))

    def check(self, network: Network, endpoints: Sequence[Endpoint]) -> Sequence[str]:
        clients = self._clients(network)
        return [
            f"{endpoint.spec.name}: {trouble}"
            for endpoint in endpoints
            for trouble in _troubles(endpoint, clients.alive(endpoint.id), clients.report(endpoint.id))
        ]

    def _clients(self, network: Network) -> Clients:
        return self._made(RUN / self._instance / network.id[:12])

    def _found(self, network: Network) -> Clients | None:
        """The same where something is given back: nothing runs where there is no client's program any more."""
        try:
            return self._clients(network)
        except DriverError as error:
            logger.warning("%s", error)
            return None

    def _ended(self, network: Network, id: str) -> None:
        if clients := self._found(network):
            clients.end(id) if id else clients.close()


def _ask(endpoint: Endpoint) -> Ask:
    address = next(iter(endpoint.addresses), "") or next(iter(endpoint.spec.addresses), "")
    return Ask(
        id=endpoint.id,
        netns=endpoint.sandbox.netns,
        link=endpoint.ifname,
        hostname=label(endpoint.spec.name),
        address=address,
        router=endpoint.router_of(4) if 4 in endpoint.gateways else "",
    )


def _routes(endpoint: Endpoint) -> Iterator[KernelObject]:
    router = endpoint.router_of(4)
    if not router or 4 not in endpoint.gateways or not endpoint.addresses:
        return
    netns, link = endpoint.sandbox.netns, endpoint.ifname
    if ip_address(router) not in ip_interface(endpoint.addresses[0]).network:  # as servers of /32 leases have it
        yield Route(netns=netns, destination=f"{router}/32", link=link)
    yield Route(netns=netns, destination="0.0.0.0/0", link=link, via=router)


def _troubles(endpoint: Endpoint, pid: int, said: tuple[Lease, float] | None) -> Iterator[str]:
    if not pid:
        yield "no DHCP client renews its lease; restart the daemon or the container"
    if said is None:
        return
    lease, when = said
    if lease.event == "other":
        yield f"the DHCP server leases {lease.address} now; restart the container to use it"
    elif lease.event == "lost":
        yield "its lease is lost, so its address was taken away until the DHCP server gives it again"
    elif lease.seconds and time.time() - when > lease.seconds * 0.6:
        yield f"its lease could not be renewed; it ends in {max(0, int(when + lease.seconds - time.time()))} s"
