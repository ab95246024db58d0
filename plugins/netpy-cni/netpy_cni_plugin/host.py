"""The library's side of the plugin: records to wanted states, and states into the kernel.

Everything here is netpy's: the driver `bridge` says what should be, `Wiring` compares and changes. What the plugin adds
is the way from its rows to netpy's records. Loaded only where the quick way does not do. Kernel I/O.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any

from netpy import render
from netpy.controller.records import Plug
from netpy.controller.settings import Settings
from netpy.controller.wiring import Wiring
from netpy.diff import Delete, Plan, State
from netpy.drivers import Defaults, Driver
from netpy.drivers.bridge import BridgeDriver
from netpy.errors import KernelError, NetpyError
from netpy.ipam import Addresses, allocate
from netpy.kernel import netfilter
from netpy.kernel.linux import LinuxKernel
from netpy.kernel.nft.backend import Nftables
from netpy.kernel.xt.backend import Xtables
from netpy.model import Endpoint, EndpointSpec, Family, Network, NetworkSpec, PortBinding, Sandbox, Subnet
from netpy.objects import Route
from netpy.prefixes import Prefixes
from netpy.store import decode, encode
from netpy_cni_plugin.ledger import Ledger

INSTANCE = "netpy-cni"
_BACKENDS = {"nftables": Nftables, "iptables": Xtables}


class _Drivers:
    """The one driver there is, where a registry is asked for."""

    def __init__(self, driver: BridgeDriver) -> None:
        self._driver = driver

    def get(self, name: str) -> Driver:
        return self._driver


class Host:
    """This machine: its kernel, its firewall backend (chosen once, and kept), and netpy's driver for it."""

    def __init__(self, ledger: Ledger) -> None:
        known = ledger.fact("firewall")
        backend = _BACKENDS[known](INSTANCE) if known in _BACKENDS else netfilter.choose("auto", INSTANCE)
        if not known:
            ledger.note("firewall", backend.name)
        self.kernel = LinuxKernel(backend, INSTANCE)
        self.driver = BridgeDriver(Defaults(instance=INSTANCE, antispoof=False))
        self.wiring = Wiring(self.kernel, _Drivers(self.driver), Settings(instance=INSTANCE))  # pyright: ignore[reportArgumentType]

    def close(self) -> None:
        self.kernel.close()

    def drafted(self, spec: NetworkSpec, id: str, taken: Iterable[str]) -> Network:
        """The network with its subnets. `taken` are those of other networks."""
        normal = self.driver.normalise(spec)
        stated = all(each.subnet for each in normal.subnets) and normal.subnets
        host = () if stated else self.kernel.host_prefixes()
        subnets = allocate(normal, pools=Settings(instance=INSTANCE).pools(), networks=Prefixes(taken), host=host)
        return Network(id=id, spec=normal, subnets=subnets)

    def has(self, network: Network) -> bool:
        """Whether the network is up, as far as an attachment has to look."""
        return not self.wiring.plan(frozenset(), self.wiring.network_state(network), cursory=True)

    def raise_network(self, network: Network) -> None:
        wanted = self.wiring.network_state(network)
        self.wiring.foreign(wanted)
        self.wiring.change(self.wiring.plan(frozenset(), wanted))

    def lower_network(self, network: Network) -> list[NetpyError]:
        return list(self.wiring.dismantle(self.wiring.plan(self.wiring.network_state(network), frozenset())))

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        state = self.driver.endpoint_state(network, endpoint)
        more = {
            Route(netns=endpoint.sandbox.netns, destination=destination, link=endpoint.ifname, via=via)
            for destination, via in json.loads(endpoint.facts.get("routes", "[]"))
            if destination not in ("0.0.0.0/0", "::/0")
        }
        return state | more

    def attach(self, network: Network, endpoint: Endpoint) -> None:
        """Make it so; on failure the kernel is as before."""
        wanted = self.endpoint_state(network, endpoint)
        standing = self.wiring.network_state(network)
        self.wiring.change(self.wiring.plan(frozenset(), wanted | standing, cursory=True))
        plug = Plug(network=network, endpoint=endpoint)
        self.wiring.act(self.wiring.followups(frozenset(), wanted, [plug]))

    def detach(self, network: Network, endpoint: Endpoint) -> list[NetpyError]:
        """Take away what is there, as far as it goes."""
        state = self.endpoint_state(network, endpoint)
        errors = list(self.wiring.dismantle(self.wiring.plan(state, frozenset(), cursory=True)))
        plug = Plug(network=network, endpoint=endpoint)
        self.wiring.act(self.wiring.followups(state, frozenset(), [plug]))
        return errors

    def drift(self, network: Network, endpoint: Endpoint) -> list[str]:
        """What of the network and the attachment is not as it should be, a line each."""
        wanted = self.wiring.network_state(network) | self.endpoint_state(network, endpoint)
        return render.drift(self.wiring.plan(frozenset(), wanted))

    def sweep(self, everything: Sequence[tuple[Network, Sequence[Endpoint]]]) -> list[KernelError]:
        """Remove whatever bears our mark and belongs to none of these."""
        states = [self.wiring.network_state(network) for network, _ in everything]
        states += [self.endpoint_state(network, each) for network, endpoints in everything for each in endpoints]
        plan = self.wiring.drift(frozenset[Any]().union(*states))
        orphans = Plan(tuple(change for change in plan if isinstance(change, Delete)))
        return self.wiring.dismantle(orphans)


def network_of(record: str) -> Network:
    return decode(Network, json.loads(record))


def record_of(network: Network) -> str:
    return json.dumps(encode(network))


def endpoint_of(ledger: Ledger, network: Network, row: tuple[Any, ...]) -> Endpoint:
    """The record of an attachment, as netpy's driver wants it."""
    _, container, ifname, id, netns, _, four, six, mac, more = row
    known = json.loads(more)
    subnets: dict[Family, Subnet | None] = {4: network.subnet_of(4), 6: network.subnet_of(6)}
    lengths = {family: subnet.prefix_length for family, subnet in subnets.items() if subnet}
    addresses = [(4, four), (6, six)]
    families: list[Family] = [4, 6]
    ports = ledger.ports(id)
    return Endpoint(
        id=id,
        network_id=network.id,
        sandbox=Sandbox(id=container, netns=netns),
        spec=EndpointSpec(name=container),
        ifname=ifname,
        mac=mac,
        addresses=tuple(f"{address}/{lengths[family]}" for family, address in addresses if address),
        gateways=frozenset(f for f in families if f in lengths) if known.get("default", True) else frozenset(),
        ports=tuple(
            PortBinding(protocol=protocol, container_port=target, host_ip=host, host_port=port)  # pyright: ignore
            for protocol, port, host, target in ports
        ),
        facts={"routes": json.dumps(known.get("routes", []))},
        phase="active",
    )


def pools_of(network: Network) -> str:
    """[family, first, last, taken…] of each subnet, in numbers, for choosing addresses without netpy."""
    found: list[list[int]] = []
    for subnet in network.subnets:
        whole = ip_network(subnet.subnet)
        span = ip_network(subnet.ip_range) if subnet.ip_range else whole
        gate, addresses = ip_address(subnet.gateway), Addresses(subnet)
        first, last = int(span.network_address), int(span.broadcast_address)
        edges = [each for each in (int(whole.network_address), int(whole.broadcast_address)) if first <= each <= last]
        edges = [each for each in edges if addresses.is_taken(str(whole.network_address + (each - int(whole[0]))))]
        found.append([whole.version, first, last, *dict.fromkeys([*edges, int(gate)])])
    return json.dumps(found)


def quietly(step: Any) -> None:
    with suppress(NetpyError):
        step()
