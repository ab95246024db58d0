"""Networks without a kernel, for tests of the API: they are kept as values, and endpoints follow from the containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.model import Attachment, Container
from netpy.diff import Create, Plan
from netpy.errors import Conflict, Forbidden, NotFound
from netpy.model import Endpoint, Network, NetworkSpec, PortBinding, Sandbox, Subnet
from netpy.objects import Bridge

from .fake_containers import CREATED

if TYPE_CHECKING:
    from .fake_daemon import FakeDaemon


class FakeController:
    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon
        self._networks: dict[str, Network] = {}
        for name, driver in (("bridge", "bridge"), ("host", "host"), ("none", "null")):
            subnets = (Subnet(subnet="172.17.0.0/16", gateway="172.17.0.1"),) if name == "bridge" else ()
            self._add(NetworkSpec(name=name, driver=driver), subnets, predefined=True)

    def _add(self, spec: NetworkSpec, subnets: tuple[Subnet, ...], predefined: bool = False) -> Network:
        id = f"{len(self._networks) + 0xA0:02x}" * 32
        network = Network(id=id, spec=spec, subnets=subnets, created=CREATED, predefined=predefined)
        self._networks[id] = network
        return network

    def networks(self) -> list[Network]:
        return list(self._networks.values())

    def network(self, ref: str) -> Network:
        found = [n for n in self.networks() if ref in (n.name, n.id) or n.id.startswith(ref)]
        if not found:
            raise NotFound(f"network {ref} not found")
        return found[0]

    def create_network(self, spec: NetworkSpec) -> Network:
        if any(n.name == spec.name for n in self.networks()):
            raise Conflict(f"network with name {spec.name} already exists")
        asked = tuple(
            Subnet(subnet=s.subnet, gateway=s.gateway, ip_range=s.ip_range, aux_addresses=s.aux_addresses)
            for s in spec.subnets
        )
        return self._add(spec, asked or (Subnet(subnet="172.18.0.0/16", gateway="172.18.0.1"),))

    def plan_network(self, spec: NetworkSpec) -> Plan:
        return Plan((Create(Bridge(name=spec.name, mac="02:42:00:00:00:01", mtu=1500, mark="test")),))

    def remove_network(self, ref: str) -> Network:
        network = self.network(ref)
        if network.predefined:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        del self._networks[network.id]
        return network

    def prune_networks(self, keep: Callable[[Network], bool]) -> list[str]:
        gone = [n for n in self.networks() if not n.predefined and not self.endpoints(network_id=n.id) and not keep(n)]
        for network in gone:
            del self._networks[network.id]
        return [network.name for network in gone]

    def endpoints(self, *, network_id: str = "", sandbox_id: str = "") -> list[Endpoint]:
        containers = self._daemon.containers
        found = [e for c in containers.all() for e in containers.endpoints(c)]
        return [e for e in found if network_id in ("", e.network_id) and sandbox_id in ("", e.sandbox.id)]

    def endpoint(self, container: Container, attachment: Attachment, index: int) -> Endpoint:
        network = self.network(attachment.network)
        host = int(container.id, 16) + 1
        prefix = network.subnets[0].subnet.rsplit(".", 2)[0] if network.subnets else ""
        ports = tuple(
            PortBinding(
                protocol=key.partition("/")[2],
                container_port=int(key.partition("/")[0]),  # pyright: ignore
                host_ip=b["HostIp"] or "0.0.0.0",
                host_port=int(b["HostPort"] or 49153),
            )
            for key, bindings in (container.host_config.get("PortBindings") or {}).items()
            for b in bindings
        )
        return Endpoint(
            id=f"{index + 1}{container.id[1:]}",
            network_id=network.id,
            sandbox=Sandbox(id=container.id, netns="/run/netpy/netns/x"),
            spec=attachment.spec,
            mac=f"02:42:ac:{0x11 + index:02x}:00:{host:02x}",
            addresses=(f"{prefix}.0.{host}/16",) if prefix else (),
            ports=ports if index == 0 else (),
            phase="active",
        )

    def check(self) -> list[str]:
        return ["bridge br-1: mtu is 1400, should be 1500"]

    def repair(self) -> list[str]:
        return ["bridge br-1: mtu set to 1500"]
