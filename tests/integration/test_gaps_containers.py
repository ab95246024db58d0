"""Containers in corners, with a real daemon and a real runtime: terminal sizes, links, ndots, gateways, busy ports."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from engine.client import ApiError
from netpy.kernel import netns
from tests.integration.daemon_lab import Machine, until

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    path = f"/run/netpy-test/{secrets.token_hex(6)}"
    netns.create(path)
    machine = Machine(path)
    try:
        machine.start()
        machine.import_busybox()
        yield machine
    finally:
        machine.close()
        netns.delete(path)


@pytest.fixture
def machine(shared: Machine) -> Iterator[Machine]:
    """Empty before and, as is checked, after."""
    yield shared
    for container in shared.call("GET", "/containers/json", {"all": "1"}):
        shared.remove(container["Id"])
    shared.call("POST", "/networks/prune")
    until(lambda: not shared.leftovers())
    assert shared.call("GET", "/netpy/check") == {"Drift": []}


def refusal(machine: Machine, method: str, path: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        machine.call(method, path, body=body)
    return caught.value.status, caught.value.message


def said(machine: Machine, identity: str, start: dict[str, Any]) -> str:
    """What an exec on a terminal says."""
    output = bytearray()
    with machine.client.hijack(f"/exec/{identity}/start", body=start) as taken:
        while data := taken.recv(65536):
            output += data
    return output.decode().replace("\r\n", "\n")


# ---- terminals ---------------------------------------------------------------------------------------------------


STTY = ["busybox", "stty", "size"]
# crun sets the size of an exec's terminal while the program may be running already, and wakes it with SIGWINCH.
PATIENT_STTY = ["sh", "-c", 'while size=$(busybox stty size 2>/dev/null); [ -z "$size" ]; do :; done; echo $size']


def test_an_exec_knows_the_size_of_its_terminal(machine: Machine) -> None:
    machine.run("web", "sleep", "600")
    from_the_first_instruction = machine.call("GET", "/info")["DefaultRuntime"] == "runc"
    asking = STTY if from_the_first_instruction else PATIENT_STTY
    made = {"Cmd": asking, "Tty": True, "AttachStdin": True, "AttachStdout": True, "AttachStderr": True}
    for _ in range(3):
        identity = machine.call("POST", "/containers/web/exec", body=made | {"ConsoleSize": [31, 101]})["Id"]
        assert machine.inspect("web")["ExecIDs"] is None
        assert said(machine, identity, {"Tty": True, "ConsoleSize": [31, 101]}) == "31 101\n"
    at_start = machine.call("POST", "/containers/web/exec", body=made)["Id"]
    assert said(machine, at_start, {"Tty": True, "ConsoleSize": [32, 102]}) == "32 102\n"
    before = machine.call("POST", "/containers/web/exec", body=made)["Id"]
    machine.call("POST", f"/exec/{before}/resize", {"h": 33, "w": 103})
    assert said(machine, before, {"Tty": True}) == "33 103\n"


def test_a_container_knows_the_size_of_its_terminal_from_the_first_instruction(machine: Machine) -> None:
    identity = machine.create("web", *STTY, config={"Tty": True, "OpenStdin": True}, ConsoleSize=[34, 104])
    machine.call("POST", f"/containers/{identity}/start")
    assert machine.wait("web") == 0
    with machine.client.request("GET", "/containers/web/logs", {"stdout": "1"}) as response:
        assert response.read() == b"34 104\r\n"


def test_running_execs_are_listed(machine: Machine) -> None:
    machine.run("web", "sleep", "600")
    identity = machine.call("POST", "/containers/web/exec", body={"Cmd": ["sleep", "600"]})["Id"]
    machine.call("POST", f"/exec/{identity}/start", body={"Detach": True})
    assert machine.inspect("web")["ExecIDs"] == [identity]


# ---- networks ----------------------------------------------------------------------------------------------------


def network(machine: Machine, name: str, **more: Any) -> str:
    return machine.call("POST", "/networks/create", body={"Name": name, **more})["Id"]


def test_links_resolve_on_a_network_of_ones_own_and_for_the_linked_alone(machine: Machine) -> None:
    network(machine, "net")
    for name in ("db", "other"):
        machine.run(name, "sleep", "600", NetworkMode="net")
    machine.run("web", "sleep", "600", networks={"net": {"Links": ["db:sql"]}}, NetworkMode="net")
    address = machine.inspect("db")["NetworkSettings"]["Networks"]["net"]["IPAddress"]
    code, text = machine.exec("web", "nslookup", "sql", "127.0.0.11")
    assert (code, address in text) == (0, True), text
    code, text = machine.exec("other", "nslookup", "sql", "127.0.0.11")
    assert address not in text


def test_links_on_the_default_bridge_are_in_hosts_and_in_the_environment(machine: Machine) -> None:
    machine.run("db", "sleep", "600", config={"Env": ["PASSWORD=p"], "ExposedPorts": {"5432/tcp": {}}})
    machine.run("web", "sh", "-c", "echo $SQL_PORT $SQL_ENV_PASSWORD; cat /etc/hosts", Links=["db:sql"])
    assert machine.wait("web") == 0
    address = machine.inspect("db")["NetworkSettings"]["IPAddress"]
    lines = machine.logs("web").splitlines()
    assert lines[0] == f"tcp://{address}:5432 p"
    assert any(line.startswith(f"{address}\tsql ") for line in lines)


def test_containers_use_the_auxiliary_default_gateway(machine: Machine) -> None:
    config = [{"Subnet": "10.9.0.0/24", "AuxiliaryAddresses": {"DefaultGatewayIPv4": "10.9.0.9"}}]
    network(machine, "net", IPAM={"Driver": "default", "Config": config})
    machine.run("web", "ip", "route", NetworkMode="net")
    machine.wait("web")
    assert "default via 10.9.0.9 dev eth0" in machine.logs("web")


def test_two_subnets_of_a_family_are_refused(machine: Machine) -> None:
    config = [{"Subnet": "10.9.0.0/24"}, {"Subnet": "10.9.1.0/24"}]
    body = {"Name": "net", "IPAM": {"Driver": "default", "Config": config}}
    status, text = refusal(machine, "POST", "/networks/create", body)
    assert (status, text.partition(":")[0]) == (403, "bridge driver doesn't support multiple subnets")
    body["IPAM"]["Config"] = [{"Subnet": "10.9.0.0/33"}]
    expected = "invalid network config:\ninvalid subnet 10.9.0.0/33: invalid CIDR block notation"
    assert refusal(machine, "POST", "/networks/create", body) == (400, expected)


def test_a_busy_port_is_answered_as_docker_does(machine: Machine) -> None:
    bindings = {"80/tcp": [{"HostIp": "", "HostPort": "18080"}]}
    machine.run("one", "sleep", "600", PortBindings=bindings)
    machine.create("two", "sleep", "600", PortBindings=bindings)
    status, text = refusal(machine, "POST", "/containers/two/start")
    start, _, end = text.partition(" (")
    assert (status, start) == (500, "driver failed programming external connectivity on endpoint two")
    assert end[64:] == "): Bind for 0.0.0.0:18080 failed: port is already allocated"
    machine.remove("one")

    def listen() -> socket.socket:
        return socket.create_server(("0.0.0.0", 18080))

    with netns.run_in(machine.namespace, listen):
        status, text = refusal(machine, "POST", "/containers/two/start")
    assert (status, text.partition("): ")[2]) == (
        500,
        "failed to bind host port 0.0.0.0:18080/tcp: address already in use",
    )
    machine.call("POST", "/containers/two/start")


# ---- inspect -----------------------------------------------------------------------------------------------------


def test_a_running_container_is_shown_as_in_the_notes(machine: Machine) -> None:
    exposed = {"ExposedPorts": {"80/tcp": {}, "90/tcp": {}}}
    network(machine, "my_app_net", IPAM={"Driver": "default", "Config": [{"Subnet": "172.18.0.0/16"}]})
    identity = machine.run(
        "proxy", "sleep", "600", config=exposed, PortBindings={"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8800"}]}
    )
    sent = {"IPAMConfig": {}, "Links": None, "Aliases": [], "MacAddress": "", "DriverOpts": {}, "GwPriority": 0}
    machine.call("POST", "/networks/my_app_net/connect", body={"Container": "proxy", "EndpointConfig": sent})
    shown = machine.inspect("proxy")["NetworkSettings"]
    bridge, net = shown["Networks"]["bridge"], shown["Networks"]["my_app_net"]
    assert len(shown["SandboxID"]) == 64
    assert shown["SandboxKey"].endswith(f"/netns/{shown['SandboxID'][:12]}")
    assert shown == {
        "Bridge": "",
        "SandboxID": shown["SandboxID"],
        "SandboxKey": shown["SandboxKey"],
        "Ports": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8800"}], "90/tcp": None},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": bridge["EndpointID"],
        "Gateway": bridge["Gateway"],
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": bridge["IPAddress"],
        "IPPrefixLen": 16,
        "IPv6Gateway": "",
        "MacAddress": "02:42:" + ":".join(f"{int(part):02x}" for part in bridge["IPAddress"].split(".")),
        "Networks": {"bridge": bridge, "my_app_net": net},
    }
    assert (
        list(bridge)
        == list(net)
        == [
            "IPAMConfig",
            "Links",
            "Aliases",
            "MacAddress",
            "NetworkID",
            "EndpointID",
            "Gateway",
            "IPAddress",
            "IPPrefixLen",
            "IPv6Gateway",
            "GlobalIPv6Address",
            "GlobalIPv6PrefixLen",
            "DriverOpts",
            "DNSNames",
        ]
    )
    assert [bridge[key] for key in ("IPAMConfig", "DriverOpts", "DNSNames")] == [None, None, None]
    assert [net[key] for key in ("IPAMConfig", "DriverOpts", "DNSNames")] == [{}, {}, ["proxy", identity[:12]]]
    assert json.dumps(net["Aliases"]) in ("null", json.dumps([identity[:12]]))
