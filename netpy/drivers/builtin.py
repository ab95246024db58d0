"""The built-in address manager behind the protocol of all others: pure, first free subnet, first free address.

The controller does not need it: it allocates in place, next fit, under its lock (`netpy.controller.records`). This is
for whoever offers netpy's addresses to somebody else (a plugin of another engine), and it keeps the suite honest.
No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network

from netpy.drivers import Option
from netpy.drivers.addressing import AddressRequest, IpamTraits, PoolGrant, PoolRequest
from netpy.errors import Forbidden
from netpy.ipam import DOCKER_POOLS, OVERLAP, Addresses, Pool, first_free, unsized
from netpy.prefixes import Prefixes


class DefaultIpam:
    """IPAM driver `default`, over the given pools."""

    name = "default"
    traits = IpamTraits(pure=True)
    options: Mapping[str, Option] = {}

    def __init__(self, pools: Sequence[Pool] = DOCKER_POOLS) -> None:
        self._pools = pools

    def request_pool(self, request: PoolRequest) -> PoolGrant:
        avoid = Prefixes(request.avoid)
        pools = [pool for pool in self._pools if pool.family == request.family]
        if request.subnet and not unsized(request.subnet):
            prefix = ip_network(request.subnet)
            if avoid.overlaps(prefix):
                raise Forbidden(OVERLAP)
        else:
            size = ip_network(request.subnet).prefixlen if request.subnet else 0
            prefix = first_free([Pool(base=p.base, size=size or p.size) for p in pools], avoid)
        return PoolGrant(pool=str(prefix), subnet=str(prefix))

    def release_pool(self, pool: str) -> None:
        del pool

    def request_address(self, request: AddressRequest) -> str:
        addresses = Addresses(request.subnet)
        if request.address:
            if request.address in request.taken:
                raise Forbidden(f"Address already in use: {request.address}")
            return addresses.take(request.address)
        while (address := addresses.take()) in request.taken:
            pass
        return address

    def release_address(self, pool: str, address: str) -> None:
        del pool, address
