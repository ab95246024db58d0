"""`create`: podman's draft of a network, completed, or refused with what is wrong with it.

podman does not tell its plugins which networks there are already, nor when one is removed. So a subnet is not chosen
from the first that are free, which would be the same for two networks that nobody uses yet: where the search begins
follows from the network's id. What is in use on this machine is avoided. Two that clash nevertheless are told of when
the second is used. Pure, but for the drivers that are asked and the host's prefixes.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from netpy import InvalidArgument, NetworkSpec, Pool, Subnet
from netpy.drivers import Driver
from netpy.drivers.guard import refuse_unknown
from netpy.ipam import allocate, ula_pool
from netpy.oneshot import Session
from netpy.prefixes import Prefixes
from netpy_as_netavark.messages import DRIVER, Json, checked_network, driver_options, ipam_driver, network_spec

_GUESSES = 64


def complete(session: Session, document: object) -> Json:
    """The network as podman is to store it. InvalidArgument, Forbidden, NotFound or Unsupported: why not."""
    network = checked_network(document)
    spec = network_spec(network)
    driver = session.drivers.seek(spec.driver)
    _check_options(network, driver)
    addressed = driver.traits.addressing and ipam_driver(network) != "none"
    if spec.subnets and not addressed:
        raise InvalidArgument(f"network {network['name']}: subnets are stated, but {_why_not(driver)}")
    completed = {**network, "ipam_options": {**(network.get("ipam_options") or {}), "driver": "none"}}
    if addressed:
        completed["ipam_options"]["driver"] = "host-local"
        completed |= _addressed(session, network, spec)
    if spec.driver == "bridge" and not network.get("network_interface"):
        completed["network_interface"] = f"npy-{network['id'][:10]}"
    completed["dns_enabled"] = bool(network.get("dns_enabled")) and driver.traits.names
    session.controller.plan_network(network_spec(completed))
    return completed


def _check_options(network: Json, driver: Driver) -> None:
    options, _ = driver_options(network)
    known = {**driver.options, "mtu": None, DRIVER: None}
    refuse_unknown(f"netpy ({driver.name})", options, known, any_option=driver.traits.any_option)  # pyright: ignore[reportArgumentType]


def _addressed(session: Session, network: Json, spec: NetworkSpec) -> Json:
    """The fields about addresses. What the user stated stays; a family without a subnet gets one."""
    stated = {6 if ":" in each.subnet else 4 for each in spec.subnets}
    wanted = replace(spec, ipv4=4 in stated or not stated, ipv6=6 in stated or bool(network.get("ipv6_enabled")))
    taken = [subnet.subnet for each in session.controller.networks() for subnet in each.subnets]
    made = allocate(wanted, pools=_pools(network["id"]), networks=Prefixes(taken), host=session.kernel.host_prefixes())
    asked = {each["subnet"]: each for each in network.get("subnets") or []}
    subnets = [{**_stated(asked, each), "subnet": each.subnet, "gateway": each.gateway} for each in made]
    return {"subnets": subnets, "ipv6_enabled": wanted.ipv6}


def _why_not(driver: Driver) -> str:
    return "the ipam driver is none" if driver.traits.addressing else f"driver {driver.name} takes none"


def _stated(asked: dict[str, Json], subnet: Subnet) -> Json:
    return asked.get(subnet.subnet, {})


def _pools(id: str) -> tuple[Pool, ...]:
    """Places to look for a subnet: some that only this network looks at first, then all."""
    digest = hashlib.shake_128(id.encode()).digest(2 * _GUESSES)
    pairs = zip(digest[::2], digest[1::2], strict=True)
    guesses = [Pool(base=f"10.{128 + (high >> 1)}.{low}.0/24", size=24) for high, low in pairs]
    return (*guesses, Pool(base="10.128.0.0/9", size=24), ula_pool(id))
