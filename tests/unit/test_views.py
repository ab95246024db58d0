"""Documents of networks and containers, key by key and in Docker's order."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.api.views import containers, networks
from engine.api.views.containers import Scene
from engine.api.views.status import human_duration, moment, status, unix_time
from engine.model import Attachment, Container, State
from netpy.model import Endpoint, EndpointSpec, Network, NetworkSpec, PortBinding, Sandbox, Subnet

BRIDGE_ID = "a97a74aca4ff2f7d0e4b154c84a7974001449a7ba41899800dfd0e40bf5083fe"
NET_ID = "306419ab57360f6f6f671741254b2c7b7d8e7c257c281bcc7bc9d81cacb8e6d3"
PROXY = "4d27bff1d6585a4df180e9353100dfeecd8400ec8c5c206e6e8980125d42e0a1"
BRIDGE_ENDPOINT = "0eb7658914853f0431c184e7b22aac887a63b72bade35d6a51cf0f9e8fb3c65f"
NET_ENDPOINT = "0f1ad05d4f93fabc56b71f0477033e06c55358701eee8c6eaa1ee06a3de55463"

OPTIONS = {
    "com.docker.network.driver.mtu": "1500",
    "com.docker.network.bridge.default_bridge": "true",
    "com.docker.network.bridge.name": "docker0",
}
BRIDGE = Network(
    id=BRIDGE_ID,
    spec=NetworkSpec(name="bridge", options=OPTIONS),
    subnets=(Subnet(subnet="172.17.0.0/16", gateway="172.17.0.1"),),
    created="2024-03-18T09:00:33.692926496Z",
    predefined=True,
)
NET = Network(
    id=NET_ID,
    spec=NetworkSpec(name="my_app_net"),
    subnets=(Subnet(subnet="172.18.0.0/16", gateway="172.18.0.1"),),
    created="2024-03-18T09:43:33.052883345Z",
)
SANDBOX = Sandbox(id=PROXY, netns=f"/run/netpy/netns/{PROXY[:12]}")
NAMES = ("proxy", PROXY[:12])


def endpoint(network: Network, id: str, **more: Any) -> Endpoint:
    spec = EndpointSpec(name="proxy", names=NAMES)
    return Endpoint(id=id, network_id=network.id, sandbox=SANDBOX, spec=spec, phase="active", **more)


ON_BRIDGE = endpoint(BRIDGE, BRIDGE_ENDPOINT, mac="02:42:ac:11:00:02", addresses=("172.17.0.2/16",))
ON_NET = endpoint(NET, NET_ENDPOINT, mac="02:42:ac:12:00:03", addresses=("172.18.0.3/16",))
CONTAINER = Container(
    id=PROXY,
    name="proxy",
    created="2024-03-18T09:40:00.5Z",
    image="nginx",
    image_id="sha256:" + "ab" * 32,
    config={"ExposedPorts": {"80/tcp": {}}, "Labels": {"a": "b"}},
    host_config={"NetworkMode": "bridge"},
    path="/docker-entrypoint.sh",
    args=("nginx", "-g", "daemon off;"),
    attachments=(
        Attachment(
            network="my_app_net", spec=EndpointSpec(name="proxy"), settings={"IPAMConfig": {}, "DriverOpts": {}}
        ),
        Attachment(network="bridge", spec=EndpointSpec(name="proxy"), settings={}),
    ),
    state=State(status="running", pid=7, started_at="2024-03-18T09:40:01Z"),
    mounts=({"Type": "bind", "Source": "/in", "Destination": "/out", "Mode": "", "RW": True, "Required": True},),
)
SCENE = Scene(
    container=CONTAINER,
    endpoints=(ON_BRIDGE, ON_NET),
    networks={"bridge": BRIDGE, "my_app_net": NET},
    data_root="/var/lib/netpy",
    exec_root="/run/netpy",
    layers=("/l/2", "/l/1"),
)


def same(shown: object, expected: str) -> None:
    """Equal, and in the same order of keys."""
    assert json.dumps(shown) == json.dumps(json.loads(expected))


def test_the_default_network_as_in_the_notes() -> None:
    same(
        networks.inspect(BRIDGE, [ON_BRIDGE]),
        """{
        "Name": "bridge",
        "Id": "a97a74aca4ff2f7d0e4b154c84a7974001449a7ba41899800dfd0e40bf5083fe",
        "Created": "2024-03-18T09:00:33.692926496Z",
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv6": false,
        "IPAM": {
            "Driver": "default",
            "Options": null,
            "Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
        },
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": {
            "4d27bff1d6585a4df180e9353100dfeecd8400ec8c5c206e6e8980125d42e0a1": {
                "Name": "proxy",
                "EndpointID": "0eb7658914853f0431c184e7b22aac887a63b72bade35d6a51cf0f9e8fb3c65f",
                "MacAddress": "02:42:ac:11:00:02",
                "IPv4Address": "172.17.0.2/16",
                "IPv6Address": ""
            }
        },
        "Options": {
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.name": "docker0",
            "com.docker.network.driver.mtu": "1500"
        },
        "Labels": {}
        }""",
    )


def test_a_network_with_everything() -> None:
    spec = NetworkSpec(
        name="all",
        ipv4=False,
        ipv6=True,
        internal=True,
        attachable=True,
        labels={"b": "2", "a": "1"},
        ipam_options_stated=True,
    )
    aux = {"z": "fd00::3", "a": "fd00::4"}
    subnet = Subnet(subnet="fd00::/64", gateway="fd00::1", ip_range="fd00::/80", aux_addresses=aux)
    shown = networks.inspect(Network(id="1" * 64, spec=spec, subnets=(subnet,)))
    assert (shown["EnableIPv4"], shown["EnableIPv6"], shown["Internal"], shown["Attachable"]) == (
        False,
        True,
        True,
        True,
    )
    assert list(shown["Labels"]) == ["a", "b"]
    same(
        shown["IPAM"],
        """{"Driver": "default", "Options": {}, "Config": [{"Subnet": "fd00::/64", "IPRange": "fd00::/80",
        "Gateway": "fd00::1", "AuxiliaryAddresses": {"a": "fd00::4", "z": "fd00::3"}}]}""",
    )


def test_an_endpoint_with_both_families() -> None:
    both = replace(ON_NET, addresses=("172.18.0.3/16", "fd00::3/64"))
    shown = networks.inspect(NET, [both])["Containers"][PROXY]
    assert (shown["IPv4Address"], shown["IPv6Address"]) == ("172.18.0.3/16", "fd00::3/64")


def test_network_settings_as_in_the_notes() -> None:
    same(
        containers.network_settings(replace(SCENE, version=(1, 44))),
        """{
        "Bridge": "",
        "SandboxID": "4d27bff1d6585a4df180e9353100dfeecd8400ec8c5c206e6e8980125d42e0a1",
        "SandboxKey": "/run/netpy/netns/4d27bff1d658",
        "Ports": {"80/tcp": null},
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": "0eb7658914853f0431c184e7b22aac887a63b72bade35d6a51cf0f9e8fb3c65f",
        "Gateway": "172.17.0.1",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": "172.17.0.2",
        "IPPrefixLen": 16,
        "IPv6Gateway": "",
        "MacAddress": "02:42:ac:11:00:02",
        "Networks": {
            "bridge": {
                "IPAMConfig": null,
                "Links": null,
                "Aliases": null,
                "MacAddress": "02:42:ac:11:00:02",
                "NetworkID": "a97a74aca4ff2f7d0e4b154c84a7974001449a7ba41899800dfd0e40bf5083fe",
                "EndpointID": "0eb7658914853f0431c184e7b22aac887a63b72bade35d6a51cf0f9e8fb3c65f",
                "Gateway": "172.17.0.1",
                "IPAddress": "172.17.0.2",
                "IPPrefixLen": 16,
                "IPv6Gateway": "",
                "GlobalIPv6Address": "",
                "GlobalIPv6PrefixLen": 0,
                "DriverOpts": null,
                "DNSNames": null
            },
            "my_app_net": {
                "IPAMConfig": {},
                "Links": null,
                "Aliases": ["4d27bff1d658"],
                "MacAddress": "02:42:ac:12:00:03",
                "NetworkID": "306419ab57360f6f6f671741254b2c7b7d8e7c257c281bcc7bc9d81cacb8e6d3",
                "EndpointID": "0f1ad05d4f93fabc56b71f0477033e06c55358701eee8c6eaa1ee06a3de55463",
                "Gateway": "172.18.0.1",
                "IPAddress": "172.18.0.3",
                "IPPrefixLen": 16,
                "IPv6Gateway": "",
                "GlobalIPv6Address": "",
                "GlobalIPv6PrefixLen": 0,
                "DriverOpts": {},
                "DNSNames": ["proxy", "4d27bff1d658"]
            }
        }
        }""",
    )


def test_the_short_id_is_no_alias_since_1_45() -> None:
    assert containers.networks(SCENE)["my_app_net"]["Aliases"] is None


def test_a_stopped_container_keeps_its_networks_without_addresses() -> None:
    stopped = replace(CONTAINER, state=State(status="exited", finished_at="2024-03-18T09:41:00Z"))
    shown = containers.network_settings(replace(SCENE, container=stopped, endpoints=()))
    assert (shown["SandboxID"], shown["SandboxKey"], shown["Ports"], shown["IPAddress"]) == ("", "", {}, "")
    assert shown["Networks"]["my_app_net"]["NetworkID"] == NET_ID
    assert shown["Networks"]["my_app_net"]["EndpointID"] == ""
    gone = containers.networks(replace(SCENE, container=stopped, endpoints=(), networks={}))["bridge"]
    assert (gone["NetworkID"], gone["IPAddress"]) == ("", "")


def test_internal_networks_show_no_gateway() -> None:
    internal = replace(NET, spec=replace(NET.spec, internal=True))
    shown = containers.networks(replace(SCENE, networks={"my_app_net": internal}))["my_app_net"]
    assert (shown["Gateway"], shown["IPAddress"]) == ("", "172.18.0.3")


def test_gateway_priority_is_shown_where_it_was_given() -> None:
    attachment = replace(CONTAINER.attachments[0], spec=EndpointSpec(name="proxy", gateway_priority=5))
    assert containers.endpoint_settings(SCENE, attachment)["GwPriority"] == 5


def test_modes_without_a_namespace_of_their_own() -> None:
    host = replace(CONTAINER, host_config={"NetworkMode": "host"})
    assert containers.network_settings(replace(SCENE, container=host))["SandboxKey"] == "/proc/1/ns/net"
    joined = replace(CONTAINER, host_config={"NetworkMode": "container:x"}, attachments=())
    shown = containers.network_settings(replace(SCENE, container=joined, endpoints=()))
    assert (shown["SandboxKey"], shown["Networks"], shown["Ports"]) == ("", {}, {})


PORTS = (
    PortBinding(container_port=80, host_ip="0.0.0.0", host_port=8800),
    PortBinding(container_port=80, host_ip="::", host_port=8800),
    PortBinding(container_port=53, protocol="udp", host_ip="127.0.0.1", host_port=5353),
)
PUBLISHED = replace(
    SCENE,
    endpoints=(replace(ON_BRIDGE, ports=PORTS), replace(ON_NET, ports=PORTS)),
    container=replace(CONTAINER, config={"ExposedPorts": {"80/tcp": {}, "9000/tcp": {}}}),
)


def test_published_ports() -> None:
    same(
        containers.port_map(PUBLISHED),
        """{"53/udp": [{"HostIp": "127.0.0.1", "HostPort": "5353"}],
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8800"}, {"HostIp": "::", "HostPort": "8800"}],
        "9000/tcp": null}""",
    )
    same(
        containers.port_list(PUBLISHED),
        """[{"IP": "127.0.0.1", "PrivatePort": 53, "PublicPort": 5353, "Type": "udp"},
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8800, "Type": "tcp"},
        {"IP": "::", "PrivatePort": 80, "PublicPort": 8800, "Type": "tcp"},
        {"PrivatePort": 9000, "Type": "tcp"}]""",
    )


def test_inspect_has_dockers_keys_in_order() -> None:
    shown = containers.inspect(replace(SCENE, sizes=(1, 2)))
    expected = (
        "Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount Driver "
        "Platform MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig GraphDriver SizeRw SizeRootFs Mounts "
        "Config NetworkSettings"
    )
    assert list(shown) == expected.split()
    states = "Status Running Paused Restarting OOMKilled Dead Pid ExitCode Error StartedAt FinishedAt"
    assert list(shown["State"]) == states.split()
    assert shown["HostsPath"] == f"/var/lib/netpy/containers/{PROXY}/hosts"
    assert shown["GraphDriver"]["Data"]["LowerDir"] == "/l/2:/l/1"
    assert shown["Mounts"] == [{"Type": "bind", "Source": "/in", "Destination": "/out", "Mode": "", "RW": True}]
    assert (shown["Name"], shown["Args"]) == ("/proxy", ["nginx", "-g", "daemon off;"])


def test_summary() -> None:
    now = datetime(2024, 3, 18, 9, 40, 4, tzinfo=UTC)
    shown = containers.summary(replace(SCENE, image_name="nginx:1"), now)
    assert (shown["Names"], shown["Image"], shown["State"], shown["Status"]) == (
        ["/proxy"],
        "nginx:1",
        "running",
        "Up 3 seconds",
    )
    assert shown["Command"] == "/docker-entrypoint.sh nginx -g 'daemon off;'"
    assert shown["Created"] == 1710754800
    assert shown["HostConfig"] == {"NetworkMode": "bridge"}
    assert list(shown["NetworkSettings"]["Networks"]) == ["bridge", "my_app_net"]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State(), "Created"),
        (State(status="running", started_at="2024-01-01T00:00:00Z"), "Up 5 minutes"),
        (State(status="paused", started_at="2024-01-01T00:00:00Z"), "Up 5 minutes (Paused)"),
        (State(status="exited", exit_code=137, finished_at="2024-01-01T00:04:50Z"), "Exited (137) 10 seconds ago"),
        (State(status="restarting", exit_code=1, finished_at="2024-01-01T00:04:59Z"), "Restarting (1) 1 second ago"),
        (State(status="exited"), ""),
        (State(status="removing"), "Removal In Progress"),
        (State(status="dead"), "Dead"),
        (State(status="running", started_at="2024-01-01T00:09:00Z"), "Up Less than a second"),
    ],
)
def test_status(state: State, text: str) -> None:
    assert status(state, datetime(2024, 1, 1, 0, 5, tzinfo=UTC)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "Less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5400, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_moments() -> None:
    assert moment("2024-03-18T09:00:33.692926496Z").microsecond == 692926
    assert moment("2024-03-18T09:00:33Z").second == 33
    assert unix_time("1970-01-01T00:01:00.5Z") == 60
