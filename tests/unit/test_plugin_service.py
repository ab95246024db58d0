"""netpy as Docker's plugin, its calls on the in-memory kernel: what dockerd would ask, in its order and out of it."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest

from engine.plugin_service.addresses import AddressCalls
from engine.plugin_service.answering import Answering
from engine.plugin_service.calls import Ids, NetworkCalls
from engine.plugin_service.handing import HandedOver
from netpy import Settings, Store
from netpy.drivers import Defaults, Traits
from netpy.drivers.bridge import BridgeDriver
from netpy.errors import Exhausted, Forbidden, InvalidArgument, NotFound, PortTaken, Unsupported
from netpy.objects import Address, Publish, Route, Veth
from netpy.testing import Machine

NET, ONE, TWO = "a" * 64, "b" * 64, "c" * 64
LABEL = "com.docker.network."


class Offered:
    """A plugin's network calls on a machine in memory."""

    def __init__(self) -> None:
        self.machine = Machine(
            settings=Settings(host_id="test"), plugins={"docker-bridge": lambda d: HandedOver(BridgeDriver(d))}
        )
        self.restart()

    def restart(self) -> None:
        ids = Ids()
        self.machine.restart()
        self.machine.controller._context = dataclasses.replace(self.machine.controller._context, new_id=ids)
        for part in (self.machine.controller._networks, self.machine.controller._attachment):
            part._context = self.machine.controller._context
        self.machine.controller.reconcile(lambda sandbox: True)
        self.calls = NetworkCalls(self.machine.controller, HandedOver(BridgeDriver(Defaults())), ids)

    def network(self, **more: object) -> dict:
        pool = {"AddressSpace": "LocalDefault", "Pool": "10.9.0.0/24", "Gateway": "10.9.0.1/24"}
        body = {"NetworkID": NET, "Options": {f"{LABEL}generic": {}}, "IPv4Data": [pool], "IPv6Data": []}
        return self.calls.CreateNetwork({**body, **more})

    def endpoint(self, id: str = ONE, address: str = "10.9.0.2/24") -> dict:
        interface = {"Address": address, "AddressIPv6": "", "MacAddress": ""}
        return self.calls.CreateEndpoint({"NetworkID": NET, "EndpointID": id, "Interface": interface, "Options": {}})

    def ids(self, id: str = ONE) -> dict:
        return {"NetworkID": NET, "EndpointID": id}

    def program(self, id: str, host_port: int) -> dict:
        port = {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": host_port, "HostPortEnd": host_port}
        return self.calls.ProgramExternalConnectivity({**self.ids(id), "Options": {f"{LABEL}portmap": [port]}})

    def objects(self, kind: type) -> list:
        return [obj for obj in self.machine.kernel.objects.values() if isinstance(obj, kind)]


@pytest.fixture
def offered() -> Offered:
    return Offered()


def test_from_creation_to_removal(offered: Offered) -> None:
    before = offered.machine.snapshot()
    offered.network()
    assert offered.endpoint() == {"Interface": {"MacAddress": "02:42:0a:09:00:02"}}
    (veth,) = offered.objects(Veth)
    assert (veth.name, veth.ifname, veth.peer_netns) == ("vethbbbbbbb", "npbbbbbbbbbbbb", "")
    assert not [each for each in offered.objects(Address) if each.link != f"br-{NET[:12]}"]
    assert not offered.objects(Route)
    assert offered.calls.Join({**offered.ids(), "SandboxKey": "/x", "Options": {}}) == {
        "InterfaceName": {"SrcName": "npbbbbbbbbbbbb", "DstPrefix": "eth"},
        "Gateway": "10.9.0.1",
        "GatewayIPv6": "",
        "StaticRoutes": [],
        "DisableGatewayService": False,
    }
    offered.program(ONE, 8080)
    assert {each.host_port for each in offered.objects(Publish)} == {8080}
    assert "8080->80/tcp" in offered.calls.EndpointOperInfo(offered.ids())["Value"]["netpy.ports"]
    offered.calls.RevokeExternalConnectivity(offered.ids())
    assert not offered.objects(Publish)
    offered.calls.Leave(offered.ids())
    offered.calls.DeleteEndpoint(offered.ids())
    offered.calls.DeleteNetwork({"NetworkID": NET})
    assert offered.machine.snapshot() == before


def test_every_call_may_come_twice(offered: Offered) -> None:
    before = offered.machine.snapshot()
    for _ in range(2):
        offered.network()
    assert offered.endpoint() == offered.endpoint()
    for _ in range(2):
        offered.program(ONE, 8080)
    for call in ("RevokeExternalConnectivity", "Leave", "DeleteEndpoint"):
        for _ in range(2):
            getattr(offered.calls, call)(offered.ids())
    for _ in range(2):
        offered.calls.DeleteNetwork({"NetworkID": NET})
    assert offered.machine.snapshot() == before


def test_a_restart_in_between(offered: Offered) -> None:
    offered.network()
    offered.endpoint()
    offered.program(ONE, 8080)
    before = offered.machine.snapshot()
    offered.restart()
    assert offered.machine.snapshot() == before
    offered.endpoint(TWO, "10.9.0.3/24")
    with pytest.raises(PortTaken, match="port is already allocated"):
        offered.program(TWO, 8080)
    assert not next(e for e in offered.machine.controller.endpoints() if e.id == TWO).spec.ports
    offered.calls.DeleteNetwork({"NetworkID": NET})  # Docker has lost its endpoints
    assert not offered.machine.controller.networks() and not offered.objects(Veth)


def test_ports_change_while_others_stay(offered: Offered) -> None:
    offered.network()
    offered.endpoint()
    offered.program(ONE, 8080)
    offered.program(ONE, 9090)
    assert {each.host_port for each in offered.objects(Publish)} == {9090}
    before = offered.machine.snapshot()
    offered.machine.kernel.fail_at = 1
    with pytest.raises(Exception, match="fault injected"):
        offered.program(ONE, 7070)
    assert offered.machine.snapshot() == before


def test_an_internal_network_has_no_way_out(offered: Offered) -> None:
    offered.network(Options={f"{LABEL}internal": True, f"{LABEL}generic": {}})
    offered.endpoint()
    joined = offered.calls.Join(offered.ids())
    assert (joined["Gateway"], joined["DisableGatewayService"]) == ("", True)
    offered.program(ONE, 8080)
    assert not offered.objects(Publish)


def test_what_is_wrong_is_said(offered: Offered) -> None:
    with pytest.raises(InvalidArgument, match="no subnet"):
        offered.network(IPv4Data=[{"Pool": "0.0.0.0/0"}])
    with pytest.raises(InvalidArgument, match="NetworkID is missing"):
        offered.network(NetworkID=None)
    with pytest.raises(InvalidArgument, match="IPv4Data"):
        offered.network(IPv4Data="all")
    offered.network()
    with pytest.raises(InvalidArgument, match="other subnets"):
        offered.network(IPv4Data=[{"Pool": "10.8.0.0/24"}])
    with pytest.raises(NotFound, match="endpoint"):
        offered.calls.Join(offered.ids())


def test_drivers_that_cannot_be_handed_over_are_refused() -> None:
    host = SimpleNamespace(name="host", traits=Traits(host_namespace=True), options={}, endpoint_options={})
    with pytest.raises(Unsupported, match="host cannot be offered"):
        HandedOver(host)  # type: ignore[arg-type]


# ---- addresses ---------------------------------------------------------------------------------------------------


def addresses(store: Store) -> AddressCalls:
    return AddressCalls(store, Settings(host_id="x").pools(), lambda: ["172.17.0.0/16"], lambda: ["172.18.0.0/16"])


def test_pools_and_addresses_outlive_the_plugin() -> None:
    store = Store(":memory:")
    one = addresses(store)
    space = one.GetDefaultAddressSpaces({})["LocalDefaultAddressSpace"]
    pool = one.RequestPool({"AddressSpace": space, "Pool": "", "SubPool": "", "Options": {}, "V6": False})
    assert pool["Pool"] == "172.19.0.0/16"
    take = {"PoolID": pool["PoolID"], "Address": ""}
    assert [one.RequestAddress(take)["Address"] for _ in range(2)] == ["172.19.0.1/16", "172.19.0.2/16"]
    two = addresses(store)
    assert two.RequestAddress(take)["Address"] == "172.19.0.3/16"
    with pytest.raises(Forbidden, match="already in use"):
        two.RequestAddress({**take, "Address": "172.19.0.2"})
    for _ in range(2):
        two.ReleaseAddress({**take, "Address": "172.19.0.2"})
    assert addresses(store).RequestAddress({**take, "Address": "172.19.0.2"})["Address"] == "172.19.0.2/16"
    for _ in range(2):
        two.ReleasePool({"PoolID": pool["PoolID"]})
    assert store.all("docker-pool") == store.all("docker-address") == []


def test_bad_requests_for_pools() -> None:
    calls = addresses(Store(":memory:"))
    space = {"AddressSpace": "netpy-local"}
    with pytest.raises(InvalidArgument, match="invalid address space"):
        calls.RequestPool({"AddressSpace": "x"})
    with pytest.raises(InvalidArgument, match="subpool"):
        calls.RequestPool({**space, "SubPool": "10.0.0.0/8"})
    with pytest.raises(Forbidden, match="overlap"):
        calls.RequestPool({**space, "Pool": "172.17.5.0/24"})
    with pytest.raises(NotFound, match="pool"):
        calls.RequestAddress({"PoolID": "x"})
    small = calls.RequestPool({**space, "Pool": "10.0.0.0/30"})
    for _ in range(2):
        calls.RequestAddress({"PoolID": small["PoolID"]})
    with pytest.raises(Exhausted):
        calls.RequestAddress({"PoolID": small["PoolID"]})


# ---- answers -----------------------------------------------------------------------------------------------------


def ask(path: str, body: bytes = b"{}", method: str = "POST") -> tuple[int, dict]:
    handler = Answering({"NetworkDriver": Offered().calls, "IpamDriver": addresses(Store(":memory:"))})
    reply = handler(SimpleNamespace(path=path, method=method, content=lambda: body))  # type: ignore[arg-type]
    return reply.status, json.loads(reply.body)


def test_answers_are_in_the_protocols_form() -> None:
    assert ask("/Plugin.Activate") == (200, {"Implements": ["NetworkDriver", "IpamDriver"]})
    assert ask("/NetworkDriver.Join")[1] == {"Err": "NetworkID is missing"}
    assert ask("/IpamDriver.RequestPool")[1] == {"Error": "invalid address space: None"}
    assert ask("/NetworkDriver.Join", b"\xff")[1]["Err"].startswith("the request's body is not JSON")
    assert ask("/NetworkDriver.Join", b"[]")[1] == {"Err": "the request's body is not a JSON object"}
    for path in ("/NetworkDriver.AllocateNetwork", "/NetworkDriver._find", "/VolumeDriver.List", "/x"):
        assert ask(path)[0] == 404
    assert ask("/NetworkDriver.GetCapabilities", method="GET")[0] == 404
