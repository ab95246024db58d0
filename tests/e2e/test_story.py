"""The story that the project was made for, told through the command line on both firewall backends."""

from __future__ import annotations

import re
from collections import Counter
from ipaddress import ip_network

import pytest

from tests.e2e.world import HOST_ADDRESS, Daemon, World, eventually

pytestmark = pytest.mark.root


def serve(text: str) -> str:
    """A shell command that answers every HTTP request on port 80 with `text`."""
    return f"mkdir -p /var/www && echo {text} > /var/www/index.html && exec httpd -f -p 80 -h /var/www"


def test_three_networks_from_the_first_start(netpy: Daemon) -> None:
    lines = netpy("network", "ls").splitlines()
    assert lines[0].split() == ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]
    assert [line.split()[1:] for line in lines[1:]] == [
        ["bridge", "bridge", "local"],
        ["host", "host", "local"],
        ["none", "null", "local"],
    ]
    assert netpy("network", "ls", "--filter", "driver=bridge", "--format", "{{.Name}}") == "bridge"
    assert re.fullmatch(r"[0-9a-f]{12}", netpy("network", "ls", "--filter", "name=none", "-q"))
    assert re.fullmatch(r"[0-9a-f]{64}", netpy("network", "ls", "--filter", "name=none", "-q", "--no-trunc"))


def test_a_network_is_created_and_inspected_as_docker_shows_it(netpy: Daemon) -> None:
    network_id = netpy("network", "create", "my_app_net")
    assert re.fullmatch(r"[0-9a-f]{64}", network_id)
    container_id = netpy("run", "-d", "--name", "subnet_nginx", "--network", "my_app_net", "busybox", "sleep", "1000")
    (found,) = netpy.json("network", "inspect", "my_app_net")
    endpoint = found["Containers"][container_id]
    assert list(found) == [
        "Name", "Id", "Created", "Scope", "Driver", "EnableIPv6", "IPAM", "Internal", "Attachable",
        "Ingress", "ConfigFrom", "ConfigOnly", "Containers", "Options", "Labels",
    ]  # fmt: skip
    assert found["Id"] == network_id and found["Driver"] == "bridge" and found["Scope"] == "local"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", found["Created"])
    subnet = ip_network(found["IPAM"]["Config"][0]["Subnet"])
    assert found["IPAM"] == {
        "Driver": "default",
        "Options": {},
        "Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1])}],
    }
    assert endpoint["Name"] == "subnet_nginx"
    assert endpoint["IPv4Address"] == f"{subnet[2]}/{subnet.prefixlen}" and endpoint["IPv6Address"] == ""
    octets = [int(part) for part in endpoint["IPv4Address"].partition("/")[0].split(".")]
    assert endpoint["MacAddress"] == "02:42:" + ":".join(f"{octet:02x}" for octet in octets)
    assert found["Options"] == {} and found["Labels"] == {} and found["ConfigFrom"] == {"Network": ""}


def test_a_container_is_plugged_into_a_second_network(netpy: Daemon) -> None:
    netpy("network", "create", "my_app_net")
    netpy("run", "-d", "--name", "proxy", "busybox", "sleep", "1000")
    netpy("network", "connect", "my_app_net", "proxy")
    (found,) = netpy.json("container", "inspect", "proxy")
    networks = found["NetworkSettings"]["Networks"]
    assert list(networks) == ["bridge", "my_app_net"]
    assert networks["my_app_net"]["IPAddress"] != networks["bridge"]["IPAddress"]
    assert networks["my_app_net"]["DNSNames"] == ["proxy", found["Id"][:12]]
    address = netpy("container", "inspect", "--format", "{{ .NetworkSettings.IPAddress }}", "proxy")
    assert address == networks["bridge"]["IPAddress"] == found["NetworkSettings"]["IPAddress"]
    assert "eth1" in netpy("exec", "proxy", "ip", "addr")
    netpy("network", "disconnect", "my_app_net", "proxy")
    assert "eth1" not in netpy("exec", "proxy", "ip", "addr")


def test_an_alias_is_answered_in_turn(netpy: Daemon) -> None:
    netpy("network", "create", "dude")
    for text in ("lockheed", "hanna"):
        netpy("run", "-d", "--net", "dude", "--net-alias", "search", "busybox", "sh", "-c", serve(text))
    looked_up = netpy("run", "--rm", "--net", "dude", "busybox", "nslookup", "search", "127.0.0.11")
    assert len(re.findall(r"^Address.*172\.|^Address.*10\.|^Address.*192\.", looked_up, re.M)) == 2, looked_up
    loop = "for i in 1 2 3 4 5 6 7 8 9 10; do wget -q -O - http://search/; done"
    answers = Counter(netpy("run", "--rm", "--network", "dude", "busybox", "sh", "-c", loop).split())
    assert answers == {"lockheed": 5, "hanna": 5}


def test_names_work_between_containers_of_one_network_only(netpy: Daemon) -> None:
    for network in ("inner", "other"):
        netpy("network", "create", network)
    netpy("run", "-d", "--name", "new_nginx", "--network", "inner", "busybox", "sleep", "1000")
    netpy("run", "-d", "--name", "my_nginx", "--network", "inner", "busybox", "sleep", "1000")
    netpy("run", "-d", "--name", "stranger", "--network", "other", "busybox", "sleep", "1000")
    assert "1 packets received" in netpy("container", "exec", "my_nginx", "ping", "-c1", "new_nginx")
    assert "1 packets received" in netpy("exec", "my_nginx", "ping", "-c1", "new_nginx.inner")
    assert netpy.run("exec", "stranger", "ping", "-c1", "-W1", "new_nginx", check=False).returncode != 0
    target = netpy("inspect", "-f", "{{.NetworkSettings.Networks.inner.IPAddress}}", "new_nginx")
    assert netpy.run("exec", "stranger", "ping", "-c1", "-W1", target, check=False).returncode != 0
    netpy("rename", "new_nginx", "newer")
    assert "1 packets received" in netpy("exec", "my_nginx", "ping", "-c1", "newer")


def test_a_published_port_answers_from_outside(netpy: Daemon, world: World) -> None:
    netpy("run", "-d", "-p", "8800:80", "--name", "web", "busybox", "sh", "-c", serve("hello"))
    from_outside = ("curl", "-s", "--max-time", "3", f"http://{HOST_ADDRESS}:8800/")
    eventually(lambda: world.at(world.outside, *from_outside, check=False).stdout == "hello\n", "hello from outside")
    assert world.at(world.host, "curl", "-s", "--max-time", "3", "http://127.0.0.1:8800/").stdout == "hello\n"
    assert world.at(world.host, "curl", "-s", "--max-time", "3", "http://localhost:8800/").stdout == "hello\n"
    assert netpy("container", "port", "web") == "80/tcp -> 0.0.0.0:8800"
    assert netpy("port", "web", "80") == "0.0.0.0:8800"
    assert "0.0.0.0:8800->80/tcp" in netpy("ps")
    direct = netpy("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web")
    blocked = world.at(world.outside, "curl", "-s", "--max-time", "1", f"http://{direct}/", check=False)
    assert blocked.returncode != 0, "an unpublished way to the container stood open"
    netpy("rm", "-f", "web")
    assert world.at(world.outside, *from_outside, check=False).returncode != 0


def test_containers_reach_the_outside_behind_the_hosts_address(netpy: Daemon, world: World) -> None:
    assert "1 packets received" in netpy("run", "--rm", "busybox", "ping", "-c1", "-W3", "198.51.100.2")
    netpy("network", "create", "--internal", "closed")
    shut = netpy.run("run", "--rm", "--network", "closed", "busybox", "ping", "-c1", "-W1", "198.51.100.2", check=False)
    assert shut.returncode != 0


def test_host_none_and_shared_namespaces(netpy: Daemon) -> None:
    assert "uplink" in netpy("run", "--rm", "--network", "host", "busybox", "ip", "link")
    alone = netpy("run", "--rm", "--network", "none", "busybox", "ip", "-o", "link")
    assert len(alone.splitlines()) == 1 and "lo" in alone
    netpy("run", "-d", "--name", "owner", "busybox", "sleep", "1000")
    mine = netpy("run", "--rm", "--network", "container:owner", "busybox", "ip", "-o", "-4", "addr", "show", "eth0")
    assert netpy("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "owner") in mine
