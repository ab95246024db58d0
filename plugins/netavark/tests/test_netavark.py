"""netavark plugins as drivers: the contract, what plugins are told, and plugins that misbehave, on the real kernel."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from netpy_netavark.driver import NetavarkDriver
from netpy_netavark.execution import Plugin
from netpy_netavark.finder import NetavarkFinder

from netpy.controller import Controller, Settings
from netpy.drivers import Defaults, Driver
from netpy.drivers.registry import Registry
from netpy.errors import DriverError, InvalidArgument, NetpyError, Unsupported
from netpy.kernel import netns
from netpy.kernel.linux import LinuxKernel
from netpy.kernel.nft.backend import Nftables
from netpy.model import Endpoint, EndpointSpec, NetworkSpec, PortBinding, Sandbox, SubnetSpec
from netpy.store import Store
from netpy.testing import DriverContract, RecordingNames

T = TypeVar("T")
SCRIPT = Path(__file__).with_name("netavark_plugin.py")
INSTANCE = "netpy-nvtest"


class Directory:
    """A plugin directory with one plugin, `wires`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "wires").symlink_to(SCRIPT)

    def behave(self, mode: str) -> None:
        (self.path / "mode").write_text(mode)

    def calls(self) -> list[dict[str, Any]]:
        journal = self.path / "journal"
        return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []

    def commands(self) -> list[str]:
        return [each["command"] for each in self.calls()]


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Directory:
    monkeypatch.setenv("NETPY_NETAVARK_PLUGINS", str(tmp_path))
    monkeypatch.setenv("NETPY_NETAVARK_TIMEOUT", "5")
    return Directory(tmp_path)


# ---- without root -------------------------------------------------------------------------------------------------


class TestContract(DriverContract):
    @pytest.fixture(autouse=True)
    def _directory(self, plugins: Directory) -> None:
        plugins.behave("dry")
        self.plugin = Plugin(path=plugins.path / "wires")

    def driver(self) -> Driver:
        return NetavarkDriver(self.plugin, Defaults())


def test_executables_are_found_by_name(plugins: Directory) -> None:
    (plugins.path / "notes.txt").write_text("not to be run")
    finder = NetavarkFinder(Defaults())
    assert finder.names() == ["wires"]
    assert finder.driver("notes.txt") is None and finder.driver("../wires") is None and finder.ipam("wires") is None
    driver = finder.driver("wires")
    assert driver and driver.name == "wires" and plugins.commands() == ["info"]


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("garbage-info", "info: printed what is no JSON object: all is well"),
        ("silent-info", "info: ended without an answer"),
        ("crash-info", "info: exit code 1: no such thing"),
        ("future", "info: speaks version 2.0.0 of the API, not 1"),
    ],
)
def test_what_does_not_answer_as_a_plugin_is_none(plugins: Directory, mode: str, said: str) -> None:
    plugins.behave(mode)
    with pytest.raises(Unsupported) as caught:
        NetavarkFinder(Defaults()).driver("wires")
    assert str(caught.value) == f"netavark plugin wires: {said}"


def test_a_malformed_time_limit_is_told(plugins: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETPY_NETAVARK_TIMEOUT", "soon")
    with pytest.raises(InvalidArgument, match="NETPY_NETAVARK_TIMEOUT is 'soon'"):
        NetavarkFinder(Defaults()).driver("wires")


# ---- on the kernel ------------------------------------------------------------------------------------------------


class Host:
    """A host in a namespace, with a controller and two sandboxes."""

    def __init__(self) -> None:
        self.directory = f"/run/netpy-test/{secrets.token_hex(6)}"
        self.host = f"{self.directory}/host"
        self.sandboxes = {number: f"{self.directory}/{number}" for number in (1, 2)}
        for path in (self.host, *self.sandboxes.values()):
            netns.create(path)
        self.kernel, self.controller = self.inside(self._parts)

    def _parts(self) -> tuple[LinuxKernel, Controller]:
        defaults = Defaults(instance=INSTANCE)
        drivers = Registry(defaults, plugins=())
        driver = NetavarkFinder(defaults).driver("wires")
        assert driver
        drivers.add("wires", driver)
        kernel = LinuxKernel(Nftables(INSTANCE), INSTANCE)
        settings = Settings(instance=INSTANCE, host_id="test")
        names = RecordingNames()
        return kernel, Controller(
            store=Store(":memory:"), kernel=kernel, drivers=drivers, names=names, settings=settings
        )

    def close(self) -> None:
        self.kernel.close()
        for path in (self.host, *self.sandboxes.values()):
            netns.delete(path)
        Path(self.directory).rmdir()

    def inside(self, work: Callable[[], T]) -> T:
        return netns.run_in(self.host, work)

    def create(self, **more: Any) -> None:
        self.inside(lambda: self.controller.create_network(NetworkSpec(name="lab", driver="wires", **more)))

    def attach(self, number: int = 1, **spec: Any) -> Endpoint:
        sandbox = Sandbox(id=f"{number:064x}", netns=self.sandboxes[number])
        request = EndpointSpec(name=f"box{number}", **spec)
        return self.inside(lambda: self.controller.attach(sandbox, [("lab", request)]))[0]

    def detach(self, number: int = 1) -> None:
        self.inside(lambda: self.controller.detach(f"{number:064x}"))

    def links(self) -> list[str]:
        found: list[str] = []
        for path in (self.host, *self.sandboxes.values()):
            if netns.exists(path):
                shown = subprocess.run(
                    ["nsenter", f"--net={path}", "ip", "-j", "link"], check=True, capture_output=True
                )
                found += [each["ifname"] for each in json.loads(shown.stdout) if each["ifname"] != "lo"]
        return found

    def ip(self, number: int, *arguments: str) -> str:
        command = ["nsenter", f"--net={self.sandboxes[number]}", "ip", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def host(plugins: Directory) -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


@pytest.mark.root
def test_a_network_and_its_containers(host: Host, plugins: Directory) -> None:
    host.create(options={"speed": "9", "com.docker.network.driver.mtu": "1400"})
    network = host.controller.network("lab")
    assert [(each.subnet, each.gateway) for each in network.subnets] == [("10.66.0.0/24", "10.66.0.1")]
    draft = plugins.calls()[-1]["given"]
    assert draft["options"] == {"speed": "9", "mtu": "1400"} and draft["id"] == network.id and "subnets" not in draft
    ports = (PortBinding(container_port=80, host_port=8080),)
    first = host.attach(1, ports=ports, aliases=("one",), mac="02:00:00:00:00:77")
    second = host.attach(2)
    assert first.addresses != second.addresses and first.addresses[0] in host.ip(1, "addr")
    assert first.dns == ("192.0.2.53",) and first.search == ("example.test",) and first.routers == ("10.66.0.1",)
    assert "02:00:00:00:00:77" in host.ip(1, "link") and "default via 10.66.0.1" in host.ip(1, "route")
    told = plugins.calls()[-2]
    assert told["arguments"] == [host.sandboxes[1]]
    assert told["given"]["port_mappings"] == [
        {"container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 1}
    ]
    assert told["given"]["network_options"] == {
        "interface_name": "eth0",
        "aliases": ["one"],
        "static_ips": [first.address_of(4)],
        "static_mac": "02:00:00:00:00:77",
    }
    assert host.inside(host.controller.check) == []
    host.detach(1)
    assert plugins.calls()[-1]["given"] == told["given"]
    netns.delete(host.sandboxes[2])
    host.detach(2)
    host.inside(lambda: host.controller.remove_network("lab"))
    assert host.links() == []


@pytest.mark.root
def test_stated_subnets_and_addresses_of_the_plugins_own(host: Host, plugins: Directory) -> None:
    host.create(subnets=(SubnetSpec(subnet="10.5.0.0/24", ip_range="10.5.0.128/25"),))
    span = {"start_ip": "10.5.0.128", "end_ip": "10.5.0.255"}
    assert plugins.calls()[-1]["given"]["subnets"] == [{"subnet": "10.5.0.0/24", "lease_range": span}]
    assert host.attach(1).addresses == ("10.5.0.128/24",)
    host.detach(1)
    host.inside(lambda: host.controller.remove_network("lab"))
    plugins.behave("own-addresses")
    host.create()
    assert host.attach(1).addresses == ("10.77.0.5/24",)
    host.detach(1)
    assert host.links() == []


@pytest.mark.root
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("changes-id", "create: changed the network's id from"),
        ("garbage-create", "create: printed what is no JSON object: all is well"),
        ("silent-create", "create: ended without an answer"),
        ("hang-create", "create: no answer within 5 s: killed"),
    ],
)
def test_a_create_that_fails_makes_no_network(host: Host, plugins: Directory, mode: str, said: str) -> None:
    plugins.behave(mode)
    with pytest.raises(DriverError) as caught:
        host.create()
    assert f"netavark plugin wires: {said}" in str(caught.value)
    assert host.controller.networks() == []


@pytest.mark.root
def test_a_network_that_the_plugin_refuses_is_the_users_mistake(host: Host) -> None:
    with pytest.raises(InvalidArgument, match="netavark plugin wires: create: unknown option colour"):
        host.create(options={"colour": "red"})
    with pytest.raises(InvalidArgument, match=r"10\.5\.0\.1/24"):
        host.create(subnets=(SubnetSpec(subnet="10.5.0.1/24"),))


@pytest.mark.root
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("half", "setup: no more"),
        ("garbage-setup", "setup: printed what is no JSON object"),
        ("silent-setup", "setup: ended without an answer"),
        ("crash-setup", "setup: exit code 1: no such thing"),
        ("hang-setup", "setup: no answer within 5 s: killed"),
        ("wrong-name", "setup: was to make the interface eth0 and tells of wrong0"),
        ("other-address", "10.66.0.99/24"),
        ("dry", "eth0 is not there"),
    ],
)
def test_a_setup_that_fails_leaves_nothing_in_the_sandbox(host: Host, plugins: Directory, mode: str, said: str) -> None:
    host.create()
    plugins.behave(mode)
    with pytest.raises(NetpyError) as caught:
        host.attach(1)
    assert said in str(caught.value) and "wires" in str(caught.value)
    assert plugins.commands()[-1] == "teardown"
    assert host.links() == [] and host.controller.endpoints() == []
    plugins.behave("")
    host.attach(1)
    host.detach(1)
    assert host.links() == []


@pytest.mark.root
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("leak", "release left given eth0|release left eth0"),
        ("crash-teardown", "netavark plugin wires: teardown: exit code 1: no such thing"),
    ],
)
def test_a_teardown_that_leaves_something_is_reported_and_cleaned_up(
    host: Host, plugins: Directory, mode: str, said: str
) -> None:
    host.create()
    host.attach(1)
    plugins.behave(mode)
    with pytest.raises(ExceptionGroup) as caught:
        host.detach(1)
    assert any(part in str(error) for error in caught.value.exceptions for part in said.split("|"))
    assert host.links() == [] and host.controller.endpoints() == []


@pytest.mark.root
def test_a_plugin_that_is_gone_is_named(host: Host, plugins: Directory) -> None:
    host.create()
    (plugins.path / "wires").unlink()
    with pytest.raises(DriverError, match=r"netavark plugin wires: setup: .*/wires cannot be run: no such file"):
        host.attach(1)
    assert host.controller.endpoints() == []
