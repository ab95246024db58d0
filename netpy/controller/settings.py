"""What the daemon decides for all networks: plain values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from netpy.ipam import DOCKER_POOLS, Pool, checked_pools, ula_pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The daemon's network settings.

    `instance` marks what is ours in the kernel. `default_pools` are cut up for networks that state no subnet;
    where none of them is IPv6, `ipv6_base` (a /48 in CIDR) is cut into /64s, and where that is empty it is derived
    from `host_id`. `default_bridge` is the device of the network `bridge`, `bip` its address with prefix length
    (empty: from the pools). `host_binding` is the host address of ports published without one. `ip_forward`: switch
    forwarding on.
    """

    instance: str = "netpy"
    default_pools: tuple[Pool, ...] = DOCKER_POOLS
    ipv6_base: str = ""
    host_id: str = ""
    default_bridge: str = "netpy0"
    bip: str = ""
    host_binding: str = "0.0.0.0"
    ip_forward: bool = True
    icc: bool = True
    masquerade: bool = True
    mtu: int = 1500

    def pools(self) -> tuple[Pool, ...]:
        """Every pool, of both families, checked. InvalidArgument names one that is malformed."""
        return _pools(self)


@cache
def _pools(settings: Settings) -> tuple[Pool, ...]:
    pools = checked_pools(settings.default_pools)
    if any(pool.family == 6 for pool in pools):
        return pools
    base = settings.ipv6_base
    own = Pool(base=base, size=64) if base else ula_pool(settings.host_id or settings.instance)
    return (*pools, *checked_pools([own]))
