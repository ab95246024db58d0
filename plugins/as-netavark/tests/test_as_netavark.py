"""The plugin, run as netavark runs it: argv, JSON on standard input, in a namespace that plays the host."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from netpy_as_netavark import messages

from netpy import InvalidArgument, Unsupported
from netpy.kernel import netns
from netpy.nameserver import Nameserver

T = TypeVar("T")
Json = dict[str, Any]
PROGRAM = [sys.executable, "-m", "netpy_as_netavark.main"]
ID = "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9"
NETAVARKS = [shutil.which("netavark"), "/usr/lib/podman/netavark", "/usr/libexec/podman/netavark"]


def network(**more: Any) -> Json:
    body = {"name": "blue", "id": ID, "driver": "netpy", "internal": False, "ipv6_enabled": False, "dns_enabled": True}
    return {**body, "ipam_options": {}, "options": {}, **more}


def call(made: Json, number: int = 1, **more: Any) -> Json:
    subnets = [each["subnet"].partition("/")[0] for each in made.get("subnets", [])]
    static = [
        first[: first.rindex(":") + 1] + f"{number + 1}" if ":" in first else first[:-1] + f"{number + 1}"
        for first in subnets
    ]
    body = {"container_id": f"{number:064x}", "container_name": f"box{number}", "port_mappings": [], "network": made}
    return {
        **body,
        "network_options": {"interface_name": "eth0", "static_ips": static, "aliases": [f"alias{number}"]},
        **more,
    }


# ---- without root -------------------------------------------------------------------------------------------------


def test_port_ranges_and_protocols_are_written_out() -> None:
    mapping = {"container_port": 80, "host_port": 8080, "protocol": "tcp,udp", "range": 2, "host_ip": "127.0.0.1"}
    ports = messages.call(call(network(), port_mappings=[mapping])).spec.ports
    assert [(p.protocol, p.container_port, p.host_port) for p in ports] == [
        ("tcp", 80, 8080), ("tcp", 81, 8081), ("udp", 80, 8080), ("udp", 81, 8081),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"container_id": 7}, "container_id is 7, which is no str"),
        ({"container_id": ""}, "container_id is missing"),
        ({"network": []}, "network is [], not a JSON object"),
        ({"network": {"name": "x", "id": "y"}}, "driver is missing"),
        ({"network_options": {"static_ips": []}}, "interface_name is missing"),
        ({"port_mappings": [{"container_port": "80"}]}, "container_port is '80', which is no int"),
        ({"port_mappings": [{"container_port": 80, "protocol": "icmp"}]}, "unknown protocol 'icmp'"),
    ],
)
def test_a_malformed_call_is_refused_by_field(change: Json, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        messages.call(call(network(), **change))
    assert said in str(caught.value)


def test_what_netpy_does_not_have_is_refused() -> None:
    with pytest.raises(Unsupported, match="static routes"):
        messages.network_spec(network(routes=[{"destination": "10.0.0.0/8", "gateway": "10.1.0.1"}]))
    with pytest.raises(Unsupported, match="ipam driver dhcp"):
        messages.network_spec(network(ipam_options={"driver": "dhcp"}))


def test_info_and_bad_usage() -> None:
    told = subprocess.run([*PROGRAM, "info"], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout)["api_version"] == "1.0.0"
    for arguments, stdin, said in (([], "", "usage"), (["setup"], "{}", "usage"), (["create"], "{", "is no JSON")):
        refused = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, input=stdin)
        assert refused.returncode == 1 and said in json.loads(refused.stdout)["error"]


# ---- on the kernel ------------------------------------------------------------------------------------------------


class Host:
    """A namespace that plays the host, sandboxes, and a state directory of their own."""

    def __init__(self) -> None:
        tag = secrets.token_hex(3)
        self.root = Path(f"/run/npt-{tag}")
        self.path = f"/run/netns/npt-{tag}"
        self.made: list[str] = []
        netns.create(self.path)
        self.ip("link", "set", "lo", "up")

    def sandbox(self, number: int) -> str:
        path = f"{self.path}-{number}"
        netns.create(path)
        self.made.append(path)
        return path

    def command(self, *arguments: str) -> list[str]:
        return ["nsenter", f"--net={self.path}", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "NETPY_NETAVARK_ROOT": str(self.root)}

    def ip(self, *arguments: str, netns: str = "") -> str:
        command = ["nsenter", f"--net={netns or self.path}", "ip", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def run(self, *arguments: str, stdin: Json) -> Json:
        """What the plugin answers; {} for nothing."""
        done = self.tried(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout or "{}")

    def tried(self, *arguments: str, stdin: Json) -> subprocess.CompletedProcess[str]:
        command = self.command(*PROGRAM, *arguments)
        return subprocess.run(command, capture_output=True, text=True, input=json.dumps(stdin), env=self.environment)

    def refused(self, *arguments: str, stdin: Json) -> str:
        done = self.tried(*arguments, stdin=stdin)
        assert done.returncode == 1, done.stdout
        return str(json.loads(done.stdout)["error"])

    def inside(self, path: str, work: Callable[[], T]) -> T:
        return netns.run_in(path, work)

    def leftovers(self) -> list[str]:
        links = [line.split()[0] for line in self.ip("-br", "link").splitlines()]
        rules = subprocess.run(self.command("nft", "list", "tables"), capture_output=True, text=True, check=True)
        return [*(each for each in links if each != "lo"), *rules.stdout.splitlines()]

    def close(self) -> None:
        if self.root.exists():
            Nameserver(self.root).shutdown()  # it would end by itself, a little later
        for path in [*self.made, self.path]:
            netns.delete(path)
        shutil.rmtree(self.root, ignore_errors=True)


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


def serve(path: str, port: int) -> socket.socket:
    """A listener in a namespace that is ready when this returns; `answered` takes one call."""
    return netns.run_in(path, lambda: socket.create_server(("0.0.0.0", port)))


def answered(host: Host, listener: socket.socket, address: tuple[str, int]) -> bool:
    with host.inside(host.path, lambda: socket.create_connection(address, timeout=5)) as caller:
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(b"hello")
        return caller.recv(5) == b"hello"


@pytest.mark.root
def test_a_container_comes_and_goes(host: Host) -> None:
    made = host.run("create", stdin=network(ipv6_enabled=True, options={"mtu": "1400"}))
    assert made["ipam_options"] == {"driver": "host-local"} and made["network_interface"] == f"npy-{ID[:10]}"
    assert [":" in each["subnet"] for each in made["subnets"]] == [False, True]
    assert all(each["gateway"] for each in made["subnets"]) and made["id"] == ID
    one, two = host.sandbox(1), host.sandbox(2)
    ports = [{"container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 1}]
    mac = "aa:bb:cc:dd:aa:00"
    first = call(made, 1, port_mappings=ports)
    first["network_options"]["static_mac"] = mac
    status = host.run("setup", one, stdin=first)
    assert status["dns_server_ips"] == ["127.0.0.11"]
    assert status["interfaces"]["eth0"]["mac_address"] == mac
    addresses = [each["ipnet"].partition("/")[0] for each in status["interfaces"]["eth0"]["subnets"]]
    assert addresses == first["network_options"]["static_ips"]
    link = host.ip("addr", "show", "eth0", netns=one)
    assert mac in link and "mtu 1400" in link and all(each in link for each in addresses)
    assert f"default via {made['subnets'][0]['gateway']}" in host.ip("route", netns=one)
    with serve(one, 80) as listener:
        assert answered(host, listener, ("127.0.0.1", 8080))
    host.run("setup", two, stdin=call(made, 2))
    for name in ("box1", "alias1"):
        asked = ["nsenter", f"--net={two}", "busybox", "nslookup", name, "127.0.0.11"]
        assert addresses[0] in subprocess.run(asked, capture_output=True, text=True).stdout
    host.run("teardown", one, stdin=first)
    assert "eth0" not in host.ip("link", netns=one)
    netns.delete(two)
    host.run("teardown", two, stdin=call(made, 2))
    host.run("teardown", two, stdin=call(made, 2))
    assert host.leftovers() == []


@pytest.mark.root
def test_a_container_on_two_networks_publishes_once_and_goes_on_when_one_is_left(host: Host) -> None:
    blue = host.run("create", stdin=network())
    green = host.run("create", stdin=network(name="green", id=ID[::-1]))
    assert blue["subnets"] != green["subnets"]
    ports = [{"container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 1}]
    box = host.sandbox(1)
    on_blue, on_green = call(blue, port_mappings=ports), call(green, port_mappings=ports)
    on_green["network_options"]["interface_name"] = "eth1"
    host.run("setup", box, stdin=on_blue)
    host.run("setup", box, stdin=on_green)
    with serve(box, 80) as listener:
        assert answered(host, listener, ("127.0.0.1", 8080))
        host.run("teardown", box, stdin=on_blue)
        assert answered(host, listener, ("127.0.0.1", 8080))
    host.run("teardown", box, stdin=on_green)
    assert host.leftovers() == []


@pytest.mark.root
def test_bad_requests_change_nothing(host: Host) -> None:
    assert "has no option colour" in host.refused("create", stdin=network(options={"colour": "red"}))
    assert "could not find plugin" in host.refused("create", stdin=network(options={"driver": "nonesuch"}))
    assert "mtu" in host.refused("create", stdin=network(options={"mtu": "many"}))
    subnet = [{"subnet": "10.9.0.0/24", "gateway": "10.8.0.1"}]
    assert "10.8.0.1" in host.refused("create", stdin=network(subnets=subnet))
    made = host.run("create", stdin=network(subnets=[{"subnet": "10.9.0.0/24"}]))
    assert made["subnets"] == [{"subnet": "10.9.0.0/24", "gateway": "10.9.0.1"}]
    assert "npt" in host.refused("setup", f"{host.path}-none", stdin=call(made))
    assert host.leftovers() == []
    one, two = host.sandbox(1), host.sandbox(2)
    host.run("setup", one, stdin=call(made))
    twin = call(made, 2)
    twin["network_options"]["static_ips"] = call(made)["network_options"]["static_ips"]
    assert "Address already in use" in host.refused("setup", two, stdin=twin)
    assert "eth0" not in host.ip("link", netns=two)
    netns.delete(one)  # its engine never said so: the address is free all the same
    host.run("setup", two, stdin=twin)
    host.run("teardown", two, stdin=twin)
    assert host.leftovers() == []


@pytest.mark.root
def test_many_at_once(host: Host) -> None:
    made = host.run("create", stdin=network(dns_enabled=False))
    boxes = [(host.sandbox(number), call(made, number)) for number in range(1, 7)]
    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(lambda box: host.run("setup", box[0], stdin=box[1]), boxes))
        assert [each["dns_server_ips"] for each in statuses] == [[]] * 6
        assert all("eth0" in host.ip("link", netns=path) for path, _ in boxes)
        list(pool.map(lambda box: host.run("teardown", box[0], stdin=box[1]), boxes))
    assert host.leftovers() == []


@pytest.mark.root
def test_a_call_that_is_killed_leaves_nothing_for_long(host: Host) -> None:
    made = host.run("create", stdin=network(dns_enabled=False))
    box = host.sandbox(1)
    command = host.command(*PROGRAM, "setup", box)
    killed = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=host.environment)
    assert killed.stdin
    killed.stdin.write(json.dumps(call(made)).encode())
    killed.stdin.close()
    while not (host.root / "unfinished").exists():
        assert killed.poll() is None
    killed.kill()
    killed.wait()
    host.run("setup", box, stdin=call(made))
    assert "eth0" in host.ip("link", netns=box)
    host.run("teardown", box, stdin=call(made))
    assert host.leftovers() == [] and not (host.root / "unfinished").exists()


def _real_netavark() -> str:
    for path in NETAVARKS:
        if path and Path(path).exists():
            told = subprocess.run([path, "--help"], capture_output=True, text=True).stdout
            if "--plugin-directory" in told:
                return path
    return ""


@pytest.mark.root
@pytest.mark.skipif(not _real_netavark(), reason="needs a netavark with plugins (1.6 or newer; Debian 12 has 1.4)")
def test_netavark_itself_calls_us(host: Host, tmp_path: Path) -> None:
    plugin = tmp_path / "plugins" / "netpy"
    plugin.parent.mkdir()
    plugin.write_text(f'#!/bin/sh\nexec {" ".join(PROGRAM)} "$@"\n')
    plugin.chmod(0o755)
    made = host.run("create", stdin=network())
    box, asked = host.sandbox(1), call(made)
    document = {
        "container_id": asked["container_id"],
        "container_name": asked["container_name"],
        "networks": {"blue": asked["network_options"]},
        "network_info": {"blue": made},
        "port_mappings": [],
    }

    def netavark(verb: str) -> str:
        command = [_real_netavark(), "-c", str(tmp_path), "--plugin-directory", str(plugin.parent), verb, box]
        done = subprocess.run(
            host.command(*command), input=json.dumps(document), capture_output=True, text=True, env=host.environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    status = json.loads(netavark("setup"))["blue"]["interfaces"]["eth0"]
    assert status["subnets"][0]["ipnet"].partition("/")[0] in host.ip("addr", netns=box)
    netavark("teardown")
    assert host.leftovers() == []
