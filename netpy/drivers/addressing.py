"""What an address manager (an IPAM driver) is: four requests, for pools and for addresses in them.

The built-in one, `default`, needs none of this: it decides under the records' lock, in microseconds (`netpy.ipam`).
`null` is the other one: no subnets, no addresses. All others are found by the entry points of the group `netpy.ipam`,
or by a `netpy.drivers.Finder`, and are asked through the protocol here. There are two sorts of them:

* `pure=False`, the ordinary case: the driver asks somebody outside. Its requests run outside of every lock, with a
  time-out, and what it grants is stored, so that planning stays pure. Whatever it granted for something that then fails
  is released again. `release_*` must succeed when there is nothing left to release.
* `pure=True`: its answers depend on the request alone, which tells what is taken. It is asked under the records' lock,
  so that no two requests cross, must not block, and is never asked to release anything: our records are its memory.

Either way netpy refuses a grant that is malformed, outside of its pool, or somebody else's already; and keeps what is
in use in its own records, so that a driver that forgets cannot hand out an address twice. No I/O here.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from netpy.drivers import Option
from netpy.model import Family, Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class IpamTraits:
    """What the controller has to know of an IPAM driver.

    `pure` as above. `replay`: after a restart every pool and address in use is requested again. `timeout`: seconds that
    a request may take. `any_option`: takes `--ipam-opt` keys that `options` does not name.
    """

    pure: bool = False
    replay: bool = False
    timeout: float = 30.0
    any_option: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequest:
    """Somebody creates a network: a subnet for one family of it.

    `subnet` and `ip_range` are what the user stated, canonical, or empty: choose. `avoid` are the prefixes that the
    answer must not overlap: other networks', and if `subnet` is empty the host's as well. `options` are the
    `--ipam-opt`.
    """

    network_id: str
    network: str
    family: Family
    subnet: str = ""
    ip_range: str = ""
    avoid: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolGrant:
    """The answer: `pool` is the driver's own name of it, `subnet` in CIDR.

    `gateway`, a bare address, where the driver decides on one; otherwise netpy requests one, with kind "gateway".
    """

    pool: str
    subnet: str
    gateway: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRequest:
    """One address of a pool. `address`, bare, is the one wanted, or empty: choose.

    `kind`: for an endpoint, the subnet's gateway, or an auxiliary address that is to be left alone. `mac` and `name`
    (the owner's) are set for endpoints. `taken` answers `"10.0.0.5" in taken`, for addresses of this pool.
    """

    network_id: str
    subnet: Subnet
    address: str = ""
    kind: Literal["endpoint", "gateway", "auxiliary"] = "endpoint"
    mac: str = ""
    name: str = ""
    taken: Container[str] = ()
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def pool(self) -> str:
        """What `request_pool` called the subnet."""
        return self.subnet.pool


@runtime_checkable
class IpamDriver(Protocol):
    """An address manager. `name` is what `--ipam-driver` takes; `--ipam-opt` are checked against `options`.

    Raise `Exhausted` when nothing is free, `Forbidden` for an address in use, `InvalidArgument` for a bad request.
    """

    name: str
    traits: IpamTraits
    options: Mapping[str, Option]

    def request_pool(self, request: PoolRequest) -> PoolGrant:
        """A subnet for a network."""
        ...

    def release_pool(self, pool: str) -> None:
        """The network is gone, or never came to be."""
        ...

    def request_address(self, request: AddressRequest) -> str:
        """An address, bare or with its prefix length; the one wanted, if one is."""
        ...

    def release_address(self, pool: str, address: str) -> None:
        """A bare address is free again."""
        ...
