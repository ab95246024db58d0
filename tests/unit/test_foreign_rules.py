"""What a foreign driver may not do, and how drivers are found: each refusal names the driver and the rule."""

from __future__ import annotations

import pytest

from netpy.diff import State
from netpy.errors import Conflict, DriverError, InvalidArgument, NotFound, Unsupported
from netpy.model import NetworkSpec
from netpy.objects import Address, Bridge, Device, Given, Masquerade, Route, Sysctl
from netpy.testing import Machine
from tests.unit.controller_lab import web
from tests.unit.foreign_lab import PairDriver, with_pair


@pytest.mark.parametrize(
    ("obj", "complaint"),
    [
        ("text", "no object of netpy.objects"),
        (Bridge(name="docker0", mac="02:00:00:00:00:01", mtu=1500, mark="other/1"), "with the mark 'other/1'"),
        (Address(link="eth0", address="10.0.0.1/24"), "on eth0, a link of the host that is not its own"),
        (Route(link="eth0", destination="0.0.0.0/0"), "a link of the host that is not its own"),
        (Masquerade(bridge="docker0", subnet="10.0.0.0/24"), "for docker0"),
        (Sysctl(name="net/ipv4/conf/all/rp_filter", value="0"), "a setting of the host"),
        (Address(netns="/run/netns/2", link="eth0", address="10.0.0.1/24"), "a namespace that is not the endpoint's"),
        (Address(netns="/run/netns/1", link="eth7", address="10.0.0.1/24"), "the endpoint's interface is eth0"),
        (Given(netns="/run/netns/1", ifname="eth3", maker="x"), "the endpoint's is eth0"),
    ],
)
def test_what_is_not_the_drivers_own_is_refused(obj: object, complaint: str) -> None:
    m, driver = with_pair()
    before = m.snapshot()
    driver.extra = frozenset({obj})  # type: ignore[arg-type]
    with pytest.raises(DriverError, match=r"driver pair .*: endpoint_state wants") as raised:
        m.controller.attach(m.sandbox(1), [("p", web())])
    assert complaint in str(raised.value)
    assert m.snapshot() == before


class Changeable(PairDriver):
    state: object = frozenset()
    spec: object = None

    def network_state(self, network: object) -> State:
        return self.state  # type: ignore[return-value]

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        return spec if self.spec is None else self.spec  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        (None, "answered None, not a frozenset"),
        ([], "answered \\[\\], not a frozenset"),
        (frozenset({Address(netns="/x", link="eth0", address="10.0.0.1/24")}), "in a sandbox"),
        (frozenset({Device(kind="dummy", name="d", mark="netpy/network/0")}), "it has to be 'netpy/network/"),
    ],
)
def test_garbage_for_a_networks_state_is_refused(state: object, complaint: str) -> None:
    driver = Changeable()
    m, _ = with_pair(driver)
    driver.state = state
    with pytest.raises(DriverError, match=complaint):
        m.controller.create_network(NetworkSpec(name="q", driver="pair"))
    assert [n.name for n in m.controller.networks()] == ["bridge", "host", "none", "p"]


@pytest.mark.parametrize("spec", ["text", NetworkSpec(name="another", driver="pair"), NetworkSpec(name="q")])
def test_normalise_may_not_change_what_the_network_is(spec: object) -> None:
    driver = Changeable()
    m, _ = with_pair(driver)
    driver.spec = spec
    with pytest.raises(DriverError, match=r"driver pair .*: normalise"):
        m.controller.create_network(NetworkSpec(name="q", driver="pair"))


def test_options_are_checked_before_the_driver_is_asked() -> None:
    m, _ = with_pair()
    with pytest.raises(InvalidArgument, match="option speed=fast"):
        m.controller.create_network(NetworkSpec(name="q", driver="pair", options={"speed": "fast"}))
    with pytest.raises(InvalidArgument, match="driver pair has no option sped: it knows speed"):
        m.controller.create_network(NetworkSpec(name="q", driver="pair", options={"sped": "1"}))
    assert m.controller.create_network(
        NetworkSpec(name="q", driver="pair", options={"speed": "5", "com.docker.network.driver.mtu": "1400"})
    )


# ---- finding -----------------------------------------------------------------------------------------------------


class Point:
    """An entry point."""

    def __init__(self, name: str, made: object, group: str = "netpy.drivers", value: str = "here:Driver") -> None:
        self.name, self.made, self.group, self.value = name, made, group, value

    def load(self) -> object:
        if isinstance(self.made, BaseException):
            raise self.made
        return lambda defaults: self.made


def finding(*points: Point) -> Machine:
    m = Machine()
    m.controller._context.drivers._plugins = points  # type: ignore[attr-defined, assignment]
    return m


class Incomplete:
    name = "pair"


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (ImportError("no such module"), "driver pair .here:Driver. cannot be loaded: ImportError"),
        (SystemExit(3), "cannot be loaded: SystemExit"),
        (Incomplete(), "lacks part of the Driver protocol: endpoint_options, endpoint_state"),
        (object(), "lacks part of the Driver protocol"),
    ],
)
def test_a_driver_that_does_not_load_is_named(made: object, complaint: str, caplog: pytest.LogCaptureFixture) -> None:
    m = finding(Point("pair", made))
    with pytest.raises(Unsupported, match=complaint):
        m.controller.create_network(NetworkSpec(name="q", driver="pair"))
    assert "driver pair" in caplog.text
    assert m.controller.create_network(NetworkSpec(name="b"))


def test_two_packages_with_one_name_are_both_refused() -> None:
    m = finding(Point("pair", PairDriver(), value="one:Driver"), Point("pair", PairDriver(), value="two:Driver"))
    with pytest.raises(Conflict, match="driver pair is offered by one:Driver and by two:Driver: uninstall all but one"):
        m.controller.create_network(NetworkSpec(name="q", driver="pair"))


def test_a_driver_has_the_name_of_its_entry_point() -> None:
    m = finding(Point("other", PairDriver()))
    with pytest.raises(Unsupported, match=r"driver other .* calls itself 'pair'"):
        m.controller.create_network(NetworkSpec(name="q", driver="other"))


def test_a_built_in_name_cannot_be_taken() -> None:
    m = finding(Point("bridge", ImportError("never loaded")))
    assert m.controller.create_network(NetworkSpec(name="q")).spec.driver == "bridge"


class Finding:
    found: PairDriver | None = None

    def names(self) -> list[str]:
        return ["pair"]

    def driver(self, name: str) -> PairDriver | None:
        return self.found if name == "pair" else None

    def ipam(self, name: str) -> None:
        return None


def test_a_finder_is_asked_for_what_nobody_else_has() -> None:
    finder = Finding()
    m = finding(Point("bad", RuntimeError("broken"), "netpy.finders", "bad:F"), Point("f", finder, "netpy.finders"))
    assert "pair" in m.controller._context.drivers.names()
    with pytest.raises(NotFound):
        m.controller.create_network(NetworkSpec(name="q", driver="pair"))
    finder.found = PairDriver()
    assert m.controller.create_network(NetworkSpec(name="q", driver="pair")).facts == {"made": "q"}
