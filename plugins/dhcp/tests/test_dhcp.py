"""The driver `dhcp`: its contract in memory, what it decides, and how it reads a server's words."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from netpy_dhcp import DhcpDriver
from netpy_dhcp.client import SCRIPT, Ask, Clients, Stand, program
from netpy_dhcp.lease import Lease, label, parsed

from netpy.diff import State
from netpy.drivers import Defaults, Driver
from netpy.errors import Conflict, DriverError, InvalidArgument
from netpy.model import EndpointSpec, NetworkSpec, SubnetSpec
from netpy.objects import Bridge, Child, Key, Route
from netpy.testing import DriverContract, Machine, machine

PARENT = Bridge(name="up0", mac="02:00:00:00:00:01", mtu=1500, mark="")
REPORT = (
    b"event=bound\0ip=192.0.2.7\0mask=24\0router=192.0.2.1 192.0.2.2\0dns=192.0.2.3 x\0domain=lan.example\0lease=600\0"
)
REPORT += b"serverid=192.0.2.1\0"


class Written(Clients):
    """Clients on a LAN that is written down here: the driver's decisions need neither root nor network."""

    def lease(self, ask: Ask, stand: Stand, seconds: int) -> Lease:
        number = int(ask.id[:2], 16) % 200 + 2
        return parsed(REPORT.replace(b"192.0.2.7", f"192.0.2.{number}".encode()))

    def keep(self, ask: Ask) -> None:
        """Nobody has to renew what is written."""

    def unplug(self, ask: Ask) -> None:
        """Nothing was plugged in."""


def driver(defaults: Defaults) -> DhcpDriver:
    return DhcpDriver(defaults, {"up0"}.__contains__, lambda root: Written(root=root, command=()))


class TestContract(DriverContract):
    def driver(self) -> Driver:
        return driver(Defaults())

    def spec(self) -> NetworkSpec:
        return spec("lan")

    def host_objects(self) -> State:
        return frozenset({PARENT})


def spec(name: str, **options: str) -> NetworkSpec:
    return NetworkSpec(name=name, driver="dhcp", options={"parent": "up0", **options})


@pytest.fixture
def lab() -> Machine:
    made = machine()
    made.kernel.objects[Key("bridge", "", "up0")] = PARENT
    made.plugins = {"dhcp": driver}
    made.restart()
    return made


def test_the_lease_is_the_endpoint(lab: Machine) -> None:
    lab.controller.create_network(spec("lan"))
    before = lab.snapshot()["kernel"]
    (endpoint,) = lab.controller.attach(lab.sandbox(1), [("lan", EndpointSpec(name="web"))])
    assert endpoint.addresses[0].startswith("192.0.2.") and endpoint.addresses[0].endswith("/24")
    assert (endpoint.routers, endpoint.dns, endpoint.search) == (("192.0.2.1",), ("192.0.2.3",), ("lan.example",))
    assert endpoint.facts == {"server": "192.0.2.1", "lease": "600"}
    state = lab.kernel.objects.values()
    assert any(isinstance(obj, Child) and obj.mac == endpoint.mac and obj.parent == "up0" for obj in state)
    assert any(isinstance(obj, Route) and obj.via == "192.0.2.1" for obj in state)
    lab.controller.detach(lab.sandbox(1).id)
    assert lab.snapshot()["kernel"] == before


def test_another_address_than_the_one_asked_for_is_refused_and_nothing_stays(lab: Machine) -> None:
    lab.controller.create_network(spec("lan"))
    before = lab.snapshot()
    with pytest.raises(Conflict, match=r"192\.0\.2\.254 was asked for, the DHCP server leases"):
        lab.controller.attach(lab.sandbox(1), [("lan", EndpointSpec(name="web", addresses=("192.0.2.254",)))])
    assert lab.snapshot() == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"options": {}}, "driver dhcp needs -o parent=INTERFACE"),
        ({"ipv6": True}, "driver dhcp gives IPv4 addresses alone"),
        ({"subnets": (SubnetSpec(subnet="192.0.2.0/24"),)}, "takes no subnets"),
        ({"options": {"parent": "up0", "macvlan_mode": "passthru"}}, "mode 'passthru' is not valid"),
        ({"options": {"parent": "up0", "lease_timeout": "0"}}, "must be between 2 and 40 seconds"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(lab: Machine, wrong, said: str) -> None:
    before = lab.snapshot()
    with pytest.raises(InvalidArgument, match=said):
        lab.controller.create_network(replace(spec("x"), **wrong))
    assert lab.snapshot() == before


def test_a_host_without_the_client_is_told_the_package(lab: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    program.cache_clear()
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(DriverError, match="there is no udhcpc on this host: install busybox-static"):
        program()
    lab.plugins = {"dhcp": lambda defaults: DhcpDriver(defaults, {"up0"}.__contains__)}
    before = lab.snapshot()
    with pytest.raises(DriverError, match="there is no udhcpc on this host"):
        lab.restart().create_network(spec("lan"))
    assert lab.snapshot() == before


def test_what_a_server_says_is_looked_at() -> None:
    lease = parsed(REPORT.replace(b"lan.example", b"lan.example bad;domain\nsearch=x"))
    assert lease == Lease(
        event="bound",
        address="192.0.2.7/24",
        router="192.0.2.1",
        dns=("192.0.2.3",),
        search=("lan.example",),
        server="192.0.2.1",
        seconds=600,
    )
    assert parsed(b"event=bound\0ip=192.0.2.7\0subnet=255.255.255.0\0").address == "192.0.2.7/24"
    for wrong in (b"", b"event=bound\0", b"event=bound\0ip=here\0"):
        with pytest.raises(ValueError, match=r"empty|here"):
            parsed(wrong)
    assert label("My_web.1") == "my-web-1" and label("_") == ""


@pytest.mark.parametrize(
    ("event", "age", "said"),
    [
        ("bound", 0, []),
        ("bound", 500, ["box: its lease could not be renewed; it ends in "]),
        ("lost", 0, ["box: its lease is lost"]),
        ("other", 0, ["box: the DHCP server leases 192.0.2.7/24 now"]),
    ],
)
def test_a_check_tells_of_leases_that_fail(
    monkeypatch: pytest.MonkeyPatch, event: str, age: int, said: list[str]
) -> None:
    lease = parsed(REPORT.replace(b"bound", event.encode()))
    monkeypatch.setattr(Written, "report", lambda self, id: (lease, time.time() - age))
    monkeypatch.setattr(Written, "alive", lambda self, id: 1)
    subject = TestContract()
    network = subject.network()
    found = driver(Defaults()).check(network, [replace(subject.endpoint(network), spec=EndpointSpec(name="box"))])
    assert len(found) == len(said) and all(one.startswith(other) for one, other in zip(found, said, strict=True))


def test_the_script_tells_what_became_of_the_lease(tmp_path: Path) -> None:
    clients = Clients(root=tmp_path, command=())
    report = tmp_path / "ab.lease"
    own = {"PATH": str(tmp_path), "NETPY_LEASE": str(report), "NETPY_ADDRESS": "192.0.2.7/24", "interface": "none0"}
    for tool in ("env", "mv", "rm"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    (tmp_path / "ip").symlink_to(shutil.which("true") or "")

    def event(name: str, **said: str) -> str:
        subprocess.run([SCRIPT, name], env={**own, **said}, check=True)
        found = clients.report("ab")
        return f"{found[0].event} {found[0].address}" if found else ""

    assert event("deconfig") == ""  # as each client begins
    assert event("bound", ip="192.0.2.7", mask="24") == "bound 192.0.2.7/24"
    assert event("renew", ip="192.0.2.7", mask="24") == "renew 192.0.2.7/24"
    assert event("deconfig") == "lost 192.0.2.7/24"
    assert event("bound", ip="192.0.2.9", mask="24") == "other 192.0.2.9/24"
    assert event("bound", ip="192.0.2.7", mask="24") == "bound 192.0.2.7/24"
    assert not report.with_suffix(".lease.lost").exists()


def test_a_number_given_out_anew_is_no_client(tmp_path: Path) -> None:
    clients = Clients(root=tmp_path, command=())
    (tmp_path / "ab.pid").write_text("1")
    assert not clients.alive("ab") and list(clients.all()) == ["ab"]
    clients.end("ab")
    clients.end("ab")
    assert not list(clients.all())
