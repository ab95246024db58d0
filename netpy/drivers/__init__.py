"""What a network driver is: two pure functions and a few declarations, and hooks for those who must ask the outside.

A driver turns records into wanted state. `network_state(network)` says what must exist for the network
itself, `endpoint_state(network, endpoint)` what must exist for one sandbox plugged into it. Both are pure:
the same records give the same state, today, after a crash, and in a dry run. What to do about the difference
to the kernel's state is not the driver's business.

A driver that must ask somebody outside (a plugin process, a DHCP server) has hooks as well: any of the protocols
`NetworkAcquirer`, `Acquirer`, `Attendant`, `Checker`, `Collector`. Hooks may block. They run outside of every lock but
those of their own network and sandbox, each for `Traits.timeout` seconds at most, and their answers are stored with the
network or the endpoint, so that planning stays pure. In order, for a sandbox:

    acquire ▸ (the kernel is made as endpoint_state says) ▸ connected …
    disconnecting ▸ (the kernel is cleared) ▸ release

What gives back (`release`, `release_network`, `disconnecting`) is called as well when a later step fails, when an
answer came too late, and after a crash: it must succeed when there is nothing left to give back. A dry run calls no
hook: the two functions must bear records without facts.

Drivers are found through the entry points of the group `netpy.drivers`, or by a `Finder` of the group `netpy.finders`
(`netpy.drivers.registry`). The suite that every driver passes is `netpy.testing.DriverContract`. No I/O here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from netpy.diff import State
from netpy.errors import InvalidArgument
from netpy.model import Endpoint, Network, NetworkSpec, Subnet

if TYPE_CHECKING:
    from netpy.drivers.addressing import IpamDriver


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One `-o KEY=VALUE` that a driver understands. `check` raises ValueError with what is wrong.

    `type` is what a user reads in `--help-options`; left empty it follows from `check`. `default` is shown, not
    applied.
    """

    help: str
    check: Callable[[str], object] = str
    default: str = ""
    type: str = ""

    @property
    def kind(self) -> str:
        """The type in a word: `text`, `bool`, `number`, `address`, or what the author says."""
        known = {"str": "text", "boolean": "bool", "int": "number", "float": "number", "ip_address": "address"}
        return self.type or known.get(getattr(self.check, "__name__", ""), "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What the controller has to know of a driver before it asks it anything.

    `addressing`: networks get subnets and endpoints get addresses. `names`: the embedded DNS answers on
    user-defined networks. `single`: only the predefined network of this driver may exist. `host_namespace`:
    the sandbox is the host's own namespace. `interface` is the prefix of interface names in the sandbox.

    For drivers with hooks: `timeout`, seconds that one call may take. `routers`: `acquire` may bring next hops, so that
    an endpoint counts as a way out before it has them, and as none if it gets none. `publishes`: the driver's other
    side opens the host ports itself (`endpoint.ports` says which); they are allocated, but no socket of ours holds
    them. `any_option`: takes `-o` keys that `options` does not name; otherwise an unknown key that is not Docker's own
    (`com.docker.…`) is refused.

    `ports`: published ports can lead to the sandboxes; without, `-p` is passed over, as their addresses can be reached
    from outside anyway. `links`: the kinds of links on a parent (`macvlan`, `ipvlan`, `vlan`) that the kernel has to
    know; where it does not, networks are refused before anything is made.
    """

    addressing: bool = True
    names: bool = True
    single: bool = False
    host_namespace: bool = False
    interface: str = "eth"
    timeout: float = 30.0
    routers: bool = False
    publishes: bool = False
    ports: bool = True
    links: tuple[str, ...] = ()
    any_option: bool = False


@runtime_checkable
class Driver(Protocol):
    """A network driver. `name` is what `--driver` takes; options are checked against `options`."""

    name: str
    traits: Traits
    options: Mapping[str, Option]
    endpoint_options: Mapping[str, Option]

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        """The request with this driver's defaults filled in. InvalidArgument names what is wrong."""
        ...

    def network_state(self, network: Network) -> State:
        """What must exist in the kernel for the network itself."""
        ...

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        """What must exist in the kernel for one endpoint, in the sandbox and on the host."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquiredNetwork:
    """What `acquire_network` brings back. `subnets` only where the network has none yet: addresses come out of them."""

    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    subnets: tuple[Subnet, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """What `acquire` brings back for an endpoint. Only blanks may be filled: what netpy or the user chose stays.

    `facts` are the driver's own, stored and handed back in `endpoint.facts` (keep static routes there, and make `Route`
    objects of them). `addresses` with prefix length, `mac`: where the endpoint has none. `ifname` renames the
    interface, `prefix` does so with the next free number (`ethwe` gives ethwe0); neither if the user asked for a name.
    `routers`: bare next hops of the default routes, one of a family, `0.0.0.0` or `::` where it is on-link. `dns`,
    `search`: name servers and search domains.
    """

    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    addresses: tuple[str, ...] = ()
    mac: str = ""
    ifname: str = ""
    prefix: str = ""
    routers: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


@runtime_checkable
class NetworkAcquirer(Protocol):
    """A driver that tells somebody outside of its networks."""

    def acquire_network(self, network: Network) -> AcquiredNetwork | Mapping[str, str]:
        """The network is about to be made, its subnets are chosen. A plain mapping is facts alone."""
        ...

    def release_network(self, network: Network) -> None:
        """The network is gone, or did not come to be."""
        ...


@runtime_checkable
class Acquirer(Protocol):
    """A driver that gets something from outside for each endpoint, before planning."""

    def acquire(self, network: Network, endpoint: Endpoint) -> Acquired | Mapping[str, str]:
        """What to store with the endpoint; a plain mapping is facts alone. The sandbox's namespace exists.

        `endpoint.ports` are allocated. Any NetpyError undoes the connect.
        """
        ...

    def release(self, network: Network, endpoint: Endpoint) -> None:
        """Give back what `acquire` got. The namespace may be gone."""
        ...


@runtime_checkable
class Attendant(Protocol):
    """A driver that acts when an endpoint is up, beyond what kernel objects say."""

    def connected(self, network: Network, endpoint: Endpoint) -> None:
        """The kernel is as `endpoint_state` says. Again, after `disconnecting`, when gateways or ports change."""
        ...

    def disconnecting(self, network: Network, endpoint: Endpoint) -> None:
        """The kernel is about to be cleared of the endpoint, or its `gateways` or `ports` are about to change."""
        ...


@runtime_checkable
class Checker(Protocol):
    """A driver that can tell of trouble that kernel objects do not show. For `netpy network check`."""

    def check(self, network: Network, endpoints: Sequence[Endpoint]) -> Sequence[str]:
        """A line for each thing that is wrong. Changes nothing."""
        ...


@runtime_checkable
class Collector(Protocol):
    """A driver whose other side may hold what nobody uses any more. For every network, once after each start."""

    def collect(self, network: Network, endpoints: Sequence[Endpoint]) -> None:
        """These endpoints are all that there are: whatever else is kept for the network can go."""
        ...


@runtime_checkable
class Finder(Protocol):
    """Finds drivers that are no Python packages: sockets, executables. Entry points of the group `netpy.finders`.

    Made once, with `Defaults`. A name that is built in or an entry point never gets here. May block as hooks may.
    """

    def names(self) -> Sequence[str]:
        """The network drivers that could be asked for now, for `netpy info`."""
        ...

    def driver(self, name: str) -> Driver | None:
        """The driver of that name, or None. A failure to be told raises a NetpyError; it is asked again later."""
        ...

    def ipam(self, name: str) -> IpamDriver | None:
        """The same for IPAM drivers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the daemon decides for all drivers. `instance` keeps two daemons of one machine apart."""

    instance: str = "netpy"
    mtu: int = 1500
    icc: bool = True
    host_binding: str = "0.0.0.0"
    direct_routing: bool = False
    antispoof: bool = True
    options: Mapping[str, str] = field(default_factory=dict[str, str])


def check_options(given: Mapping[str, str], known: Mapping[str, Option], what: str) -> None:
    """InvalidArgument for the first value that its option refuses. Unknown keys pass, as Docker lets them."""
    for key, value in given.items():
        option = known.get(key)
        if option is None:
            continue
        try:
            option.check(value)
        except ValueError as error:
            raise InvalidArgument(f"invalid {what} option {key}={value}: {error}") from error


def boolean(text: str) -> bool:
    """The booleans that Docker's options take: 1, t, true, 0, f, false, in any case."""
    lowered = text.strip().lower()
    if lowered in {"1", "t", "true"}:
        return True
    if lowered in {"0", "f", "false"}:
        return False
    raise ValueError("must be true or false")
