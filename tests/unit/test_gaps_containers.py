"""Containers in corners: ndots, links, kept settings, order of interfaces, terminal sizes, what clean-up reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.api.views import containers as views
from engine.api.views.containers import Scene
from engine.containers.networking import Owner, attachment
from engine.containers.release import each
from engine.model import Json
from netpy.dns.zones import Snapshot, folded_view, snapshot
from netpy.errors import InvalidArgument, KernelError, PortTaken
from netpy.model import Network, NetworkSpec, SubnetSpec
from tests.unit.container_lab import Lab, network


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def scene(lab: Lab, ref: str) -> Scene:
    container = lab.containers.get(ref)
    networks = {found.name: found for found in lab.controller.networks()}
    return Scene(container=container, endpoints=lab.containers.endpoints(container), networks=networks)


# ---- name resolution ---------------------------------------------------------------------------------------------


def test_ndots_of_the_user_reaches_the_name_server(lab: Lab) -> None:
    network(lab, "net")
    asked = lab.run("asked", networks={"net": {}}, NetworkMode="net", DnsOptions=["timeout:1", "ndots:2"])
    plain = lab.run("plain", networks={"net": {}}, NetworkMode="net")
    assert [lab.names.views[each].ndots for each in (asked, plain)] == [2, 0]


def test_ndots_of_the_hosts_file_counts_too(lab: Lab) -> None:
    network(lab, "net")
    (lab.root / "etc" / "resolv.conf").write_text("nameserver 192.0.2.53\noptions ndots:4\n")
    assert lab.names.views[lab.run("web", NetworkMode="net")].ndots == 4
    lab.reboot()
    assert lab.names.views[lab.containers.get("web").id].ndots == 4


def resolved(lab: Lab, ref: str, name: str) -> list[str]:
    """The containers' names behind a name, as that container sees it."""
    known: Snapshot = snapshot(lab.names.records.values(), lab.names.views.values())
    found = known.find(folded_view(lab.names.views[lab.containers.get(ref).id]), name)
    return [backend.name for backend in found.backends] if found else []


def test_a_link_is_an_alias_for_one_container_alone_on_a_network_of_ones_own(lab: Lab) -> None:
    network(lab, "net")
    for name in ("db", "other"):
        lab.run(name, NetworkMode="net")
    lab.run("web", networks={"net": {"Links": ["db:sql"]}}, NetworkMode="net")
    assert resolved(lab, "web", "sql") == ["db"]
    assert resolved(lab, "other", "sql") == []
    assert "sql" not in (lab.parts.paths.home(lab.containers.get("web").id) / "hosts").read_text()


def test_a_link_on_the_default_bridge_is_written_into_hosts_and_the_environment(lab: Lab) -> None:
    config = {"Env": ["PASSWORD=x=y", "PATH=/bin"], "ExposedPorts": {"5432/tcp": {}, "53/udp": {}}}
    lab.run("db", config)
    web = lab.run("web", {"Env": ["A=1", "MY_SQL_NAME=mine"]}, Links=["/db:my-sql"])
    address = lab.containers.endpoints(lab.containers.get("db"))[0].address_of(4)
    made = lab.runtime.processes[web].spec
    environment: dict[str, str] = dict(entry.split("=", 1) for entry in made["process"]["env"])
    expected = {
        "MY_SQL_PORT": f"tcp://{address}:5432",
        "MY_SQL_PORT_53_UDP": f"udp://{address}:53",
        "MY_SQL_PORT_53_UDP_ADDR": address,
        "MY_SQL_PORT_53_UDP_PORT": "53",
        "MY_SQL_PORT_53_UDP_PROTO": "udp",
        "MY_SQL_PORT_5432_TCP": f"tcp://{address}:5432",
        "MY_SQL_PORT_5432_TCP_ADDR": address,
        "MY_SQL_PORT_5432_TCP_PORT": "5432",
        "MY_SQL_PORT_5432_TCP_PROTO": "tcp",
        "MY_SQL_ENV_PASSWORD": "x=y",
        "MY_SQL_NAME": "mine",
        "A": "1",
    }
    assert {key: environment.get(key) for key in expected} == expected
    assert "MY_SQL_ENV_PATH" not in environment
    assert f"{address}\tmy-sql " in (lab.parts.paths.home(web) / "hosts").read_text()
    assert lab.containers.get("web").config["Env"][:2] == ["A=1", "MY_SQL_NAME=mine"]


def test_an_image_that_exposes_nonsense_is_refused_when_a_container_is_made(lab: Lab) -> None:
    lab.images.config = {"config": {"Cmd": ["sh"], "ExposedPorts": {"http/tcp": {}}}}
    with pytest.raises(InvalidArgument, match=r'invalid port specification: "http"'):
        lab.create("web")
    assert lab.containers.all() == []


# ---- settings ----------------------------------------------------------------------------------------------------


OWNER = Owner(id="ab" * 32, name="web", config={"Hostname": "web"}, host_config={"NetworkMode": "net"})
NET = Network(id="cd" * 32, spec=NetworkSpec(name="net"))


@pytest.mark.parametrize("given", [{}, None, {"a": "b"}])
def test_what_was_asked_comes_back_empty_or_absent_as_it_was(given: Json | None) -> None:
    kept = attachment(OWNER, NET, {"DriverOpts": given}).settings
    assert kept["DriverOpts"] == given
    assert kept["IPAMConfig"] is None


def test_a_connected_network_looks_as_in_the_notes(lab: Lab) -> None:
    network(lab, "my_app_net", "172.18.0.0/16")
    proxy = lab.run("proxy")
    sent = {"IPAMConfig": {}, "Links": None, "Aliases": [], "MacAddress": "", "DriverOpts": {}, "GwPriority": 0}
    lab.containers.connect("my_app_net", "proxy", sent)
    shown = views.networks(scene(lab, "proxy"))
    assert [shown["bridge"][key] for key in ("IPAMConfig", "DriverOpts", "DNSNames")] == [None, None, None]
    bridge, net = (e.id for e in lab.containers.endpoints(lab.containers.get("proxy")))
    assert shown["my_app_net"] == {
        "IPAMConfig": {},
        "Links": None,
        "Aliases": None,
        "MacAddress": "02:42:ac:12:00:02",
        "NetworkID": lab.controller.network("my_app_net").id,
        "EndpointID": net,
        "Gateway": "172.18.0.1",
        "IPAddress": "172.18.0.2",
        "IPPrefixLen": 16,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DriverOpts": {},
        "DNSNames": ["proxy", proxy[:12]],
    }
    settings = views.network_settings(scene(lab, "proxy"))
    assert (settings["EndpointID"], settings["IPAddress"], settings["Gateway"], settings["MacAddress"]) == (
        bridge,
        "172.17.0.2",
        "172.17.0.1",
        "02:42:ac:11:00:02",
    )


# ---- inspect -----------------------------------------------------------------------------------------------------


def test_every_exposed_or_asked_port_is_shown_published_or_null(lab: Lab) -> None:
    config = {"ExposedPorts": {"80/tcp": {}, "9000/tcp": {}, "7000-7001/udp": {}}}
    lab.controller.create_network(NetworkSpec(name="inner", internal=True))
    lab.run("web", config, PortBindings={"80/tcp": [{"HostPort": "8800"}], "53/udp": [{"HostPort": "5353"}]})
    assert views.port_map(scene(lab, "web")) == {
        "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "5353"}],
        "7000/udp": None,
        "7001/udp": None,
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8800"}],
        "9000/tcp": None,
    }
    lab.run("shut", NetworkMode="inner", PortBindings={"80/tcp": [{"HostPort": "80"}]})
    assert views.port_map(scene(lab, "shut")) == {"80/tcp": None}


def test_without_a_network_of_its_own_a_container_shows_no_ports(lab: Lab) -> None:
    for mode in ("host", "none"):
        lab.run(mode, {"ExposedPorts": {"80/tcp": {}}}, NetworkMode=mode)
        assert views.port_map(scene(lab, mode)) == {}


def test_the_gateway_shown_is_the_one_in_use(lab: Lab) -> None:
    subnet = SubnetSpec(subnet="10.9.0.0/24", aux_addresses={"DefaultGatewayIPv4": "10.9.0.9"})
    lab.controller.create_network(NetworkSpec(name="net", subnets=(subnet,)))
    lab.run("web", NetworkMode="net")
    assert views.networks(scene(lab, "web"))["net"]["Gateway"] == "10.9.0.9"


# ---- starts ------------------------------------------------------------------------------------------------------


def test_interfaces_are_numbered_as_asked_also_after_a_restart(lab: Lab) -> None:
    for name in ("zeta", "alpha", "mid"):
        network(lab, name)
    asked = {"zeta": {}, "alpha": {"GwPriority": 9}, "mid": {}}
    lab.run("web", networks=asked, NetworkMode="zeta")

    def interfaces() -> list[tuple[str, str, bool]]:
        names = {found.id: found.name for found in lab.controller.networks()}
        endpoints = lab.containers.endpoints(lab.containers.get("web"))
        return [(e.ifname, names[e.network_id], bool(e.gateways)) for e in endpoints]

    expected = [("eth0", "zeta", False), ("eth1", "alpha", True), ("eth2", "mid", False)]
    assert interfaces() == expected
    lab.containers.restart("web")
    assert interfaces() == expected


def test_a_taken_port_keeps_the_container_and_says_why(lab: Lab) -> None:
    bindings = {"80/tcp": [{"HostPort": "8800"}]}
    lab.run("one", PortBindings=bindings)
    lab.create("two", PortBindings=bindings)
    with pytest.raises(PortTaken, match=r"on endpoint two \(\w{64}\): Bind for 0.0.0.0:8800 failed: port is already"):
        lab.containers.start("two")
    state = lab.containers.get("two").state
    assert (state.status, state.exit_code) == ("created", 128)
    assert state.error.endswith("port is already allocated")
    assert len(lab.kernel.namespaces - {""}) == 1


# ---- execs -------------------------------------------------------------------------------------------------------


def test_an_exec_starts_with_the_size_that_it_was_made_with(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Json] = []
    real = lab.runtime.exec

    def spy(id: str, process: Json, **more: Any) -> Any:
        asked.append(process)
        return real(id, process, **more)

    monkeypatch.setattr(lab.runtime, "exec", spy)
    lab.run("web")
    made = lab.containers.exec_create("web", {"Cmd": ["stty"], "Tty": True, "ConsoleSize": [30, 100]})
    resized = lab.containers.exec_create("web", {"Cmd": ["stty"], "Tty": True, "ConsoleSize": [30, 100]})
    lab.containers.exec_resize(resized, 40, 120)
    for identity in (made, resized):
        lab.containers.exec_start(identity, tty=True, detach=False)
    assert [process["consoleSize"] for process in asked] == [
        {"height": 30, "width": 100},
        {"height": 40, "width": 120},
    ]
    for process in lab.runtime.execs:
        process.finish.set()


def test_a_size_told_while_an_exec_is_being_started_is_not_lost(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = lab.runtime.exec

    def slow(id: str, process: Json, **more: Any) -> Any:
        lab.containers.exec_resize(made, 40, 120)
        return real(id, process, **more)

    monkeypatch.setattr(lab.runtime, "exec", slow)
    lab.run("web")
    made = lab.containers.exec_create("web", {"Cmd": ["stty"], "Tty": True})
    lab.containers.exec_start(made, tty=True, detach=False)
    assert lab.runtime.execs[0].size == (40, 120)
    lab.runtime.execs[0].finish.set()


@pytest.mark.parametrize("size", [[1], [1, 2, 3], "ab", [1, "2"], [-1, 2], [1, 65536], [True, 2], {"h": 1}])
def test_a_size_that_is_none_is_refused(lab: Lab, size: Any) -> None:
    lab.run("web")
    with pytest.raises(InvalidArgument, match=r"^invalid ConsoleSize: must be two numbers, rows and columns$"):
        lab.containers.exec_create("web", {"Cmd": ["stty"], "Tty": True, "ConsoleSize": size})
    with pytest.raises(InvalidArgument, match=r"^invalid ConsoleSize: "):
        lab.create("other", ConsoleSize=size)
    assert len(lab.containers.all()) == 1


# ---- clean-up ----------------------------------------------------------------------------------------------------


def test_every_failure_of_a_group_is_told() -> None:
    def fail() -> None:
        inner = ExceptionGroup("veth", [KernelError("link a is busy"), KernelError("link b is busy")])
        raise ExceptionGroup("detaching", [inner, KernelError("no memory")])

    assert each("container x", ("detaching its networks", fail)) == [
        "detaching its networks: link a is busy; link b is busy; no memory"
    ]
