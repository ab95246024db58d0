"""What dockerd asks of an IPAM driver, answered by our allocator; pools and addresses are kept in the store.

A pool is a record, and so is each address of it that is taken, so that a plugin that was killed knows what dockerd
thinks it has: no replay is asked for. Releasing what is not there is a success.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from netpy import NetworkSpec, Pool, Store, Subnet, SubnetSpec
from netpy.errors import InvalidArgument, NotFound
from netpy.ipam import Addresses, allocate
from netpy.prefixes import Prefixes
from netpy.store import decode, encode

Json = dict[str, Any]
POOL, ADDRESS = "docker-pool", "docker-address"
LOCAL, GLOBAL = "netpy-local", "netpy-global"
NOTHING: Json = {}


class AddressCalls:
    """The methods of IpamDriver, by their names. `taken` tells the subnets of networks, `host` those of the host."""

    def __init__(
        self,
        store: Store,
        pools: Sequence[Pool],
        taken: Callable[[], Sequence[str]],
        host: Callable[[], Sequence[str]],
    ) -> None:
        self._store = store
        self._default = tuple(pools)
        self._taken = taken
        self._host = host
        self._lock = threading.Lock()
        self._pools: dict[str, tuple[Subnet, Addresses]] = {}
        for id, body in store.all(POOL):
            subnet = decode(Subnet, body)
            self._pools[id] = subnet, Addresses(subnet)
        for _, body in store.all(ADDRESS):
            if body["pool"] in self._pools:
                self._pools[body["pool"]][1].mark(body["address"], recent=True)

    def GetCapabilities(self, body: Json) -> Json:
        return {"RequiresMACAddress": False, "RequiresRequestReplay": False}

    def GetDefaultAddressSpaces(self, body: Json) -> Json:
        return {"LocalDefaultAddressSpace": LOCAL, "GlobalDefaultAddressSpace": GLOBAL}

    def RequestPool(self, body: Json) -> Json:
        space, asked = body.get("AddressSpace"), str(body.get("Pool") or "")
        if space not in (LOCAL, GLOBAL):
            raise InvalidArgument(f"invalid address space: {space}")
        part = str(body.get("SubPool") or "")
        if part and not asked:
            raise InvalidArgument("invalid address subpool: a subpool needs a pool")
        six = body.get("V6") is True
        spec = NetworkSpec(name="pool", ipv4=not six, ipv6=six, subnets=(SubnetSpec(subnet=asked, ip_range=part),))
        if not asked:
            spec = NetworkSpec(name="pool", ipv4=not six, ipv6=six)
        with self._lock:
            others = Prefixes([*self._taken(), *(subnet.subnet for subnet, _ in self._pools.values())])
            made = allocate(spec, pools=self._default, networks=others, host=self._host())[0]
            subnet = Subnet(subnet=made.subnet, ip_range=part)  # the gateway is requested like any other address
            id = f"{space}/{subnet.subnet}"
            self._store.put(POOL, id, encode(subnet))
            self._pools[id] = subnet, Addresses(subnet)
        return {"PoolID": id, "Pool": subnet.subnet, "Data": NOTHING}

    def ReleasePool(self, body: Json) -> Json:
        id = str(body.get("PoolID") or "")
        with self._lock, self._store.transaction() as transaction:
            transaction.delete(POOL, id)
            for key, record in transaction.all(ADDRESS):
                if record["pool"] == id:
                    transaction.delete(ADDRESS, key)
            self._pools.pop(id, None)
        return NOTHING

    def RequestAddress(self, body: Json) -> Json:
        id = str(body.get("PoolID") or "")
        with self._lock:
            if id not in self._pools:
                raise NotFound(f"address space does not contain specified address pool: {id}")
            subnet, addresses = self._pools[id]
            address = addresses.take(str(body.get("Address") or ""))
            try:
                self._store.put(ADDRESS, f"{id} {address}", {"pool": id, "address": address})
            except BaseException:
                addresses.give_back(address)
                raise
        return {"Address": f"{address}/{subnet.prefix_length}", "Data": NOTHING}

    def ReleaseAddress(self, body: Json) -> Json:
        id, address = str(body.get("PoolID") or ""), str(body.get("Address") or "").partition("/")[0]
        with self._lock:
            if id in self._pools and address:
                self._store.delete(ADDRESS, f"{id} {address}")
                self._pools[id][1].give_back(address)
        return NOTHING
