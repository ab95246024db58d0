"""What a network driver is: two pure functions and a few declarations.

A driver turns records into wanted state. `network_state(network)` says what must exist for the network
itself, `endpoint_state(network, endpoint)` what must exist for one sandbox plugged into it. Both are pure:
the same records give the same state, today, after a crash, and in a dry run. What to do about the difference
to the kernel's state is not the driver's business.

A driver that must ask somebody outside (a plugin process, a DHCP server) does so in `acquire`, which runs once before
planning; its answer is stored with the endpoint as `facts`, so that planning stays pure. `release` gives
back what `acquire` got, and is called again after a crash: it must bear being called twice.

Built-in and foreign drivers alike are found through the entry points of the group `netpy.drivers`
(`netpy.drivers.registry`). The suite that every driver passes is `netpy.testing.DriverContract`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from netpy.diff import State
from netpy.errors import InvalidArgument
from netpy.model import Endpoint, Network, NetworkSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One `-o KEY=VALUE` that a driver understands. `check` raises ValueError with what is wrong."""

    help: str
    check: Callable[[str], object] = str
    default: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What the controller has to know of a driver before it asks it anything.

    `addressing`: networks get subnets and endpoints get addresses. `names`: the embedded DNS answers on
    user-defined networks. `single`: only the predefined network of this driver may exist. `host_namespace`:
    the sandbox is the host's own namespace. `interface` is the prefix of interface names in the sandbox.
    """

    addressing: bool = True
    names: bool = True
    single: bool = False
    host_namespace: bool = False
    interface: str = "eth"


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


@runtime_checkable
class Acquirer(Protocol):
    """A driver that gets something from outside for each endpoint, before planning."""

    def acquire(self, network: Network, endpoint: Endpoint) -> Mapping[str, str]:
        """Facts to store with the endpoint. May block; any NetpyError undoes the connect."""
        ...

    def release(self, network: Network, endpoint: Endpoint) -> None:
        """Give back what `acquire` got. Must succeed when there is nothing left to give back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the daemon decides for all drivers. `instance` keeps two daemons of one machine apart."""

    instance: str = "netpy"
    mtu: int = 1500
    icc: bool = True
    host_binding: str = "0.0.0.0"
    direct_routing: bool = False
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
