"""The kernel's nouns: links, addresses, routes, sysctls and firewall intents, as frozen data.

An object says what should be; it does not say how to bring it about. Three things are known of each:
its `key`, which is its identity (a state holds at most one object per key); its `RANK`, which orders
creation (and, reversed, removal); and `MUTABLE`, the fields that can change in place, without removing
the object first. `netns` is the path of a network namespace, or empty for the host's own.

Isolation ranks before links and is removed after them, so that no packet ever passes a bridge that has
no rules yet, or no longer. Publishing ranks last: a port is opened when what is behind it is there.

Firewall intents (Masquerade, Isolate, Source, Publish, AllowPort, RedirectDns) are what drivers speak. Whichever
firewall backend is in use lowers them to objects of its own (`netpy.firewall`), which obey the same
protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple
from typing import Protocol as Interface

from netpy.model import Protocol


class Key(NamedTuple):
    """Identity of an object in the kernel: what kind it is, in which namespace, and its name there."""

    kind: str
    netns: str
    name: str


class KernelObject(Interface):
    """What `diff` needs to know of an object."""

    RANK: ClassVar[int]
    MUTABLE: ClassVar[frozenset[str]]

    @property
    def key(self) -> Key: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A Linux bridge that is up. `ip link add NAME address MAC mtu MTU type bridge`.

    `mark` is its `ip link … alias`, by which we know our own links again.
    """

    RANK: ClassVar[int] = 20
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"mtu", "mark", "mac", "up"})

    name: str
    mac: str
    mtu: int
    mark: str
    up: bool = True
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("bridge", self.netns, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Veth:
    """A veth pair, both ends up: `name` on the host, `ifname` in the namespace `peer_netns`.

    An empty `peer_netns` leaves the far end on the host, down, for somebody else to take into a sandbox of theirs
    and rename. From then on it is out of sight, and only the near end is looked at.

    `ip link add NAME mtu MTU type veth peer name IFNAME netns PEER address MAC; ip link set NAME master BRIDGE`.
    `bridge` is empty for a pair that is routed. `isolated` ports of one bridge cannot reach each other
    (`bridge link set dev NAME isolated on`); `hairpin` lets a frame leave by the port it came in. Behind a `locked`
    port lives `mac` and nobody else: the bridge learns nothing from it and takes nothing from other addresses
    (`bridge link set dev NAME locked on learning off flood off; bridge fdb add MAC dev NAME master static sticky`).
    """

    RANK: ClassVar[int] = 30
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"mtu", "mark", "bridge", "hairpin", "isolated", "locked", "up"})

    name: str
    peer_netns: str
    ifname: str
    mac: str
    mtu: int
    mark: str
    bridge: str = ""
    hairpin: bool = False
    isolated: bool = False
    locked: bool = False
    up: bool = True
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("veth", self.netns, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A link of a network on the host that is neither bridge nor pair, up.

    `kind="dummy"`: `ip link add NAME type dummy`. `kind="vlan"`: `ip link add link PARENT name NAME type vlan id VLAN`,
    for which the parent must exist. `mtu` 0 and an empty `mac` leave the kernel's choice. `mark` as for Bridge.
    """

    RANK: ClassVar[int] = 22
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"mtu", "mark", "up"})

    kind: Literal["dummy", "vlan"]
    name: str
    mark: str
    parent: str = ""
    vlan: int = 0
    mtu: int = 0
    mac: str = ""
    up: bool = True
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("device", self.netns, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A link in a sandbox that stands on `parent`, a link of the host. Up; gone with the sandbox or the parent.

    `ip link add link PARENT name IFNAME address MAC mtu MTU netns NETNS type macvlan|ipvlan mode MODE`. Modes are
    iproute2's: bridge, private, vepa, passthru; l2, l3, l3s. `flag` is ipvlan's alone: private, vepa, or empty for
    bridge. `mtu` 0 takes the parent's, an empty `mac` any (an ipvlan link has its parent's). Unsupported when the
    kernel has no such links.
    """

    RANK: ClassVar[int] = 30
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"mtu", "mark", "up"})

    kind: Literal["macvlan", "ipvlan"]
    parent: str
    netns: str
    ifname: str
    mode: str
    mark: str
    flag: str = ""
    mac: str = ""
    mtu: int = 0
    up: bool = True

    @property
    def key(self) -> Key:
        return Key("child", self.netns, self.ifname)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """A link that somebody else made on the host is in the sandbox `netns`, as `ifname`, up.

    `ip link set SOURCE netns NETNS name IFNAME`, then its MAC and MTU where they are stated. Removing it gives the link
    back to the host under its old name, for whoever made it; if the sandbox is gone, so is the link.
    """

    RANK: ClassVar[int] = 31
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"mac", "mtu", "mark", "up"})

    source: str
    netns: str
    ifname: str
    mark: str
    mac: str = ""
    mtu: int = 0
    up: bool = True

    @property
    def key(self) -> Key:
        return Key("adopt", self.netns, self.ifname)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Somebody else has configured the sandbox `netns`: the link `ifname` is there and has what is stated here.

    `maker` names who, for messages. `addresses` have their prefix length; `routes` are (destination, next hop) through
    this link, the next hop empty when it is on-link; an empty `mac` is any. It is only looked at: what is missing or
    other than stated is reported and cannot be made here. Removing it removes what its maker left behind.
    """

    RANK: ClassVar[int] = 32
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"mac", "addresses", "routes", "up"})

    netns: str
    ifname: str
    maker: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    up: bool = True

    @property
    def key(self) -> Key:
        return Key("given", self.netns, self.ifname)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """One kernel setting, `name` as below /proc/sys with slashes. Removing it is leaving it as it is."""

    RANK: ClassVar[int] = 40
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"value"})

    name: str
    value: str
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("sysctl", self.netns, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address with its prefix length on a link. `ip addr add ADDRESS dev LINK` (IPv6: nodad)."""

    RANK: ClassVar[int] = 50
    MUTABLE: ClassVar[frozenset[str]] = frozenset()

    link: str
    address: str
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("address", self.netns, f"{self.link} {self.address}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route. `ip route replace DESTINATION via VIA dev LINK [onlink]`; an empty `via` is on-link.

    `onlink`: the next hop is on the link although no address of the link says so (how it is made, not looked at).
    The default routes are written out: `0.0.0.0/0` and `::/0`.
    """

    RANK: ClassVar[int] = 60
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"via", "link", "onlink"})

    destination: str
    link: str
    via: str = ""
    onlink: bool = False
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("route", self.netns, self.destination)


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolate:
    """Who may talk to the hosts of `subnet`, which live behind `bridge`.

    `guard="nat"`: nobody from elsewhere, except answers to what they asked and what Publish or AllowPort
    lets in; packets from other interfaces straight to a container address are dropped before routing.
    `"routed"`: the same without the drop before routing. `"open"`: everybody.
    `internal` cuts the network off in both directions. Traffic inside the bridge is not touched (`Veth.isolated`
    is what forbids it); without `icc` what would go round by way of the host, in and out by one bridge, is refused.

    A network without a bridge has a routed link for each sandbox, and an Isolate for each, `bridge` being that link and
    `subnet` the sandbox's address alone. `peers` is then the network's subnet, and `kin` what the names of all its
    links begin with, and no other link's: who lives behind one of them may pass. Both, or neither.
    """

    RANK: ClassVar[int] = 10
    MUTABLE: ClassVar[frozenset[str]] = frozenset()

    bridge: str
    subnet: str
    internal: bool = False
    icc: bool = True
    guard: Literal["nat", "routed", "open"] = "nat"
    peers: str = ""
    kin: str = ""
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("isolate", self.netns, f"{self.bridge} {self.subnet}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What comes in by `link`, a port of one of our bridges, is from `mac` and `address`, or from another Source of it.

    Everything else is dropped before the bridge or a neighbour can believe it: frames, ARP and neighbour discovery that
    claim other addresses, router advertisements, answers of DHCP servers, frames that are neither IP nor ARP.
    """

    RANK: ClassVar[int] = 11
    MUTABLE: ClassVar[frozenset[str]] = frozenset()

    link: str
    mac: str
    address: str
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("source", self.netns, f"{self.link} {self.address}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Masquerade:
    """Traffic of `subnet` that leaves by another interface than `bridge` carries the host's address.

    `source` names that address (SNAT); empty, the kernel chooses by route. `peers` and `kin` as for Isolate: what goes
    there keeps its address.
    """

    RANK: ClassVar[int] = 12
    MUTABLE: ClassVar[frozenset[str]] = frozenset()

    bridge: str
    subnet: str
    source: str = ""
    peers: str = ""
    kin: str = ""
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("masquerade", self.netns, f"{self.bridge} {self.subnet}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowPort:
    """The port of a container may be reached from outside its bridge, without translation."""

    RANK: ClassVar[int] = 80
    MUTABLE: ClassVar[frozenset[str]] = frozenset()

    bridge: str
    protocol: Protocol
    address: str
    port: int
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("allow", self.netns, f"{self.address} {self.port}/{self.protocol}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """`host_ip`:`host_port` of the host leads to `address`:`port` behind `bridge`.

    `host_ip` `0.0.0.0` or `::` means every address of the host in that family. Only packets to a local
    address are translated: forwarded traffic of strangers to the same port is not ours.
    """

    RANK: ClassVar[int] = 80
    MUTABLE: ClassVar[frozenset[str]] = frozenset()

    bridge: str
    protocol: Protocol
    host_ip: str
    host_port: int
    address: str
    port: int
    netns: str = ""

    @property
    def key(self) -> Key:
        return Key("publish", self.netns, f"{self.host_ip} {self.host_port}/{self.protocol}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedirectDns:
    """In the namespace `netns`, port 53 of 127.0.0.11 leads to `port` of 127.0.0.11, UDP and TCP alike.

    A redirection and not a listener on port 53, so that the container may bind port 53 itself.
    """

    RANK: ClassVar[int] = 70
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"port"})

    port: int
    netns: str

    @property
    def key(self) -> Key:
        return Key("redirect-dns", self.netns, "127.0.0.11")


Intent = Isolate | Source | Masquerade | AllowPort | Publish | RedirectDns
LinkObject = Bridge | Device | Veth | Child | Adopt | Given | Sysctl | Address | Route
