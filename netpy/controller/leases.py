"""Which address of which network belongs to whom: endpoints' addresses and reservations of stopped containers.

One bitmap per subnet (`netpy.ipam.Addresses`) says what is taken; two tables by address say by whom. An address may be
reserved and in use at once, by the same container; it is free again when it is neither. No I/O, not thread-safe: the
records' lock guards it.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from ipaddress import ip_address

from netpy.errors import Exhausted, Forbidden, InvalidArgument
from netpy.ipam import Addresses
from netpy.model import Family, Network, Subnet

Place = tuple[str, str]  # network id, bare address


class Taken:
    """The addresses of a network that are given to somebody or reserved."""

    def __init__(self, subnets: Sequence[tuple[Subnet, Addresses]]) -> None:
        self._subnets = subnets

    def __contains__(self, address: object) -> bool:
        bare = str(address).partition("/")[0]
        return any(bare in addresses and addresses.is_taken(bare) for _, addresses in self._subnets)


class Leases:
    """The addresses of all networks. A holder is a sandbox's id."""

    def __init__(self) -> None:
        self._subnets: dict[str, list[tuple[Subnet, Addresses]]] = {}
        self._used: dict[Place, str] = {}
        self._reserved: dict[Place, str] = {}

    def open(self, network: Network) -> None:
        """Begin with a network: all of its subnets free, but for what they reserve themselves."""
        self._subnets[network.id] = [(subnet, Addresses(subnet)) for subnet in network.subnets]

    def close(self, network_id: str) -> None:
        """Forget a network and everything in it."""
        self._subnets.pop(network_id, None)
        for table in (self._used, self._reserved):
            for place in [place for place in table if place[0] == network_id]:
                del table[place]

    def lease(self, network_id: str, family: Family, holder: str, address: str = "") -> str:
        """An address of the family with its prefix length: this one, or the next free one.

        Forbidden when somebody else has it, InvalidArgument outside the subnets, Exhausted when there is none left.
        """
        if address:
            return self._lease_static(network_id, holder, str(ip_address(address)))
        failure: Exhausted | None = None
        for subnet, addresses in self._subnets[network_id]:
            if subnet.family != family:
                continue
            try:
                bare = addresses.take()
            except Exhausted as error:
                failure = failure or error
                continue
            self._used[network_id, bare] = holder
            return f"{bare}/{subnet.prefix_length}"
        raise failure or Exhausted(f"no available addresses on this pool: network {network_id[:12]} has no IPv{family}")

    def _lease_static(self, network_id: str, holder: str, bare: str) -> str:
        subnet, addresses = self._find(network_id, bare)
        place = (network_id, bare)
        if place in self._used or self._reserved.get(place, holder) != holder:
            raise Forbidden(f"Address already in use: {bare}")
        if place not in self._reserved:
            addresses.take(bare)
        self._used[place] = holder
        return f"{bare}/{subnet.prefix_length}"

    def give_back(self, network_id: str, cidr: str) -> None:
        """End a lease; succeeds when there is none."""
        place = (network_id, cidr.partition("/")[0])
        if self._used.pop(place, None) is not None and place not in self._reserved:
            self._find(*place)[1].give_back(place[1])

    def restore(self, network_id: str, cidr: str, holder: str) -> None:
        """Note a lease of before the restart, oldest first: allocation goes on behind the last one.

        An address outside of the subnets is none of ours: a driver brought it (`netpy.drivers.Acquired`).
        """
        place = (network_id, cidr.partition("/")[0])
        try:
            addresses = self._find(*place)[1]
        except InvalidArgument:
            return
        addresses.mark(place[1], recent=place not in self._reserved)
        self._used[place] = holder

    def reserve(self, network_id: str, address: str, holder: str) -> None:
        """Keep an address for a holder, in use or not. Forbidden when somebody else has it."""
        place = (network_id, str(ip_address(address)))
        addresses = self._find(*place)[1]
        if {self._used.get(place, holder), self._reserved.get(place, holder)} != {holder}:
            raise Forbidden(f"Address already in use: {place[1]}")
        if place not in self._used and place not in self._reserved:
            addresses.take(place[1])
        self._reserved[place] = holder

    def unreserve(self, network_id: str, address: str) -> None:
        """End a reservation; succeeds when there is none."""
        place = (network_id, str(ip_address(address)))
        if self._reserved.pop(place, None) is not None and place not in self._used:
            self._find(*place)[1].give_back(place[1])

    def taken(self, network_id: str) -> Container[str]:
        """Says of a bare address whether it is taken: `address in taken`."""
        return Taken(self._subnets.get(network_id, []))

    def cursors(self, network_id: str) -> list[int]:
        """Where allocation would go on: to put back after a rehearsal."""
        return [addresses.cursor for _, addresses in self._subnets[network_id]]

    def rewind(self, network_id: str, cursors: list[int]) -> None:
        """Put a network's cursors back."""
        for (_, addresses), cursor in zip(self._subnets[network_id], cursors, strict=True):
            addresses.cursor = cursor

    def _find(self, network_id: str, bare: str) -> tuple[Subnet, Addresses]:
        for subnet, addresses in self._subnets.get(network_id, []):
            if bare in addresses:
                return subnet, addresses
        raise InvalidArgument(f"requested address is out of range: {bare} is in none of this network's subnets")
