"""What dockerd asks of a network driver, carried out by a controller.

Docker's ids are ours: a network and an endpoint have here the id that they have there, and each endpoint is a sandbox
of its own, as Docker chooses gateways itself. dockerd sends a request again when a connection broke off, so what exists
already as asked for is a success, and so is removing what is not there.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast

from engine.plugin_service.handing import HandedOver
from netpy import Controller, EndpointSpec, NetworkSpec, PortBinding, Sandbox, SubnetSpec
from netpy.errors import InvalidArgument, NotFound
from netpy.model import Endpoint, Network

Json = dict[str, Any]
LABEL = "com.docker.network."
PORTS = f"{LABEL}portmap"
PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
NOTHING: Json = {}


class Ids:
    """Ids for a controller: the one stated for this thread, else a random one."""

    def __init__(self) -> None:
        self._stated = threading.local()

    def __call__(self) -> str:
        return getattr(self._stated, "id", "") or secrets.token_hex(32)

    @contextmanager
    def stated(self, id: str) -> Generator[None]:
        """The next id of this thread is this one."""
        self._stated.id = id
        try:
            yield
        finally:
            self._stated.id = ""


class NetworkCalls:
    """The methods of NetworkDriver, by their names. Thread-safe."""

    def __init__(self, controller: Controller, driver: HandedOver, ids: Ids) -> None:
        self._controller = controller
        self._driver = driver
        self._ids = ids

    def GetCapabilities(self, body: Json) -> Json:
        return {"Scope": "local", "ConnectivityScope": "local"}

    def CreateNetwork(self, body: Json) -> Json:
        id, options = _id(body, "NetworkID"), _object(body, "Options")
        spec = NetworkSpec(
            name=f"docker-{id[:12]}",
            driver=self._driver.name,
            subnets=tuple(_subnet(data) for data in _pools(body)),
            ipv4=any(":" not in data["Pool"] for data in _pools(body)),
            ipv6=any(":" in data["Pool"] for data in _pools(body)),
            internal=options.get(f"{LABEL}internal") is True,
            options={key: str(value) for key, value in _object(options, f"{LABEL}generic").items()},
        )
        if not spec.subnets:
            raise InvalidArgument("the network has no subnet: netpy needs addresses; use another IPAM driver than null")
        known = next((network for network in self._controller.networks() if network.id == id), None)
        if known is None:
            with self._ids.stated(id):
                self._controller.create_network(spec)
        elif [subnet.subnet for subnet in known.subnets] != [subnet.subnet for subnet in spec.subnets]:
            raise InvalidArgument(f"network {id} exists with other subnets")
        return NOTHING

    def DeleteNetwork(self, body: Json) -> Json:
        id = _id(body, "NetworkID")
        for endpoint in self._controller.endpoints(network_id=id):
            self._controller.detach(endpoint.sandbox.id)  # Docker knows them no more
        with suppress(NotFound):
            self._controller.remove_network(id)
        return NOTHING

    def CreateEndpoint(self, body: Json) -> Json:
        network, id = self._controller.network(_id(body, "NetworkID")), _id(body, "EndpointID")
        interface = _object(body, "Interface")
        known = self._find(id)
        if known is None:
            options = {key: value for key, value in _object(body, "Options").items() if isinstance(value, str)}
            spec = EndpointSpec(
                name=id[:12],
                addresses=tuple(
                    _bare(interface, field) for field in ("Address", "AddressIPv6") if interface.get(field)
                ),
                mac=str(interface.get("MacAddress") or ""),
                options=options,
            )
            sandbox = Sandbox(id=id, netns=f"/docker/{id}", resolve=False)  # Docker's; it never tells where
            with self._ids.stated(id):
                known = self._controller.attach(sandbox, [(network.id, spec)])[0]
        return {"Interface": NOTHING if interface.get("MacAddress") else {"MacAddress": known.mac}}

    def DeleteEndpoint(self, body: Json) -> Json:
        self._controller.detach(_id(body, "EndpointID"))
        return NOTHING

    def EndpointOperInfo(self, body: Json) -> Json:
        endpoint = self._endpoint(body)[1]
        ports = [f"{port.host_ip}:{port.host_port}->{port.container_port}/{port.protocol}" for port in endpoint.ports]
        return {"Value": {"netpy.address": ", ".join(endpoint.addresses), "netpy.ports": ", ".join(ports)}}

    def Join(self, body: Json) -> Json:
        network, endpoint = self._endpoint(body)
        handed = self._driver.handed(network, endpoint)
        return {
            "InterfaceName": {"SrcName": handed.source, "DstPrefix": endpoint.ifname.rstrip("0123456789")},
            "Gateway": handed.gateways.get(4, ""),
            "GatewayIPv6": handed.gateways.get(6, ""),
            "StaticRoutes": [
                {"Destination": destination, "RouteType": 0 if via else 1, "NextHop": via}
                for destination, via in handed.routes
            ],
            "DisableGatewayService": network.spec.internal,
        }

    def Leave(self, body: Json) -> Json:
        return self.RevokeExternalConnectivity(body)

    def ProgramExternalConnectivity(self, body: Json) -> Json:
        network, endpoint = self._endpoint(body)
        if not network.spec.internal:
            asked = _objects(_object(body, "Options"), PORTS)
            self._controller.publish(endpoint.sandbox.id, [_binding(each) for each in asked])
        return NOTHING

    def RevokeExternalConnectivity(self, body: Json) -> Json:
        endpoint = self._find(_id(body, "EndpointID"))
        if endpoint is not None and endpoint.spec.ports:
            self._controller.publish(endpoint.sandbox.id, ())
        return NOTHING

    def DiscoverNew(self, body: Json) -> Json:
        return NOTHING

    def DiscoverDelete(self, body: Json) -> Json:
        return NOTHING

    def _endpoint(self, body: Json) -> tuple[Network, Endpoint]:
        network, id = self._controller.network(_id(body, "NetworkID")), _id(body, "EndpointID")
        found = self._find(id)
        if found is None or found.network_id != network.id:
            raise NotFound(f"endpoint {id} not found in network {network.id}")
        return network, found

    def _find(self, id: str) -> Endpoint | None:
        return next(iter(self._controller.endpoints(sandbox_id=id)), None)


def _id(body: Json, field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise InvalidArgument(f"{field} is missing")
    return value


def _object(body: Mapping[str, Any], field: str) -> Json:
    value = body.get(field)
    return cast(Json, value) if isinstance(value, dict) else {}


def _objects(body: Mapping[str, Any], field: str) -> list[Json]:
    value = body.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in cast("list[Any]", value)):
        raise InvalidArgument(f"{field} is not a list of objects")
    return cast("list[Json]", value)


def _pools(body: Json) -> list[Json]:
    """The pools of either family; that of Docker's IPAM driver `null` is none."""
    given = [*_objects(body, "IPv4Data"), *_objects(body, "IPv6Data")]
    return [data for data in given if data.get("Pool") not in (None, "", "0.0.0.0/0", "::/0")]


def _subnet(data: Json) -> SubnetSpec:
    return SubnetSpec(
        subnet=data["Pool"],
        gateway=_bare(data, "Gateway"),
        aux_addresses={name: value.partition("/")[0] for name, value in _object(data, "AuxAddresses").items()},
    )


def _bare(data: Mapping[str, Any], field: str) -> str:
    return str(data.get(field) or "").partition("/")[0]


def _binding(port: Json) -> PortBinding:
    protocol = PROTOCOLS.get(port.get("Proto", 0))
    if protocol is None:
        raise InvalidArgument(f"unknown protocol number {port.get('Proto')!r} of a published port")
    return PortBinding(
        protocol=protocol,  # pyright: ignore[reportArgumentType]
        container_port=int(port.get("Port") or 0),
        host_ip=str(port.get("HostIP") or ""),
        host_port=int(port.get("HostPort") or 0),
        host_port_end=int(port.get("HostPortEnd") or 0),
    )
