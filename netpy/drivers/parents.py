"""Links that stand on a link of the host, the parent: what drivers of macvlan and ipvlan have in common.

Decides which parent a network stands on, what of it netpy makes itself, and which networks may share one. A network
without `-o parent=` stands on a dummy of its own, which leads nowhere. A parent such as `eth0.30` that is not there is
made, as a VLAN link. Pure but for what it remembers of the networks that it was told of; whether a link exists is asked
of a function that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from netpy.errors import Conflict, Forbidden, InvalidArgument, NotFound
from netpy.model import Endpoint, Network, NetworkSpec
from netpy.objects import Address, Device, KernelObject, Sysctl

PARENT = "parent"
MTU = "com.docker.network.driver.mtu"
MADE, FOUND = "made", "found"


def checked_mtu(text: str) -> int:
    """The MTU that an option states."""
    value = int(text)
    if not 68 <= value <= 65535:
        raise ValueError("must be between 68 and 65535")
    return value


def checked_parent(text: str) -> str:
    """A name that a link of the host may have, other than the loopback's."""
    if text and (len(text) > 15 or any(letter in " \t\n\x00/:%" for letter in text) or text in (".", "..")):
        raise ValueError("an interface name has 1 to 15 characters, without blanks, '/', ':' or '%'")
    if text == "lo":
        raise ValueError("the loopback interface is not a valid parent")
    return text


def vlan(parent: str) -> tuple[str, int]:
    """`eth0.30` as (`eth0`, 30). InvalidArgument, in Docker's words, for what cannot be made so."""
    master, dot, text = parent.rpartition(".")
    if not dot or not master:
        raise InvalidArgument(f"invalid subinterface vlan name {parent}, example formatting is eth0.10")
    if not text.isdecimal():
        raise InvalidArgument(f"unable to parse a valid vlan id from: {text} (ex. eth0.10 for vlan 10)")
    if not 1 <= int(text) <= 4094:
        raise InvalidArgument(f"vlan id must be between 1-4094, received: {text}")
    return master, int(text)


def isolated(spec: NetworkSpec) -> bool:
    """Whether the network stands on nothing of the host's."""
    return not spec.options.get(PARENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a network of the driver stands on. `prefix` begins the name of a dummy."""

    instance: str
    prefix: str

    def name(self, network: Network) -> str:
        """The parent's name."""
        return network.spec.options.get(PARENT) or f"{self.prefix}{network.id[:12]}"

    def state(self, network: Network) -> Iterator[KernelObject]:
        """What is netpy's own of it: a dummy, or the VLAN link where `acquire_network` said so."""
        name, mark = self.name(network), f"{self.instance}/network/{network.id[:12]}"
        mtu = int(network.spec.options.get(MTU, "0"))
        if isolated(network.spec):
            yield Device(kind="dummy", name=name, mark=mark, mtu=mtu)
        elif network.facts.get(PARENT) == MADE:
            master, number = vlan(name)
            yield Device(kind="vlan", name=name, mark=mark, parent=master, vlan=number, mtu=mtu)


def inside(endpoint: Endpoint) -> Iterator[KernelObject]:
    """The addresses of an endpoint, and IPv6 on its link if it has one of that family."""
    netns, ifname = endpoint.sandbox.netns, endpoint.ifname
    value = "0" if endpoint.address_of(6) else "1"
    yield Sysctl(netns=netns, name=f"net/ipv6/conf/{ifname}/disable_ipv6", value=value)
    for address in endpoint.addresses:
        yield Address(netns=netns, link=ifname, address=address)


class Parents:
    """Which networks stand on which parent. Told of by `claim`, and after a restart by `remember`. Thread-safe."""

    def __init__(self, driver: str, exists: Callable[[str], bool], alone: Callable[[NetworkSpec], bool]) -> None:
        """`exists` looks for a link on the host; `alone` says whether a network wants its parent for itself."""
        self._driver = driver
        self._exists = exists
        self._alone = alone
        self._networks: dict[str, Network] = {}

    def claim(self, network: Network) -> Mapping[str, str]:
        """The facts of a new network. Conflict or Forbidden where its parent is taken, NotFound where there is none."""
        name = network.spec.options.get(PARENT, "")
        self._networks[network.id] = network  # before looking, so that of two at a time one at least sees the other
        try:
            facts = {PARENT: self._compared(network, name)} if name else {}
        except BaseException:
            self.drop(network)
            raise
        self._networks[network.id] = replace(network, facts=facts)
        return facts

    def remember(self, network: Network) -> None:
        """A network of before the restart."""
        self._networks[network.id] = network

    def drop(self, network: Network) -> None:
        """The network is gone."""
        self._networks.pop(network.id, None)

    def _compared(self, network: Network, name: str) -> str:
        for other in list(self._networks.values()):
            if other.id != network.id and other.spec.options.get(PARENT) == name:
                self._share(network, other, name)
        if self._exists(name):
            return FOUND
        master, _ = vlan(name)
        if not self._exists(master):
            raise NotFound(f"-o parent interface was not found on the host: {master}")
        return MADE

    def _share(self, network: Network, other: Network, name: str) -> None:
        if self._alone(network.spec) or self._alone(other.spec):
            raise Conflict(f"network {other.name} is already using parent interface {name}")
        if other.facts.get(PARENT) == MADE:
            raise Forbidden(
                f"network {other.name} is already using parent interface {name}, which was made for it and goes with "
                f"it: make the VLAN link yourself (ip link add link … name {name} type vlan …) to share it"
            )
