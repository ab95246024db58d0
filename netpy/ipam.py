"""Which subnets a network gets and which addresses an endpoint: pure allocation, no I/O.

Subnets. A request is validated as a whole (`validate` names every problem at once), then `allocate` fixes it: what
the user stated is taken, what was left open comes from the pools, first fit in Docker's order. No subnet overlaps one
of another network; one that netpy chooses does not overlap a prefix of the host either, be it on-link or routed (a
VPN's). Routes that are IPv4 /8 or shorter, IPv6 /16 or shorter, are ignored here: `0.0.0.0/0`, the `0.0.0.0/1` and
`128.0.0.0/1` of VPN clients, `10.0.0.0/8`, `2000::/3` say "everything over there", not "this subnet is there", and to
avoid them would leave nothing to give; the longer route of our own bridge wins beside them. A stated subnet is the
user's decision and is held only against other networks.

Addresses. `Addresses` is the bitmap of one subnet, kept as integers of 65,536 bits, made as they are touched: a /16
is one, and a /64 costs no more. Allocation goes on from the last address given (next fit), so that a freed one rests
until all others had their turn: neighbours and resolvers may still believe in it. Network and broadcast address are
never given, but in a /31, /32, /127 or /128 there is none.

What is taken comes as a `Prefixes`, so that neither a search nor a check looks at every network there is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from netpy.errors import Exhausted, Forbidden, InvalidArgument
from netpy.model import Family, NetworkSpec, Subnet, SubnetSpec
from netpy.prefixes import Prefix, Prefixes

Address = IPv4Address | IPv6Address

OVERLAP = "invalid pool request: Pool overlaps with other one on this address space"
_IGNORED: Mapping[int, int] = {4: 8, 6: 16}
_CHUNK = 1 << 16
_BITS: Mapping[int, int] = {4: 32, 6: 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Where default subnets come from: `base` in CIDR, cut into subnets of prefix length `size`."""

    base: str
    size: int

    @property
    def family(self) -> Family:
        return 6 if ":" in self.base else 4


DOCKER_POOLS: tuple[Pool, ...] = (
    *(Pool(base=base, size=16) for base in ("172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16")),
    *(Pool(base=base, size=16) for base in ("172.20.0.0/14", "172.24.0.0/14", "172.28.0.0/14")),
    Pool(base="192.168.0.0/16", size=20),
)


def checked_pools(pools: Iterable[Pool]) -> tuple[Pool, ...]:
    """The pools in canonical form. InvalidArgument for a base that is no prefix or a size that does not fit."""
    checked: list[Pool] = []
    for pool in pools:
        try:
            base = ip_network(pool.base)
        except ValueError as error:
            raise InvalidArgument(f"invalid default address pool {pool.base}: {error}") from error
        if not base.prefixlen <= pool.size <= _BITS[base.version]:
            raise InvalidArgument(f"invalid default address pool {pool.base}: it cannot be cut into /{pool.size}")
        checked.append(Pool(base=str(base), size=pool.size))
    return tuple(checked)


def ula_pool(host_id: str) -> Pool:
    """The host's own IPv6 pool: fd00::/8 and 40 bits of the hash of `host_id` (RFC 4193), cut into /64."""
    digest = hashlib.sha256(host_id.encode()).digest()[:5]
    base = IPv6Network((b"\xfd" + digest + bytes(10), 48))
    return Pool(base=str(base), size=64)


def mac_of(address: str) -> str:
    """A MAC that belongs to an address: 02:42 and the four octets; for IPv6, four bytes of its hash."""
    parsed = ip_address(address)
    tail = parsed.packed if parsed.version == 4 else hashlib.sha256(parsed.packed).digest()[:4]
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *tail))


def mac_for(id: str) -> str:
    """A MAC for an endpoint that has no address to derive one from: 02:42 and four bytes of the hash of its id."""
    tail = hashlib.sha256(id.encode()).digest()[:4]
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *tail))


def link_local(mac: str) -> str:
    """The IPv6 address of link scope that a kernel makes of a MAC, unless told otherwise (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    tail = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return str(ip_address(bytes.fromhex("fe80000000000000") + tail))


# ---- subnets -----------------------------------------------------------------------------------------------------


def validate(spec: NetworkSpec) -> None:
    """InvalidArgument with every problem of the stated subnets, a line each. Disabled families are not looked at."""
    problems = [problem for subnet in spec.subnets for problem in _problems(spec, subnet)]
    if problems:
        raise InvalidArgument("\n".join(("invalid network config:", *problems)))


def allocate(
    spec: NetworkSpec, *, pools: Sequence[Pool], networks: Prefixes, host: Iterable[str]
) -> tuple[Subnet, ...]:
    """The subnets of a new network, IPv4 before IPv6. `networks` and `host` are the prefixes to avoid.

    InvalidArgument for a malformed request, Forbidden for an overlap, Exhausted when the pools are.
    """
    validate(spec)
    avoided = Prefixes(narrow(text for text in host if text not in networks))
    made = Prefixes()
    enabled: list[Family] = [*([4] if spec.ipv4 else []), *([6] if spec.ipv6 else [])]
    subnets: list[Subnet] = []
    for family in enabled:
        stated = [s for s in spec.subnets if s.subnet and _family(s.subnet) == family] or [SubnetSpec()]
        for request in stated:
            prefix = _prefix(request, family, pools, (networks, made, avoided))
            made.add(str(prefix))
            subnets.append(_settled(request, prefix))
    return tuple(subnets)


def narrow(host: Iterable[str]) -> list[str]:
    """Those of the host's prefixes that a subnet must not overlap: without routes that say "everything over there"."""
    return [text for text in host if (prefix := ip_network(text)).prefixlen > _IGNORED[prefix.version]]


def unsized(subnet: str) -> bool:
    """Whether a stated subnet is only a size: `0.0.0.0/24`, `::/96`."""
    return _any_of_size(ip_network(subnet))


def first_free(pools: Iterable[Pool], *taken: Prefixes) -> Prefix:
    """The first subnet of the pools that overlaps nothing. Exhausted when there is none."""
    for pool in pools:
        base = ip_network(pool.base)
        step = 1 << base.max_prefixlen - pool.size
        at, last = int(base.network_address), int(base.broadcast_address)
        while at < last + 1:
            ends = [each.taken_until(base.version, at, at + step - 1) for each in taken]
            blocked = [end for end in ends if end is not None]
            if not blocked:
                return type(base)((at, pool.size))
            at = (max(blocked) // step + 1) * step
    raise Exhausted("all predefined address pools have been fully subnetted")


def _prefix(
    request: SubnetSpec, family: Family, pools: Sequence[Pool], taken: tuple[Prefixes, Prefixes, Prefixes]
) -> Prefix:
    networks, made, _ = taken
    usable = [pool for pool in pools if pool.family == family]
    if request.subnet:
        prefix = ip_network(request.subnet)
        if not _any_of_size(prefix):
            if networks.overlaps(prefix) or made.overlaps(prefix):
                raise Forbidden(OVERLAP)
            return prefix
        size = prefix.prefixlen
        usable = [Pool(base=p.base, size=size) for p in usable if ip_network(p.base).prefixlen <= size]
    return first_free(usable, *taken)


def _settled(request: SubnetSpec, prefix: Prefix) -> Subnet:
    """The subnet with its gateway: the one stated, else the first address, of the range if there is one."""
    aux = {name: str(ip_address(text)) for name, text in request.aux_addresses.items()}
    open_ended = Subnet(subnet=str(prefix), ip_range=str(ip_network(request.ip_range)) if request.ip_range else "")
    addresses = Addresses(open_ended)
    gateway = ""
    if request.gateway:
        gateway = str(ip_address(request.gateway))
        _reserve(addresses, gateway, f"gateway ({gateway})")
    for name, address in aux.items():
        _reserve(addresses, address, f"secondary ip address ({name}:{address})")
    return replace(open_ended, gateway=gateway or addresses.take(), aux_addresses=aux)


def _reserve(addresses: Addresses, address: str, what: str) -> None:
    try:
        addresses.take(address)
    except (Forbidden, InvalidArgument) as error:
        raise type(error)(f"failed to allocate {what}: {error}") from error


def _any_of_size(prefix: Prefix) -> bool:
    """`0.0.0.0/24`, `::/96`: any subnet of that size."""
    return prefix.network_address.is_unspecified and prefix.prefixlen > 0


def _overlap(one: Prefix, other: Prefix) -> bool:
    return one.version == other.version and one.overlaps(other)


def _family(text: str) -> Family:
    return 6 if ":" in text else 4


def _problems(spec: NetworkSpec, given: SubnetSpec) -> Iterator[str]:
    if not given.subnet:
        if given.ip_range or given.gateway or given.aux_addresses:
            yield "every ip-range, gateway or auxiliary address must have a corresponding subnet"
        return
    if not (spec.ipv6 if _family(given.subnet) == 6 else spec.ipv4):
        return
    subnet = _parsed_prefix(given.subnet)
    if subnet is None or "/" not in given.subnet or subnet.prefixlen == 0:
        yield f"invalid subnet {given.subnet}: invalid CIDR block notation"
        return
    if str(subnet) != _canonical(given.subnet):
        yield f"invalid subnet {given.subnet}: it should be {subnet}"
    if given.ip_range:
        yield from _range_problems(given.ip_range, subnet)
    yield from _address_problems(given, subnet)


def _address_problems(given: SubnetSpec, subnet: Prefix) -> Iterator[str]:
    stated = [("gateway", given.gateway)] if given.gateway else []
    stated += [("auxiliary address", address) for address in given.aux_addresses.values()]
    for what, text in stated:
        address = _parsed_address(text)
        if address is None:
            yield f"invalid {what} {text}: invalid address"
        elif address not in subnet:
            yield f"invalid {what} {text}: parent subnet {subnet} doesn't contain this address"


def _range_problems(text: str, subnet: Prefix) -> Iterator[str]:
    inner = _parsed_prefix(text)
    if inner is None or "/" not in text:
        yield f"invalid ip-range {text}: invalid CIDR block notation"
        return
    if inner.version == subnet.version and inner.prefixlen < subnet.prefixlen:
        yield f"invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"
    elif str(inner) != _canonical(text):
        yield f"invalid ip-range {text}: it should be {inner}"
    elif not _overlap(inner, subnet):
        yield f"invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"


def _parsed_prefix(text: str) -> Prefix | None:
    if not text.rpartition("/")[2].isdecimal() or "%" in text:
        return None  # ipaddress would take a netmask, or a scope, as well
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _parsed_address(text: str) -> Address | None:
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def _canonical(text: str) -> str:
    """The text with its address as `ipaddress` writes it, host bits kept."""
    address, _, length = text.partition("/")
    return f"{ip_address(address)}/{int(length)}"


# ---- addresses ---------------------------------------------------------------------------------------------------


class Addresses:
    """Which addresses of one subnet are taken. Not thread-safe: whoever decides holds a lock."""

    __slots__ = ("_base", "_chunks", "_cursor", "_high", "_low", "_prefix")

    def __init__(self, subnet: Subnet) -> None:
        self._prefix = ip_network(subnet.subnet)
        self._base = int(self._prefix.network_address)
        self._chunks: dict[int, int] = {}
        span = ip_network(subnet.ip_range) if subnet.ip_range else self._prefix
        self._low = int(span.network_address) - self._base
        self._high = self._low + span.num_addresses
        self._cursor = self._low
        bits = self._prefix.max_prefixlen
        if bits - self._prefix.prefixlen > 1:
            self._set(0)
            if bits == 32:
                self._set(self._prefix.num_addresses - 1)
        for address in (subnet.gateway, *subnet.aux_addresses.values()):
            if address:
                self.mark(address)

    def __contains__(self, address: str) -> bool:
        """Whether the address lies in the subnet, taken or not."""
        return ip_address(address) in self._prefix

    def take(self, address: str = "") -> str:
        """Take this address, or the next free one of the range. Returns it, bare.

        InvalidArgument outside the subnet, Forbidden when it is taken, Exhausted when nothing is free.
        """
        if address:
            offset = self._offset(address)
            if self._is_set(offset):
                raise Forbidden(f"Address already in use: {address}")
        else:
            offset = self._next_free()
            self._cursor = offset + 1 if offset + 1 < self._high else self._low
        self._set(offset)
        return self._text(offset)

    def mark(self, address: str, *, recent: bool = False) -> None:
        """Take the address if it is free. `recent`: allocation goes on behind it, as after `take()`."""
        offset = self._offset(address)
        self._set(offset)
        if recent and self._low <= offset < self._high:
            self._cursor = offset + 1 if offset + 1 < self._high else self._low

    def is_taken(self, address: str) -> bool:
        """Whether the address is given to somebody, or reserved."""
        return self._is_set(self._offset(address))

    def give_back(self, address: str) -> None:
        """Free the address; succeeds when it is free."""
        index, bit = divmod(self._offset(address), _CHUNK)
        self._chunks[index] = self._chunks.get(index, 0) & ~(1 << bit)

    @property
    def cursor(self) -> int:
        """Where the next search begins; together with what is taken, all that there is to know."""
        return self._cursor

    @cursor.setter
    def cursor(self, value: int) -> None:
        self._cursor = value

    def _next_free(self) -> int:
        for start, stop in ((self._cursor, self._high), (self._low, self._cursor)):
            found = self._first_clear(start, stop)
            if found is not None:
                return found
        raise Exhausted(f"no available addresses on this pool: {self._prefix}")

    def _first_clear(self, start: int, stop: int) -> int | None:
        """The lowest free offset of start ≤ offset < stop. The cost is that of a few operations on 8 KiB integers."""
        while start < stop:
            index, bit = divmod(start, _CHUNK)
            taken = self._chunks.get(index, 0) >> bit
            lowest = (~taken & (taken + 1)).bit_length() - 1
            if bit + lowest < _CHUNK:
                return start + lowest if start + lowest < stop else None
            start = (index + 1) * _CHUNK
        return None

    def _offset(self, address: str) -> int:
        parsed = ip_address(address)
        if parsed not in self._prefix:
            raise InvalidArgument(f"requested address is out of range: {address} is not in {self._prefix}")
        return int(parsed) - self._base

    def _text(self, offset: int) -> str:
        return str(self._prefix.network_address + offset)

    def _set(self, offset: int) -> None:
        index, bit = divmod(offset, _CHUNK)
        self._chunks[index] = self._chunks.get(index, 0) | 1 << bit

    def _is_set(self, offset: int) -> bool:
        index, bit = divmod(offset, _CHUNK)
        return bool(self._chunks.get(index, 0) >> bit & 1)
