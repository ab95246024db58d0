"""Debian's reference plugins under the driver `cni`, on the real kernel, in a namespace that plays the host."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from netpy_cni.driver import CniDriver

from netpy.controller import Controller, Settings
from netpy.drivers import Defaults
from netpy.drivers.registry import Registry
from netpy.errors import NetpyError
from netpy.kernel import netns
from netpy.kernel.linux import LinuxKernel
from netpy.kernel.nft.backend import Nftables
from netpy.model import Endpoint, EndpointSpec, NetworkSpec, PortBinding, Sandbox
from netpy.store import Store
from netpy.testing import RecordingNames

T = TypeVar("T")
PLUGINS = Path("/usr/lib/cni")
SCRIPT = Path(__file__).with_name("plugin.py")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not (PLUGINS / "portmap").exists(), reason="needs Debian's containernetworking-plugins"),
]
INSTANCE = "netpy-cnitest"


class Machine:
    """A host in a namespace, with a controller and two sandboxes."""

    def __init__(self, path: Path) -> None:
        self.directory = f"/run/netpy-test/{secrets.token_hex(6)}"
        self.path = path
        self.host = f"{self.directory}/host"
        netns.create(self.host)
        self.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire")
        self.run("ip", "addr", "add", "192.0.2.1/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "link", "set", "wire", "up")
        self.store = Store(":memory:")
        self.sandboxes = {number: f"{self.directory}/{number}" for number in (1, 2)}
        for sandbox in self.sandboxes.values():
            netns.create(sandbox)
        self.controller = self.inside(self._controller)

    def _controller(self) -> Controller:
        drivers = Registry(Defaults(instance=INSTANCE), plugins=())
        drivers.add("cni", CniDriver(Defaults(instance=INSTANCE)))
        self.kernel = LinuxKernel(Nftables(INSTANCE), INSTANCE)
        settings = Settings(instance=INSTANCE, host_id="test")
        return Controller(
            store=self.store, kernel=self.kernel, drivers=drivers, names=RecordingNames(), settings=settings
        )

    def close(self) -> None:
        self.kernel.close()
        for path in (self.host, *self.sandboxes.values()):
            netns.delete(path)
        Path(self.directory).rmdir()

    def inside(self, work: Callable[[], T]) -> T:
        return netns.run_in(self.host, work)

    def run(self, *command: str) -> str:
        full = ["nsenter", f"--net={self.host}", *command]
        return subprocess.run(full, check=True, capture_output=True, text=True).stdout

    def create(self, *plugins: dict[str, Any], bin_dir: Path = PLUGINS, **more: Any) -> None:
        file = self.path / "lab.conflist"
        file.write_text(json.dumps({"cniVersion": "1.0.0", "name": "lab", "plugins": plugins, **more}))
        options = {"conflist": str(file), "bin-dir": str(bin_dir), "timeout": "10"}
        self.inside(lambda: self.controller.create_network(NetworkSpec(name="lab", driver="cni", options=options)))

    def attach(self, number: int = 1, **spec: Any) -> Endpoint:
        sandbox = Sandbox(id=f"{number:064x}", netns=self.sandboxes[number])
        request = EndpointSpec(name=f"box{number}", **spec)
        return self.inside(lambda: self.controller.attach(sandbox, [("lab", request)]))[0]

    def detach(self, number: int = 1) -> None:
        self.inside(lambda: self.controller.detach(f"{number:064x}"))

    def check(self) -> list[str]:
        return self.inside(lambda: self.controller.check())

    def links(self, number: int) -> set[str]:
        shown = subprocess.run(
            ["nsenter", f"--net={self.sandboxes[number]}", "ip", "-j", "link"], check=True, capture_output=True
        )
        return {each["ifname"] for each in json.loads(shown.stdout)} - {"lo"}

    def is_clean(self) -> bool:
        """No link, no rule of a container and no address of theirs is left."""
        left = {each["ifname"] for each in json.loads(self.run("ip", "-j", "link"))} - {"lo", "eth0", "wire", "lab0"}
        rules = [line for line in self.run("iptables-save").splitlines() if f"{1:064x}"[:12] in line]
        return not left and not rules and not self.leases() and not self.links(1)

    def leases(self) -> list[str]:
        """The addresses that host-local holds."""
        return [each.name for each in (self.path / "ipam").glob("*/*") if each.name[0].isdigit()]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.close()


def ipam(path: Path, *more: str) -> dict[str, Any]:
    return {
        "type": "host-local",
        "dataDir": str(path / "ipam"),
        "ranges": [[{"subnet": subnet}] for subnet in ("10.91.0.0/24", *more)],
        "routes": [{"dst": "0.0.0.0/0"}, *({"dst": "::/0"} for _ in more)],
    }


def bridge(path: Path) -> dict[str, Any]:
    options = {"bridge": "lab0", "isGateway": True, "ipMasq": True, "capabilities": {"ips": True}}
    return {"type": "bridge", **options, "ipam": ipam(path)}


PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}


def _serve(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(b"hello")


def answered(machine: Machine, address: tuple[str, int]) -> str:
    """What a server in the first sandbox, on port 80, answers to a client on the host."""
    server = netns.run_in(machine.sandboxes[1], lambda: socket.create_server(("0.0.0.0", 80)))
    with server:
        thread = threading.Thread(target=lambda: _serve(server))
        thread.start()
        client = machine.inside(lambda: socket.create_connection(address, timeout=5))
        with client:
            said = client.recv(100).decode()
        thread.join()
    return said


# Debian's portmap, at CHECK, looks for the rules of IPv6 whether there is an IPv6 address or not: hence disableCheck.
def test_bridge_with_ports_firewall_and_tuning(machine: Machine, tmp_path: Path) -> None:
    tuning = {"type": "tuning", "capabilities": {"mac": True}, "sysctl": {"net.core.somaxconn": "500"}}
    machine.create(bridge(tmp_path), tuning, PORTMAP, {"type": "firewall", "backend": "iptables"}, disableCheck=True)
    ports = (PortBinding(container_port=80, host_port=8080), PortBinding(container_port=81))
    endpoint = machine.attach(addresses=("10.91.0.77",), mac="02:42:0a:5b:00:4d", ports=ports)
    assert endpoint.addresses == ("10.91.0.77/24",)
    assert endpoint.routers == ("10.91.0.1",)
    assert endpoint.mac == "02:42:0a:5b:00:4d"
    assert {port.container_port for port in endpoint.ports} == {80, 81}
    assert machine.check() == []
    assert answered(machine, ("192.0.2.1", 8080)) == "hello"
    second = machine.attach(2)
    assert second.addresses[0] != endpoint.addresses[0]
    machine.detach(2)
    machine.detach()
    assert machine.is_clean()


@pytest.mark.parametrize("kind", ["ptp", "macvlan"])
def test_other_interface_plugins(machine: Machine, tmp_path: Path, kind: str) -> None:
    options = {"ptp": {"ipMasq": True}, "macvlan": {"master": "eth0", "mode": "bridge"}}[kind]
    machine.create({"type": kind, **options, "ipam": ipam(tmp_path, "fd91::/64")})
    endpoint = machine.attach()
    assert endpoint.addresses == ("10.91.0.2/24", "fd91::2/64")
    assert endpoint.routers == ("10.91.0.1", "fd91::1")
    assert machine.links(1) == {"eth0"}
    assert machine.check() == []
    machine.detach()
    assert machine.is_clean()


def test_bandwidth(machine: Machine, tmp_path: Path) -> None:
    try:
        machine.run("ip", "link", "add", "ifb9", "type", "ifb")
        machine.run(
            "tc", "qdisc", "add", "dev", "ifb9", "root", "tbf", "rate", "1mbit", "burst", "32kbit", "latency", "9ms"
        )
        machine.run("ip", "link", "del", "ifb9")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this kernel has no ifb links or no tbf: {error.stderr}")
    machine.create(bridge(tmp_path), {"type": "bandwidth", "capabilities": {"bandwidth": True}})
    machine.attach(options={"cni.ingress-rate": "1000000", "cni.egress-rate": "2000000"})
    assert "tbf" in machine.run("tc", "qdisc")
    machine.detach()
    assert machine.is_clean()


def test_what_somebody_removes_is_named(machine: Machine, tmp_path: Path) -> None:
    machine.create(bridge(tmp_path))
    machine.attach()
    subprocess.run(["nsenter", f"--net={machine.sandboxes[1]}", "ip", "link", "del", "eth0"], check=True)
    lines = machine.check()
    assert any(line.startswith("link eth0 netns 1: missing") for line in lines), lines
    assert any("plugin bridge: CHECK" in line for line in lines), lines
    machine.detach()
    assert not machine.leases()


def test_a_later_plugin_that_fails_takes_the_earlier_ones_along(machine: Machine, tmp_path: Path) -> None:
    machine.create(bridge(tmp_path), {"type": "tuning", "sysctl": {"net.core.nonsense": "1"}})
    with pytest.raises(NetpyError, match="driver cni: acquire: plugin tuning: ADD: "):
        machine.attach()
    assert machine.is_clean()
    assert machine.inside(lambda: machine.controller.endpoints()) == []


def test_a_sandbox_that_is_gone_is_still_given_back(machine: Machine, tmp_path: Path) -> None:
    machine.create(bridge(tmp_path), PORTMAP)
    machine.attach(ports=(PortBinding(container_port=80, host_port=8080),))
    netns.delete(machine.sandboxes[1])
    machine.detach()
    # Not everything: Debian's bridge forgets its masquerading rule when it cannot look into the namespace.
    assert not machine.leases()
    assert "8080" not in machine.run("iptables-save", "-t", "nat")
    assert machine.inside(lambda: machine.controller.endpoints()) == []
    netns.create(machine.sandboxes[1])


def own(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "one").symlink_to(SCRIPT)
    return tmp_path / "bin"


def test_an_interface_that_was_promised_and_is_not_there(machine: Machine, tmp_path: Path) -> None:
    machine.create({"type": "one"}, bin_dir=own(tmp_path))
    with pytest.raises(NetpyError, match="eth0 is not there or not as CNI network lab said"):
        machine.attach()
    assert machine.inside(lambda: machine.controller.endpoints()) == []


def test_an_interface_that_del_leaves_behind_is_removed_and_told_of(machine: Machine, tmp_path: Path) -> None:
    machine.create({"type": "one", "device": True, "leak": True}, bin_dir=own(tmp_path))
    machine.attach()
    assert machine.links(1) == {"eth0"}
    with pytest.raises(ExceptionGroup) as caught:
        machine.detach()
    assert "driver cni: release left eth0 in the sandbox: removed" in str(caught.value.exceptions[0])
    assert not machine.links(1)
