"""The records: every network, endpoint and reservation, in memory for speed and in the store for good.

The store is the durable copy; memory is indexed, so that no operation on one endpoint looks at the others. A change is
written to the store first, in one transaction, and to memory when that succeeded. Everything here is done under
`lock`, which guards memory and is held for short: no kernel I/O under it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from netpy.controller.leases import Leases
from netpy.errors import InvalidArgument, NetpyError, NotFound
from netpy.firewall.ports import Ports
from netpy.model import Endpoint, Network
from netpy.prefixes import Prefixes
from netpy.store import Json, Store, Transaction, decode, encode

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Static addresses of one network, bare, that are kept for a holder that may not be running."""

    network_id: str
    holder: str
    addresses: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.network_id}/{self.holder}"


READERS: Mapping[str, Callable[[Json], Any]] = {
    "network": partial(decode, Network),
    "endpoint": partial(decode, Endpoint),
    "reservation": partial(decode, Reservation),
    "sandbox": lambda body: int(body["dns_port"]),
}
"""What the controller keeps in the store, by kind, and how it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plug:
    """A network and an endpoint in it: what drivers are asked about."""

    network: Network
    endpoint: Endpoint


class Records:
    """Networks and endpoints of every phase, by all the ways they are looked for."""

    def __init__(self, store: Store, ports: Ports) -> None:
        self.lock = threading.RLock()
        self.leases = Leases()
        self.subnets = Prefixes()  # of all networks, so that nobody has to go through them
        self.ports = ports
        self._store = store
        self._networks: dict[str, Network] = {}
        self._by_name: dict[str, str] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._in_network: dict[str, dict[str, None]] = {}
        self._in_sandbox: dict[str, dict[str, None]] = {}
        self._reservations: dict[str, Reservation] = {}
        self._dns_ports: dict[str, int] = {}
        self._owed: set[str] = set()  # endpoints whose records could not be dropped
        self._owed_networks: set[str] = set()
        self._sequence = 0
        self._load()

    # ---- looking -------------------------------------------------------------------------------------------------

    def networks(self) -> list[Network]:
        """Those of every phase, oldest first."""
        return list(self._networks.values())

    def find(self, ref: str) -> Network:
        """The active network of that id, else of that name, else of that unique beginning of an id."""
        id = ref if ref in self._networks else self._by_name.get(ref, "")
        if not id:
            ids = [each for each in self._networks if ref and each.startswith(ref)]
            if len(ids) > 1:
                raise InvalidArgument(f"network {ref} is ambiguous ({len(ids)} matches found based on ID prefix)")
            id = ids[0] if ids else ""
        found = self._networks.get(id)
        if found is None or found.phase != "active":
            raise NotFound(f"network {ref} not found")
        return found

    def named(self, name: str) -> Network | None:
        """The network of that very name, whatever its phase."""
        return self._networks.get(self._by_name.get(name, ""))

    def endpoints(self, *, network_id: str = "", sandbox_id: str = "") -> list[Endpoint]:
        """Those of every phase, in the order in which they were attached; of one network, one sandbox, or all."""
        if sandbox_id:
            found = [self._endpoints[id] for id in self._in_sandbox.get(sandbox_id, ())]
            found = [each for each in found if network_id in ("", each.network_id)]
        elif network_id:
            found = [self._endpoints[id] for id in self._in_network.get(network_id, ())]
        else:
            found = list(self._endpoints.values())
        return sorted(found, key=lambda each: each.sequence)

    def in_use(self, network_id: str) -> bool:
        return bool(self._in_network.get(network_id))

    def plugs(self, sandbox_id: str) -> tuple[Plug, ...]:
        """The sandbox's endpoints with their networks, in attach order."""
        endpoints = self.endpoints(sandbox_id=sandbox_id)
        return tuple(Plug(network=self._networks[each.network_id], endpoint=each) for each in endpoints)

    def sandbox_ids(self) -> list[str]:
        return list(self._in_sandbox)

    def dns_port(self, sandbox_id: str) -> int:
        """The port that the name server has in the sandbox; 0 where it has none yet."""
        return self._dns_ports.get(sandbox_id, 0)

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    # ---- writing -------------------------------------------------------------------------------------------------

    def save_network(self, network: Network) -> None:
        """Add or replace a network; its addresses begin to be given out when its subnets are new."""
        with self._store.transaction() as transaction:
            for id in self._owed_networks:
                transaction.delete("network", id)
            transaction.put("network", network.id, encode(network))
        self._owed_networks.clear()
        self._remember_network(network)

    def keep_network(self, network: Network) -> None:
        """It could not be dropped: in memory it is what it was, and after a restart what the store says of it."""
        self._networks[network.id] = network

    def drop_network(self, network: Network) -> None:
        """Forget a network and the reservations in it."""
        gone = [each for each in self._reservations.values() if each.network_id == network.id]
        with self._store.transaction() as transaction:
            transaction.delete("network", network.id)
            for reservation in gone:
                transaction.delete("reservation", reservation.id)
        for reservation in gone:
            del self._reservations[reservation.id]
        self._forget_network(network)

    def abandon_network(self, network: Network) -> None:
        """Forget a network that never came to be. Where the disk is full its record goes with the next change."""
        try:
            self.drop_network(network)
        except NetpyError as error:
            logger.warning("network %s: %s", network.name, error)
            self._owed_networks.add(network.id)
            self._forget_network(network)

    def _forget_network(self, network: Network) -> None:
        known = self._networks.pop(network.id, None)
        if self._by_name.get(network.name) == network.id:
            del self._by_name[network.name]
        self.leases.close(network.id)
        for subnet in known.subnets if known else ():
            self.subnets.discard(subnet.subnet)

    def _remember_network(self, network: Network) -> None:
        known = self._networks.get(network.id)
        if known is None or known.subnets != network.subnets:
            self.leases.open(network)
            for subnet in known.subnets if known else ():
                self.subnets.discard(subnet.subnet)
            for subnet in network.subnets:
                self.subnets.add(subnet.subnet)
        self._networks[network.id] = network
        self._by_name[network.name] = network.id

    def save_endpoints(
        self, endpoints: Iterable[Endpoint], *, drop: Sequence[Endpoint] = (), dns_port: int = 0
    ) -> None:
        """Add, replace and drop endpoints of one sandbox in one transaction. Addresses of the dropped become free."""
        endpoints = list(endpoints)
        try:
            self._write_endpoints(endpoints, drop, dns_port)
        except BaseException:
            self._owed.update(endpoint.id for endpoint in drop)
            raise
        for endpoint in endpoints:
            self.remember(endpoint)
            if dns_port:
                self._dns_ports[endpoint.sandbox.id] = dns_port
        for endpoint in drop:
            self.forget(endpoint)

    def _write_endpoints(self, endpoints: Sequence[Endpoint], drop: Sequence[Endpoint], dns_port: int) -> None:
        """In the store. What could not be dropped earlier (the disk was full) and is not known any more goes, too."""
        with self._store.transaction() as transaction:
            for id in self._owed - self._endpoints.keys():
                transaction.delete("endpoint", id)
            for endpoint in endpoints:
                self._put_endpoint(transaction, endpoint)
                if dns_port:
                    transaction.put("sandbox", endpoint.sandbox.id, {"dns_port": dns_port})
            for endpoint in drop:
                transaction.delete("endpoint", endpoint.id)
                if self._is_last(endpoint, drop):
                    transaction.delete("sandbox", endpoint.sandbox.id)
        self._owed &= self._endpoints.keys()

    def _put_endpoint(self, transaction: Transaction, endpoint: Endpoint) -> None:
        known = self._endpoints.get(endpoint.id)
        is_same = known is not None and replace(known, phase=endpoint.phase) == endpoint
        # A thousand published ports are 200 KB, which are not written again to say that they are published now.
        if not (is_same and transaction.set("endpoint", endpoint.id, {"phase": endpoint.phase})):
            transaction.put("endpoint", endpoint.id, encode(endpoint))

    def remember(self, endpoint: Endpoint) -> None:
        """Add or replace an endpoint in memory only."""
        self._endpoints[endpoint.id] = endpoint
        self._in_network.setdefault(endpoint.network_id, {})[endpoint.id] = None
        self._in_sandbox.setdefault(endpoint.sandbox.id, {})[endpoint.id] = None

    def forget(self, endpoint: Endpoint) -> None:
        """Drop an endpoint from memory only, and give its addresses back."""
        if self._endpoints.pop(endpoint.id, None) is None:
            return
        for index, key in ((self._in_network, endpoint.network_id), (self._in_sandbox, endpoint.sandbox.id)):
            index[key].pop(endpoint.id, None)
            if not index[key]:
                del index[key]
        if endpoint.sandbox.id not in self._in_sandbox:
            self._dns_ports.pop(endpoint.sandbox.id, None)
        for address in endpoint.addresses:
            self.leases.give_back(endpoint.network_id, address)

    # ---- reservations --------------------------------------------------------------------------------------------

    def reserve(self, reservation: Reservation) -> None:
        """Keep these addresses, and no others of this network, for the holder. All or nothing."""
        old = self._reservations.get(reservation.id)
        kept = old.addresses if old else ()
        fresh = [address for address in reservation.addresses if address not in kept]
        made: list[str] = []
        try:
            for address in fresh:
                self.leases.reserve(reservation.network_id, address, reservation.holder)
                made.append(address)
            self._store.put("reservation", reservation.id, encode(reservation))
        except BaseException:
            for address in made:
                self.leases.unreserve(reservation.network_id, address)
            raise
        for address in set(kept) - set(reservation.addresses):
            self.leases.unreserve(reservation.network_id, address)
        self._reservations[reservation.id] = reservation

    def unreserve(self, holder: str, network_id: str = "") -> None:
        """Let go what is kept for the holder, in one network or in all."""
        gone = [
            each
            for each in self._reservations.values()
            if each.holder == holder and network_id in ("", each.network_id)
        ]
        with self._store.transaction() as transaction:
            for reservation in gone:
                transaction.delete("reservation", reservation.id)
        for reservation in gone:
            del self._reservations[reservation.id]
            for address in reservation.addresses:
                self.leases.unreserve(reservation.network_id, address)

    def reserved(self, holder: str) -> list[Network]:
        """The networks in which something is kept for the holder."""
        return [self._networks[each.network_id] for each in self._reservations.values() if each.holder == holder]

    # ---- start ---------------------------------------------------------------------------------------------------

    def _is_last(self, endpoint: Endpoint, dropped: Sequence[Endpoint]) -> bool:
        return set(self._in_sandbox.get(endpoint.sandbox.id, ())) <= {each.id for each in dropped}

    def _load(self) -> None:
        for _, network in self._store.load("network", READERS["network"]):
            self._remember_network(network)
        for _, reservation in self._store.load("reservation", READERS["reservation"]):
            self._reservations[reservation.id] = reservation
            for address in reservation.addresses:
                self.leases.reserve(reservation.network_id, address, reservation.holder)
        self._dns_ports = dict(self._store.load("sandbox", READERS["sandbox"]))
        endpoints = [endpoint for _, endpoint in self._store.load("endpoint", READERS["endpoint"])]
        self._load_endpoints(each for each in endpoints if each.network_id in self._networks)

    def _load_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in sorted(endpoints, key=lambda each: each.sequence):
            self._sequence = endpoint.sequence
            self.remember(endpoint)
            for address in endpoint.addresses:
                self.leases.restore(endpoint.network_id, address, endpoint.sandbox.id)
            for port in endpoint.ports:
                if port.host_port:
                    self.ports.give(port.protocol, port.host_ip, port.host_port)
