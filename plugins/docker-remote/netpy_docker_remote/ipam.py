"""A Docker IPAM plugin behind netpy's protocol of address managers: one call for each request."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from typing import Any

from netpy.drivers import Option
from netpy.drivers.addressing import AddressRequest, IpamTraits, PoolGrant, PoolRequest
from netpy.errors import DriverError
from netpy_docker_remote.answers import Answered
from netpy_docker_remote.plugin import Plugin, Refused

LABEL = "com.docker.network."
GATEWAY = f"{LABEL}gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class IpamCapabilities:
    """What the plugin needs, and the address space to ask it for."""

    needs_mac: bool = False
    needs_replay: bool = False
    space: str = ""


def ipam_capabilities(plugin: Plugin) -> IpamCapabilities:
    """Ask. A plugin that refuses GetCapabilities has none, as with Docker; it has to tell its address spaces."""
    try:
        able = plugin.ask("IpamDriver.GetCapabilities")
    except Refused:
        able = Answered()
    spaces = plugin.ask("IpamDriver.GetDefaultAddressSpaces")
    space = spaces.get("LocalDefaultAddressSpace")
    if not isinstance(space, str):
        raise _wrong(plugin, "GetDefaultAddressSpaces", f"answered {space!r} as LocalDefaultAddressSpace")
    return IpamCapabilities(
        needs_mac=able.get("RequiresMACAddress") is True,
        needs_replay=able.get("RequiresRequestReplay") is True,
        space=space,
    )


class RemoteIpam:
    """An IPAM driver that asks a plugin."""

    options: Mapping[str, Option] = {}

    def __init__(self, plugin: Plugin, able: IpamCapabilities) -> None:
        self.name = plugin.name
        self.capabilities = able
        limits = plugin.limits
        self.traits = IpamTraits(
            replay=able.needs_replay, any_option=True, timeout=limits.answer + limits.retry + limits.farewell
        )
        self._plugin = plugin

    def request_pool(self, request: PoolRequest) -> PoolGrant:
        body = {
            "AddressSpace": self.capabilities.space,
            "Pool": request.subnet,
            "SubPool": request.ip_range,
            "Options": dict(request.options),
            "V6": request.family == 6,
        }
        answer = self._ask("RequestPool", body)
        pool, subnet = answer.get("PoolID"), answer.get("Pool")
        if not isinstance(pool, str) or not isinstance(subnet, str) or not pool:
            raise _wrong(self._plugin, "RequestPool", f"answered the pool {pool!r}, {subnet!r}")
        try:
            return PoolGrant(pool=pool, subnet=str(ip_network(subnet)), gateway=_gateway(answer))
        except ValueError as error:
            with suppress(DriverError):
                self.release_pool(pool)
            raise _wrong(self._plugin, "RequestPool", f"answered the pool {subnet!r}: {error}") from error

    def release_pool(self, pool: str) -> None:
        self._ask("ReleasePool", {"PoolID": pool}, leaving=True)

    def request_address(self, request: AddressRequest) -> str:
        options: dict[str, Any] = dict(request.options)
        if request.kind == "gateway":
            options["RequestAddressType"] = GATEWAY
        if request.kind == "endpoint":
            options[f"{LABEL}endpoint.name"] = request.name
            if self.capabilities.needs_mac:
                options[f"{LABEL}endpoint.macaddress"] = request.mac
        body = {"PoolID": request.pool, "Address": request.address, "Options": options}
        address = self._ask("RequestAddress", body).get("Address")
        if not isinstance(address, str) or not address:
            raise _wrong(self._plugin, "RequestAddress", "no address returned")
        return address

    def release_address(self, pool: str, address: str) -> None:
        self._ask("ReleaseAddress", {"PoolID": pool, "Address": address}, leaving=True)

    def _ask(self, call: str, body: Mapping[str, Any], *, leaving: bool = False) -> Answered:
        return self._plugin.ask(f"IpamDriver.{call}", body, retry=self._plugin.limits.farewell if leaving else None)


def _gateway(answer: Answered) -> str:
    data = answer.get("Data")
    stated = data.get(GATEWAY) if isinstance(data, Answered) else None
    return str(ip_interface(stated).ip) if stated else ""


def _wrong(plugin: Plugin, call: str, problem: str) -> DriverError:
    return DriverError(f"plugin {plugin.name}: IpamDriver.{call}: {problem}")
