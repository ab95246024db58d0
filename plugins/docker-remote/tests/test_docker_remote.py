"""The adapter against a real plugin on a real socket, on the in-memory kernel: no root."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_plugin_server import MAC, Plugin
from netpy_docker_remote.places import Places
from netpy_docker_remote.wire import Limits
from remote_lab import back, connect, finder, world

from netpy.drivers import Driver
from netpy.errors import DriverError
from netpy.model import EndpointSpec, NetworkSpec, PortBinding, SubnetSpec
from netpy.objects import Address, Adopt, Device, Route
from netpy.testing import DriverContract


class TestRemoteContract(DriverContract):
    """The suite that every driver passes."""

    @pytest.fixture(autouse=True)
    def _plugin(self, tmp_path: Path) -> Iterator[None]:
        made = Plugin(tmp_path / "plug.sock", tmp_path / "control", tmp_path / "log").start()
        found = finder(tmp_path).driver("plug")
        assert found
        self._driver = found
        yield
        made.stop()

    def driver(self) -> Driver:
        return self._driver

    def host_objects(self) -> frozenset[Device]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return frozenset(Device(kind="dummy", name=f"q{f'{n:02x}' * 4}"[:8], mark="") for n in (17, 18))


# ---- bodies ------------------------------------------------------------------------------------------------------


def test_a_network_and_a_container_word_for_word(plugin: Plugin, tmp_path: Path) -> None:
    made = world(tmp_path)
    subnet = SubnetSpec(subnet="10.9.0.0/24", aux_addresses={"router": "10.9.0.9"})
    back(made, subnets=(subnet,), options={"color": "blue"})
    network = made.controller.network("n")
    connect(
        made, mac="02:42:0a:00:00:05", options={"speed": "1"}, ports=(PortBinding(container_port=80, host_port=8080),)
    )
    endpoint = made.controller.endpoints()[0]
    made.controller.detach(endpoint.sandbox.id)
    made.controller.remove_network("n")
    ids = {"NetworkID": network.id, "EndpointID": endpoint.id}
    label = "com.docker.network."
    asked = {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080}
    exposed = {f"{label}endpoint.exposedports": [{"Proto": 6, "Port": 80}]}
    ports = {f"{label}portmap": [asked], **exposed}
    given = {f"{label}portmap": [asked | {"HostIP": "0.0.0.0"}], **exposed}
    calls = [call for call in plugin.calls() if call[0].startswith("NetworkDriver")]
    assert calls == [
        ("NetworkDriver.GetCapabilities", {}),
        (
            "NetworkDriver.CreateNetwork",
            {
                "NetworkID": network.id,
                "Options": {
                    f"{label}enable_ipv4": True,
                    f"{label}enable_ipv6": False,
                    f"{label}generic": {"color": "blue"},
                },
                "IPv4Data": [
                    {
                        "AddressSpace": "LocalDefault",
                        "Pool": "10.9.0.0/24",
                        "Gateway": "10.9.0.1/24",
                        "AuxAddresses": {"router": "10.9.0.9/24"},
                    }
                ],
                "IPv6Data": [],
            },
        ),
        (
            "NetworkDriver.CreateEndpoint",
            {
                **ids,
                "Interface": {"Address": "10.9.0.2/24", "AddressIPv6": "", "MacAddress": "02:42:0a:00:00:05"},
                "Options": {"speed": "1", **ports, f"{label}endpoint.macaddress": "AkIKAAAF"},
            },
        ),
        ("NetworkDriver.Join", {**ids, "SandboxKey": "/run/netns/1", "Options": ports}),
        ("NetworkDriver.ProgramExternalConnectivity", {**ids, "Options": given}),
        ("NetworkDriver.RevokeExternalConnectivity", ids),
        ("NetworkDriver.Leave", ids),
        ("NetworkDriver.DeleteEndpoint", ids),
        ("NetworkDriver.DeleteNetwork", {"NetworkID": network.id}),
    ]


def test_what_join_says_is_in_the_sandbox(plugin: Plugin, tmp_path: Path) -> None:
    made = world(tmp_path)
    back(made, subnets=(SubnetSpec(subnet="10.9.0.0/24"),))
    connect(made)
    inside = {obj for obj in made.kernel.objects.values() if obj.key.netns == "/run/netns/1"}
    adopted = next(obj for obj in inside if isinstance(obj, Adopt))
    assert (adopted.source, adopted.ifname, adopted.mac) == ("src0", "plug0", MAC)
    assert {obj for obj in inside if isinstance(obj, Address | Route)} == {
        Address(netns="/run/netns/1", link="plug0", address="10.9.0.2/24"),
        Route(netns="/run/netns/1", link="plug0", destination="0.0.0.0/0", via="10.9.0.1"),
        Route(netns="/run/netns/1", link="plug0", destination="10.77.0.0/16"),
    }


def test_a_plugin_may_bring_the_address_where_there_is_none(plugin: Plugin, tmp_path: Path) -> None:
    made = world(tmp_path)
    back(made, ipam_driver="null")
    plugin.break_(
        NetworkDriver__CreateEndpoint='{"interface": {"address": "10.8.0.7/24", "MACADDRESS": "02-00-00-00-00-07"}}'
    )
    connect(made)
    endpoint = made.controller.endpoints()[0]
    assert (endpoint.addresses, endpoint.mac) == (("10.8.0.7/24",), "02:00:00:00:00:07")
    assert dict(plugin.calls())["NetworkDriver.CreateNetwork"]["IPv4Data"] == [
        {"AddressSpace": "null", "Pool": "0.0.0.0/0"}
    ]


def test_no_gateway_service_means_no_default_route(plugin: Plugin, tmp_path: Path) -> None:
    made = world(tmp_path)
    back(made)
    plugin.break_(NetworkDriver__Join='{"DisableGatewayService": true}')
    connect(made)
    assert not made.controller.endpoints()[0].gateways
    assert not [o for o in made.kernel.objects.values() if isinstance(o, Route) and o.destination == "0.0.0.0/0"]


@pytest.mark.parametrize("order", [("n", "bridge"), ("bridge", "n")])
def test_without_a_gateway_another_network_is_the_way_out(plugin: Plugin, tmp_path: Path, order: list[str]) -> None:
    made = world(tmp_path)
    back(made)
    plugin.break_(NetworkDriver__Join='{"Gateway": ""}')
    for name in order:
        # It is asked to be the way out, by rank: what it lacks counts all the same.
        spec = EndpointSpec(name="c1", gateway_priority=9 if name == "n" else 0)
        made.controller.attach(made.sandbox(1), [(name, spec)])
    ids = {made.controller.network(name).id: name for name in order}
    gateways = {ids[endpoint.network_id]: endpoint.gateways for endpoint in made.controller.endpoints()}
    assert gateways == {"n": frozenset(), "bridge": {4}}
    defaults = [o for o in made.kernel.objects.values() if isinstance(o, Route) and o.destination == "0.0.0.0/0"]
    assert len(defaults) == 1 and defaults[0].via != made.controller.network("n").subnets[0].gateway
    assert "ProgramExternalConnectivity" not in plugin.names()


def test_a_gateway_that_the_plugin_does_without(plugin: Plugin, tmp_path: Path) -> None:
    plugin.break_(NetworkDriver__GetCapabilities='{"GwAllocChecker": true}')
    plugin.network.GwAllocCheck = lambda body: {"SkipIPv4": True}  # type: ignore[attr-defined]
    back(world(tmp_path))
    assert "GwAllocCheck" in plugin.names()
    assert "Gateway" not in plugin.calls()[-1][1]["IPv4Data"][0]


def test_its_addresses(plugin: Plugin, tmp_path: Path) -> None:
    made = world(tmp_path)
    made.controller.create_network(NetworkSpec(name="n", ipam_driver="plug", ipam_options={"a": "b"}))
    connect(made)
    endpoint = made.controller.endpoints()[0]
    made.controller.detach(endpoint.sandbox.id)
    made.controller.remove_network("n")
    label = "com.docker.network."
    calls = [(name.partition(".")[2], body) for name, body in plugin.calls() if name.startswith("IpamDriver")]
    pool = "10.123.0.0/16"
    assert calls[2:] == [
        ("RequestPool", {"AddressSpace": "here", "Pool": "", "SubPool": "", "Options": {"a": "b"}, "V6": False}),
        (
            "RequestAddress",
            {"PoolID": pool, "Address": "", "Options": {"a": "b", "RequestAddressType": f"{label}gateway"}},
        ),
        (
            "RequestAddress",
            {
                "PoolID": pool,
                "Address": "",
                "Options": {"a": "b", f"{label}endpoint.name": "c1", f"{label}endpoint.macaddress": endpoint.mac},
            },
        ),
        ("ReleaseAddress", {"PoolID": pool, "Address": "10.123.0.2"}),
        ("ReleaseAddress", {"PoolID": pool, "Address": "10.123.0.1"}),
        ("ReleasePool", {"PoolID": pool}),
    ]


# ---- places ------------------------------------------------------------------------------------------------------


def test_the_three_kinds_of_files(tmp_path: Path) -> None:
    sockets, specs = tmp_path / "s", tmp_path / "e"
    (sockets / "deep").mkdir(parents=True)
    specs.mkdir()
    places = Places(sockets=(sockets,), specs=(specs,))
    (specs / "one.spec").write_text("tcp://localhost:8080\n")
    (specs / "two.json").write_text(
        '{"Name": "two", "Addr": "https://example.net", "TLSConfig": {"InsecureSkipVerify": true, "CAFile": "/ca"}}'
    )
    (specs / "three.spec").write_text("localhost:8080")
    (specs / "four.json").write_text("{")
    deep = Plugin(sockets / "deep" / "deep.sock", tmp_path / "c", tmp_path / "l").start()
    (specs / "deep.spec").write_text("tcp://localhost:1")
    assert places.names() == ["deep", "four", "one", "three", "two"]
    one, two, five = places.find("one"), places.find("two"), places.find("deep")
    assert one and (one.host, one.port, one.tls) == ("localhost", 8080, None)
    assert (
        two
        and two.tls
        and (two.host, two.port, two.tls.insecure, two.tls.authority) == ("example.net", 443, True, "/ca")
    )
    assert five and five.path == str(sockets / "deep" / "deep.sock")
    assert places.find("../../etc/passwd") is None and places.find("six") is None
    with pytest.raises(DriverError, match=r"plugin three: .*unknown protocol"):
        places.find("three")
    with pytest.raises(DriverError, match="plugin four: "):
        places.find("four")
    deep.stop()


def test_places_and_limits_of_the_environment() -> None:
    places = Places.of_environment({"NETPY_PLUGIN_SOCKETS": "/a:/b", "NETPY_PLUGIN_SPECS": "/c"})
    assert (places.sockets, places.specs) == ((Path("/a"), Path("/b")), (Path("/c"),))
    assert Places.of_environment({}).sockets[0] == Path("/run/docker/plugins")
    assert Limits.of_environment({"NETPY_PLUGIN_TIMEOUT": "2", "NETPY_PLUGIN_RETRY": "x"}) == Limits(answer=2.0)


def test_a_volume_plugin_is_no_network_driver(plugin: Plugin, tmp_path: Path) -> None:
    plugin.implements = ["VolumeDriver"]
    found = finder(tmp_path)
    assert found.names() == ["plug"]
    assert found.driver("plug") is None and found.ipam("plug") is None
    assert found.names() == []
