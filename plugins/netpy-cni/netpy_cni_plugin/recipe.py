"""What netpy does for an attachment, written down as bytes: for `quick` to do again with another address.

The driver's wanted state of a stand-in endpoint is turned into the very netlink messages that `netpy.kernel` would
send, and the names of the maps that ports go into, and these are kept with the network. All that differs between two
attachments has a fixed length: identifiers, the IPv4 address (and the MAC made of it), the IPv6 address, indexes and
descriptors. So a recipe is followed by replacing bytes, and no code of netpy has to be loaded. That replacing is enough
is not believed but tried: the recipe of one stand-in, followed for another, must give the other's own messages; if it
does not, there is no recipe.

Nothing is sent here. Reads the index of the bridge.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from netpy.diff import Create
from netpy.firewall import nft
from netpy.firewall.rules import Element, inner
from netpy.ipam import mac_of
from netpy.kernel import links
from netpy.kernel.rtnetlink import F_ACK, F_REQUEST, Message, attribute
from netpy.model import Endpoint, EndpointSpec, Family, Network, PortBinding, Sandbox
from netpy.objects import Address, Route, Sysctl, Veth
from netpy_cni_plugin import wire
from netpy_cni_plugin.host import INSTANCE, Host

Json = dict[str, Any]
_IDS = ("f0e1d2c3b4a59687" * 4, "0f1e2d3c4b5a6978" * 4)
_MASTER, _OIF = 10, 4
_PORTS = {"protocol": "sctp", "host_port": 61001, "container_port": 61002}
_BOUND: dict[Family, str] = {4: "198.51.100.254", 6: "2001:db8::fe"}
_EVERYWHERE: dict[Family, str] = {4: "0.0.0.0", 6: "::"}


def made(host: Host, network: Network, ifname: str) -> Json:
    """The recipe for interfaces of that name in the network; empty where there is none."""
    first, second = (_stand_in(network, ifname, number) for number in (0, 1))
    if first is None or second is None:
        return {}
    one, two = _written(host, network, first), _written(host, network, second)
    if not one or not two or _followed(one, second) != _steps(two):
        return {}
    return one


def _stand_in(network: Network, ifname: str, number: int) -> Endpoint | None:
    """An endpoint with one of the last addresses of each subnet; None where there is no IPv4 or too few of them."""
    if network.subnet_of(4) is None:
        return None
    addresses: list[str] = []
    for subnet in network.subnets:
        whole = ip_network(subnet.subnet)
        if whole.num_addresses < 8:
            return None
        free = (whole[-2 - n] for n in range(5))
        chosen = [each for each in free if str(each) != subnet.gateway][number]
        addresses.append(f"{chosen}/{subnet.prefix_length}")
    families: tuple[Family, Family] = (4, 6)
    return Endpoint(
        id=_IDS[number],
        network_id=network.id,
        sandbox=Sandbox(id="stand-in", netns="/stand-in"),
        spec=EndpointSpec(name="stand-in"),
        ifname=ifname,
        mac=mac_of(addresses[0].partition("/")[0]),
        addresses=tuple(addresses),
        gateways=frozenset(family for family in families if network.subnet_of(family)),
    )


def _written(host: Host, network: Network, endpoint: Endpoint) -> Json:
    state = sorted(host.endpoint_state(network, endpoint), key=lambda obj: (obj.RANK, obj.key))
    pairs = [obj for obj in state if isinstance(obj, Veth)]
    rest = [obj for obj in state if isinstance(obj, Address | Route)]
    settings = [obj for obj in state if isinstance(obj, Sysctl)]
    if len(pairs) != 1 or len(pairs) + len(rest) + len(settings) != len(state):
        return {}
    pair, bridge = pairs[0], links.require(pairs[0].bridge)
    outside = [
        replace(message, body=message.body.replace(attribute(_MASTER, bridge), attribute(_MASTER, wire.MASTER)))
        for message in links.new_veth(pair, wire.NAMESPACE)
    ]
    inside = [message for obj in rest for message in _inside(obj)]
    return {
        "bridge": pair.bridge,
        "id": endpoint.id[:12],
        "addresses": {str(6 if ":" in each else 4): each for each in endpoint.addresses},
        "gateways": {str(subnet.family): subnet.gateway for subnet in network.subnets},
        "mtu": pair.mtu,
        "outside": _datagram(outside),
        "raise": _datagram([links.raise_link(pair.ifname, pair.mtu)]),
        "settings": [[setting.name, setting.value] for setting in settings],
        "inside": _datagram(inside),
        "ports": _port_commands(host, network, endpoint),
        "table": INSTANCE,
        "chain": nft.ruleset(INSTANCE).chains[-1].name,
    }


def _inside(obj: Address | Route) -> Iterable[Message]:
    """The messages for an object on the sandbox's interface: made for `lo`, which is 1 everywhere, then marked."""
    for message in links.messages(Create(replace(obj, link="lo"))):
        if isinstance(obj, Address):
            head, index, rest = message.body[:4], message.body[4:8], message.body[8:]
            assert index == struct.pack("=I", 1)
            body = head + struct.pack("=I", wire.LINK) + rest
        else:
            body = message.body.replace(attribute(_OIF, 1), attribute(_OIF, wire.LINK))
        yield replace(message, body=body)


def _datagram(messages: Iterable[Message]) -> str:
    """The messages as they go through the socket, in hexadecimal digits."""
    packed = b""
    for number, message in enumerate(messages, 1):
        length = 16 + len(message.body)
        packed += struct.pack("=IHHII", length, message.type, message.flags | F_REQUEST | F_ACK, number, 0)
        packed += message.body + b"\0" * (-length % 4)
    return packed.hex()


def _port_commands(host: Host, network: Network, endpoint: Endpoint) -> Json:
    """The map by family and kind of host address; missing where the driver wants something else for a port."""
    found: Json = {}
    for family in (4, 6):
        if not endpoint.address_of(family):
            continue
        for kind, address in (("any", _EVERYWHERE[family]), ("bound", _BOUND[family])):
            binding = PortBinding(host_ip=address, **_PORTS)  # pyright: ignore[reportArgumentType]
            with_port = host.driver.endpoint_state(network, replace(endpoint, ports=(binding,)))
            new = host.kernel.lower(with_port) - host.kernel.lower(host.endpoint_state(network, endpoint))
            elements = [inner(obj) for obj in new if isinstance(inner(obj), Element)]
            if len(elements) == 1 and isinstance(elements[0], Element):
                bound = (address,) if kind == "bound" else ()
                expected = (*bound, "sctp", "61001"), (endpoint.address_of(family), "61002")
                if (elements[0].fields, elements[0].value) == expected:
                    found[f"{family}{kind}"] = elements[0].container
    return found


def _steps(recipe: Json) -> list[bytes]:
    return [bytes.fromhex(recipe[name]) for name in ("outside", "raise", "inside")]


def _followed(recipe: Json, other: Endpoint) -> list[bytes]:
    addresses = {family: other.address_of(6 if family == "6" else 4) for family in recipe["addresses"]}
    known = {family: ip_address(address).packed for family, address in addresses.items()}
    return [wire.filled(step, recipe, other.id, known) for step in _steps(recipe)]
