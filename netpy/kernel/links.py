"""Bridges, veth pairs, addresses and routes: objects to netlink messages and back.

Reads and writes the kernel through one `Channel`, in whatever namespace that channel was opened in. Every look-up is
by name or index. Only the fields that our objects state are read, so what the kernel adds of its own (link-local
addresses, connected routes) is no drift.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

from netpy.diff import Change, Create, Delete, Update
from netpy.errors import Conflict, KernelError
from netpy.kernel import departures
from netpy.kernel import rtnetlink as rt
from netpy.kernel.rtnetlink import Channel, Message, Reply, attribute, nested, number, text
from netpy.objects import Address, Bridge, KernelObject, Route, Veth

DOOMED = 0x6E657470  # link group of what is only waiting to be deleted, in bulk and later
HEADER, _ADDR, _ROUTE = struct.Struct("=BxHiII"), struct.Struct("=BBBBI"), struct.Struct("=BBBBBBBBI")
_IFNAME, _MTU, _MAC, _PEER, _MASTER, _LINKINFO, _ALIAS, _GROUP, _PEER_PLACE = 3, 4, 1, 5, 10, 18, 20, 27, 37
_NETNS_FD, _EXT_MASK, _SKIP_STATS = 28, 29, 8
_KIND, _DATA, _SLAVE_KIND, _SLAVE_DATA, _VETH_PEER = 1, 2, 4, 5, 1
_HAIRPIN, _LEARNING, _FLOOD, _ISOLATED, _LOCKED = 4, 8, 9, 33, 39
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_LLADDR, _NOARP, _OF_MASTER, _STICKY = 2, 0x40, 0x04, 0x40
_GONE = (errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL)
_NODAD, _MAIN, _STATIC, _UNICAST, _ONLINK_SCOPE = 2, 254, 4, 1, 253
_ONLINK = 4  # RTNH_F_ONLINK


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link as the kernel describes it. `peer` and `master` are indexes, 0 for none; `data` is its kind's own.

    `place` is the kernel's number for the namespace that the peer is in (`link-netnsid`), -1 where it is this one.
    """

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    mark: str
    up: bool
    master: int = 0
    peer: int = 0
    group: int = 0
    hairpin: bool = False
    isolated: bool = False
    place: int = -1
    locked: bool = False
    data: bytes = b""


def find(channel: Channel, name: str) -> Link | None:
    """The link of that name, or None; a doomed one counts as gone. `ip -d link show dev NAME`."""
    body = HEADER.pack(0, 0, 0, 0, 0) + attribute(_IFNAME, name) + attribute(_EXT_MASK, _SKIP_STATS)
    reply = channel.lookup(Message(rt.GETLINK, 0, body))
    if reply is None:
        return None
    link = described(reply)
    return None if link.group == DOOMED else link


def described(reply: Reply) -> Link:
    """The link that a NEWLINK message describes."""
    _, _, index, flags, _ = HEADER.unpack_from(reply.fixed)
    got = reply.attributes
    info = rt.attributes(got.get(_LINKINFO, b""))
    hairpin, isolated, locked = port_flags(info.get(_SLAVE_DATA, b""))
    return Link(
        index=index,
        name=text(got.get(_IFNAME, b"")),
        kind=text(info.get(_KIND, b"")),
        mac=":".join(f"{byte:02x}" for byte in got.get(_MAC, b"")),
        mtu=number(got.get(_MTU, b"")),
        mark=text(got.get(_ALIAS, b"")),
        up=bool(flags & rt.IFF_UP),
        master=number(got.get(_MASTER, b"")),
        peer=number(got.get(_PEER, b"")),
        group=number(got.get(_GROUP, b"")),
        hairpin=hairpin,
        isolated=isolated,
        place=struct.unpack("=i", got[_PEER_PLACE])[0] if _PEER_PLACE in got else -1,
        locked=locked,
        data=info.get(_DATA, b""),
    )


def port_flags(data: bytes) -> tuple[bool, bool, bool]:
    """Whether a bridge's port lets frames out where they came in, whether it is isolated, and whether locked.

    A kernel before 5.18 does not know of locks: there, a port that learns nothing is as locked as it can be.
    """
    port = rt.attributes(data)
    locked = bool(number(port.get(_LOCKED, b"\1"))) and port.get(_LEARNING) == b"\0"
    return bool(number(port.get(_HAIRPIN, b""))), bool(number(port.get(_ISOLATED, b""))), locked


def addresses(channel: Channel, index: int) -> set[str]:
    """Addresses of a link with their prefix lengths. `ip addr show dev LINK`."""
    found: set[str] = set()
    for reply in channel.dump(Message(rt.GETADDR, 0, _ADDR.pack(0, 0, 0, 0, index))):
        _, length, _, _, owner = _ADDR.unpack_from(reply.fixed)
        raw = reply.attributes.get(2) or reply.attributes.get(1)
        if raw and owner == index:
            found.add(f"{ip_address(raw)}/{length}")
    return found


def routes(channel: Channel, family: int) -> dict[str, tuple[str, int]]:
    """Destination → (gateway, link index) of the main table. `ip -4|-6 route show table main`."""
    inet = socket.AF_INET6 if family == 6 else socket.AF_INET
    found: dict[str, tuple[str, int]] = {}
    for reply in channel.dump(Message(rt.GETROUTE, 0, _ROUTE.pack(inet, 0, 0, 0, _MAIN, 0, 0, 0, 0))):
        length, got = reply.fixed[1], reply.attributes
        destination = ip_address(got.get(1, bytes(16 if family == 6 else 4)))
        via = str(ip_address(got[5])) if 5 in got else ""
        found.setdefault(f"{destination}/{length}", (via, number(got.get(4, b""))))
    return found


class Observer:
    """Looks up objects in one namespace, each table and link at most once. Made for one observation."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._addresses: dict[str, set[str]] = {}
        self._routes: dict[int, dict[str, tuple[str, int]]] = {}

    def look(self, wanted: KernelObject) -> KernelObject | None:
        """The bridge, address or route under the key of `wanted` as it really is; None where it is missing."""
        match wanted:
            case Bridge():
                return self._bridge(wanted)
            case Address():
                return wanted if wanted.address in self._addresses_of(wanted.link) else None
            case Route():
                return self._route(wanted)
            case _:
                raise TypeError(f"not a link object: {wanted}")

    def _bridge(self, wanted: Bridge) -> Bridge | None:
        link = find(self._channel, wanted.name)
        if link is None:
            return None
        mac = link.mac if link.kind == "bridge" else ""
        return Bridge(name=link.name, mac=mac, mtu=link.mtu, mark=link.mark, up=link.up, netns=wanted.netns)

    def _addresses_of(self, name: str) -> set[str]:
        if name not in self._addresses:
            index = index_of(name)
            self._addresses[name] = addresses(self._channel, index) if index else set()
        return self._addresses[name]

    def _route(self, wanted: Route) -> Route | None:
        family = 6 if ":" in wanted.destination else 4
        if family not in self._routes:
            self._routes[family] = routes(self._channel, family)
        found = self._routes[family].get(wanted.destination)
        if found is None:
            return None
        return Route(
            destination=wanted.destination,
            via=found[0],
            link=name_of(found[1]),
            onlink=wanted.onlink,
            netns=wanted.netns,
        )


def index_of(name: str) -> int:
    """The index of a link in the calling thread's namespace; 0 where there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def name_of(index: int) -> str:
    """The name of a link in the calling thread's namespace; empty where there is none."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def make(channel: Channel, change: Change, instance: str) -> None:
    """Carry out a change of a bridge, an address or a route in the channel's namespace; OSError when refused.

    A bridge that exists already and does not bear the mark of `instance` belongs to somebody else: Conflict.
    """
    match change:
        case Update(Bridge() as before, Bridge()) if before.mark and not before.mark.startswith(f"{instance}/"):
            raise Conflict(f"bridge {before.name} exists already and belongs to somebody else ({before.mark})")
        case Delete(Bridge() as bridge):
            departures.delete(bridge.name)
        case _:
            request(channel, messages(change), tolerant=isinstance(change, Delete))


def request(channel: Channel, wanted: Sequence[Message], *, tolerant: bool = False) -> None:
    """Send messages and raise the first error; `tolerant` takes for success that something is gone already."""
    errors = channel.request(wanted) if wanted else []
    for error in errors:
        if error is not None and not (tolerant and error.errno in _GONE):
            raise error


def messages(change: Change) -> list[Message]:
    """What to tell the kernel, in the namespace of the change's object. Veth pairs are `veth_messages`."""
    match change:
        case Create(Bridge() as bridge):
            # Only an MTU set afterwards counts as chosen; one given at creation follows the ports up and down.
            return [
                _new_bridge(bridge),
                modify(bridge.name, attribute(_MTU, bridge.mtu) + attribute(_ALIAS, bridge.mark)),
            ]
        case Update(Bridge(), Bridge() as bridge):
            mac = attribute(_MAC, bytes.fromhex(bridge.mac.replace(":", "")))
            fields = attribute(_MTU, bridge.mtu) + attribute(_ALIAS, bridge.mark) + mac
            return [modify(bridge.name, fields, up=bridge.up)]
        case Create(Address() as address):
            return [_address(rt.NEWADDR, rt.F_CREATE | rt.F_REPLACE, address)]
        case Delete(Address() as address):
            return [_address(rt.DELADDR, 0, address)] if index_of(address.link) else []
        case Create(Route() as route) | Update(_, Route() as route):
            return [_route(rt.NEWROUTE, rt.F_CREATE | rt.F_REPLACE, route)]
        case Delete(Route() as route):
            return [_route(rt.DELROUTE, 0, route)] if index_of(route.link) else []
        case _:
            raise TypeError(f"not a change of a link: {change}")


def new_veth(veth: Veth, descriptor: int = -1) -> list[Message]:
    """Create the pair, its far end in the namespace of `descriptor` (else here), its near end up and in the bridge.

    The far end cannot be created up: the kernel opens it before the two are paired. `raise_link` does that.
    """
    peer = attribute(_IFNAME, veth.ifname) + attribute(_MTU, veth.mtu)
    if descriptor >= 0:
        peer += attribute(_NETNS_FD, descriptor)
    if veth.mac:
        peer += attribute(_MAC, bytes.fromhex(veth.mac.replace(":", "")))
    info = nested(
        _LINKINFO, attribute(_KIND, "veth"), nested(_DATA, attribute(_VETH_PEER, HEADER.pack(0, 0, 0, 0, 0) + peer))
    )
    body = attribute(_IFNAME, veth.name) + attribute(_MTU, veth.mtu) + info
    if veth.bridge:
        body += attribute(_MASTER, require(veth.bridge))
    header = HEADER.pack(0, 0, 0, rt.IFF_UP, rt.IFF_UP)
    return [Message(rt.NEWLINK, rt.F_CREATE | rt.F_EXCL, header + body), _port(veth)]


def update_veth(veth: Veth) -> list[Message]:
    """Set everything mutable of the near end again: MTU, alias, bridge, port flags, up."""
    fields = attribute(_MTU, veth.mtu) + attribute(_MASTER, require(veth.bridge) if veth.bridge else 0)
    return [modify(veth.name, fields, up=veth.up), _port(veth)]


def resident(veth: Veth) -> list[Message]:
    """Tell the bridge who lives behind a locked port. `bridge fdb replace MAC dev NAME master static sticky`."""
    if not (veth.locked and veth.bridge):
        return []
    body = _NEIGHBOUR.pack(socket.AF_BRIDGE, require(veth.name), _NOARP, _OF_MASTER | _STICKY, 0)
    mac = attribute(_LLADDR, bytes.fromhex(veth.mac.replace(":", "")))
    return [Message(rt.NEWNEIGH, rt.F_CREATE | rt.F_REPLACE, body + mac)]


def is_resident(channel: Channel, index: int, mac: str) -> bool:
    """Whether the bridge knows that `mac` lives behind its port. `bridge fdb get MAC dev NAME master`."""
    body = _NEIGHBOUR.pack(socket.AF_BRIDGE, index, 0, _OF_MASTER, 0)
    reply = channel.lookup(Message(rt.GETNEIGH, 0, body + attribute(_LLADDR, bytes.fromhex(mac.replace(":", "")))))
    return reply is not None and _NEIGHBOUR.unpack(reply.fixed)[1:3] == (index, _NOARP)


def raise_link(name: str, mtu: int) -> Message:
    """`ip link set NAME up mtu MTU`."""
    return modify(name, attribute(_MTU, mtu), up=True)


def doom(name: str) -> Message:
    """Mark a link as waiting for deletion, which costs the kernel 20 ms that nobody should wait for."""
    return modify(name, attribute(_GROUP, DOOMED) + attribute(_ALIAS, b"\0"))


def delete_doomed() -> Message:
    """Delete every doomed link at once: 12 ms for 50, where one by one costs 950. `ip link delete group`."""
    return Message(rt.DELLINK, 0, HEADER.pack(0, 0, 0, 0, 0) + attribute(_GROUP, DOOMED))


def delete(name: str) -> Message:
    """`ip link delete NAME`."""
    return Message(rt.DELLINK, 0, HEADER.pack(0, 0, 0, 0, 0) + attribute(_IFNAME, name))


def require(name: str) -> int:
    """The index of a link in the calling thread's namespace; KernelError where there is none."""
    index = index_of(name)
    if not index:
        raise KernelError(f"link {name} does not exist")
    return index


def modify(name: str, fields: bytes, *, up: bool | None = None) -> Message:
    """Change a link by its name: these attributes, and up or down."""
    flags, change = (rt.IFF_UP if up else 0), (0 if up is None else rt.IFF_UP)
    return Message(rt.NEWLINK, 0, HEADER.pack(0, 0, 0, flags, change) + attribute(_IFNAME, name) + fields)


def _new_bridge(bridge: Bridge) -> Message:
    fields = attribute(_IFNAME, bridge.name) + attribute(_MAC, bytes.fromhex(bridge.mac.replace(":", "")))
    fields += nested(_LINKINFO, attribute(_KIND, "bridge"))
    header = HEADER.pack(0, 0, 0, rt.IFF_UP, rt.IFF_UP)
    return Message(rt.NEWLINK, rt.F_CREATE | rt.F_EXCL, header + fields)


def _port(veth: Veth) -> Message:
    fields = attribute(_ALIAS, veth.mark)
    if veth.bridge:
        flags = attribute(_HAIRPIN, bytes([veth.hairpin])) + attribute(_ISOLATED, bytes([veth.isolated]))
        for kind, value in ((_LEARNING, not veth.locked), (_FLOOD, not veth.locked), (_LOCKED, veth.locked)):
            flags += attribute(kind, bytes([value]))
        fields += nested(_LINKINFO, attribute(_SLAVE_KIND, "bridge"), nested(_SLAVE_DATA, flags))
    return modify(veth.name, fields)


def _address(kind: int, flags: int, address: Address) -> Message:
    interface = ip_interface(address.address)
    six = interface.version == 6
    header = _ADDR.pack(
        socket.AF_INET6 if six else socket.AF_INET,
        interface.network.prefixlen,
        _NODAD if six else 0,
        0,
        require(address.link),
    )
    fields = attribute(2, interface.packed) + attribute(1, interface.packed)
    if not six and interface.network.prefixlen < 31 and kind == rt.NEWADDR:
        fields += attribute(4, interface.network.broadcast_address.packed)
    return Message(kind, flags, header + fields)


def _route(kind: int, flags: int, route: Route) -> Message:
    network = ip_network(route.destination)
    inet = socket.AF_INET6 if network.version == 6 else socket.AF_INET
    scope = _ONLINK_SCOPE if network.version == 4 and not route.via else 0
    protocol = _STATIC if kind == rt.NEWROUTE else 0
    nexthop = _ONLINK if route.onlink and kind == rt.NEWROUTE else 0
    header = _ROUTE.pack(inet, network.prefixlen, 0, 0, _MAIN, protocol, scope, _UNICAST, nexthop)
    fields = attribute(4, require(route.link))
    if network.prefixlen:
        fields += attribute(1, network.network_address.packed)
    if route.via:
        fields += attribute(5, ip_address(route.via).packed)
    return Message(kind, flags, header + fields)
