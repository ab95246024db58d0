"""A plugin that is slow, wrong, refuses, breaks off or is gone: named, undone, and nobody else's trouble."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from docker_plugin_server import Plugin
from netpy_docker_remote.wire import Limits, _Connection  # pyright: ignore[reportPrivateUsage]
from remote_lab import STEADY, back, connect, finder, limits, world

from netpy.errors import DriverError, NetpyError
from netpy.model import EndpointSpec, NetworkSpec, SubnetSpec

WRONG = ["err", "garbage", "html", "list", "status", "hangup", "short", "hang", "drip"]


def test_a_request_that_was_cut_off_says_so_at_once(
    plugin: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the clock's thread is still at it, after the answer's end has been seen."""
    back(made := world(tmp_path, Limits(answer=0.7, retry=0.3)))
    plugin.break_(NetworkDriver__CreateEndpoint="drip")
    done, cut = threading.Event(), _Connection.cut

    def slowly(connection: _Connection) -> None:
        cut(connection)
        done.wait(10)

    monkeypatch.setattr(_Connection, "cut", slowly)
    with pytest.raises(NetpyError, match=r"NetworkDriver\.CreateEndpoint: no answer within 0\.7 s"):
        connect(made)
    done.set()


@pytest.mark.parametrize("fault", WRONG)
@pytest.mark.parametrize("call", ["CreateNetwork", "CreateEndpoint", "Join", "ProgramExternalConnectivity"])
def test_a_fault_names_plugin_and_call_and_leaves_nothing(
    plugin: Plugin, tmp_path: Path, call: str, fault: str
) -> None:
    made = world(tmp_path, limits(fault))
    empty = made.snapshot()
    if call != "CreateNetwork":
        back(made)
    before = made.snapshot()
    plugin.break_(**{f"NetworkDriver__{call}": fault})
    with pytest.raises(NetpyError, match=rf"plugin plug: NetworkDriver\.{call}: "):
        back(made) if call == "CreateNetwork" else connect(made)
    assert made.snapshot() == before
    assert not plugin.network.endpoints
    if call != "CreateNetwork":
        made.controller.remove_network("n")
    assert made.snapshot() == empty
    assert not plugin.network.networks


@pytest.mark.parametrize("fault", WRONG)
@pytest.mark.parametrize("call", ["Leave", "DeleteEndpoint", "RevokeExternalConnectivity", "DeleteNetwork"])
def test_a_fault_while_leaving_is_told_and_stops_nothing(plugin: Plugin, tmp_path: Path, call: str, fault: str) -> None:
    made = world(tmp_path, limits(fault))
    before = made.snapshot()
    back(made)
    connect(made)
    plugin.break_(**{f"NetworkDriver__{call}": fault})
    with pytest.raises(ExceptionGroup) as caught:
        made.controller.detach(made.sandbox(1).id)
        made.controller.remove_network("n")
    assert caught.group_contains(NetpyError, match=rf"plugin plug: NetworkDriver\.{call}: ")
    if call != "DeleteNetwork":
        made.controller.remove_network("n")
    made.kernel.delete_netns("/run/netns/1")
    assert made.snapshot() == before


@pytest.mark.parametrize(
    ("call", "answer", "said"),
    [
        ("CreateEndpoint", {"Interface": {"Address": "10.9.0.2/24"}}, "filled in Address"),
        ("CreateEndpoint", {"Interface": {"AddressIPv6": "10.0.0.1/8"}}, "IPv6 address"),
        ("CreateEndpoint", {"Interface": {"MacAddress": "nonsense"}}, "as MacAddress"),
        ("CreateEndpoint", {"Interface": ["x"]}, "as Interface"),
        ("Join", {"InterfaceName": None}, "no InterfaceName"),
        ("Join", {"InterfaceName": {"SrcName": "a/b"}}, "interface name"),
        ("Join", {"Gateway": "fe80::1"}, "not of IPv4"),
        ("Join", {"Gateway": 7}, "not text"),
        ("Join", {"StaticRoutes": [{"Destination": "10.0.0.0/8", "RouteType": 0}]}, "without a next hop"),
        ("Join", {"StaticRoutes": [{"Destination": "10.0.0.0/8", "RouteType": 5}]}, "route type 5"),
        ("Join", {"StaticRoutes": "all"}, "not a list"),
    ],
)
def test_an_answer_that_may_not_be(plugin: Plugin, tmp_path: Path, call: str, answer: dict, said: str) -> None:
    made = world(tmp_path)
    back(made, subnets=(SubnetSpec(subnet="10.9.0.0/24"),))
    before = made.snapshot()
    plugin.break_(**{f"NetworkDriver__{call}": json.dumps(answer)})
    with pytest.raises(NetpyError, match=said):
        connect(made)
    assert made.snapshot() == before
    joined = ["Leave"] if call == "Join" else []
    assert plugin.names()[-1 - len(joined) :] == [*joined, "DeleteEndpoint"]
    assert not plugin.network.endpoints


def test_a_link_that_is_not_there(plugin: Plugin, tmp_path: Path) -> None:
    made = world(tmp_path)
    back(made)
    plugin.network.source = "none0"
    plugin.break_(NetworkDriver__CreateEndpoint='{"Interface": null}')
    with pytest.raises(DriverError, match=r"plugin plug: NetworkDriver\.Join: named the link none0, which is not on"):
        connect(made)
    assert not plugin.network.endpoints


def test_a_refused_endpoint_is_not_deleted_and_a_failed_join_is(plugin: Plugin, tmp_path: Path) -> None:
    made = world(tmp_path)
    back(made)
    for call, after in (("CreateEndpoint", []), ("Join", ["DeleteEndpoint"])):
        plugin.break_(**{f"NetworkDriver__{call}": "err"})
        with pytest.raises(DriverError, match=f"{call}: the plugin will not"):
            connect(made)
        assert plugin.names()[len(plugin.names()) - len(after) - 1 :] == [call, *after]


@pytest.mark.parametrize("call", ["RequestPool", "RequestAddress"])
@pytest.mark.parametrize("fault", ["err", "garbage", "hang", '{"Address": "172.31.0.1/24", "Pool": "x"}'])
def test_faults_of_ipam(plugin: Plugin, tmp_path: Path, call: str, fault: str) -> None:
    made = world(tmp_path, limits(fault))
    before = made.snapshot()
    plugin.break_(**{f"IpamDriver__{call}": fault})
    with pytest.raises(NetpyError, match="plug"):
        made.controller.create_network(NetworkSpec(name="n", ipam_driver="plug"))
    assert made.snapshot() == before
    assert plugin.ipam.pools == {} or fault in {"hang", "garbage"}  # it never said what it calls the pool


@pytest.mark.parametrize("fault", ["err", "garbage", "hang", '{"Implements": "NetworkDriver"}'])
def test_a_handshake_that_fails_is_tried_anew(plugin: Plugin, tmp_path: Path, fault: str) -> None:
    plugin.break_(Plugin__Activate=fault)
    found = finder(tmp_path, limits(fault))
    with pytest.raises(DriverError, match=r"plugin plug: Plugin\.Activate: "):
        found.driver("plug")
    plugin.break_()
    assert found.driver("plug")


def test_capabilities_are_held_against_the_protocol(plugin: Plugin, tmp_path: Path) -> None:
    plugin.break_(NetworkDriver__GetCapabilities='{"Scope": "galaxy"}')
    with pytest.raises(DriverError, match="invalid capability: 'galaxy'"):
        finder(tmp_path).driver("plug")


def test_a_wrong_content_type_is_no_fault_and_a_missing_call_of_later_times_neither(
    plugin: Plugin, tmp_path: Path
) -> None:
    made = world(tmp_path)
    calls = ["CreateNetwork", "CreateEndpoint", "Join"]
    faults = {f"NetworkDriver__{call}": "type" for call in calls}
    plugin.break_(**faults, NetworkDriver__ProgramExternalConnectivity="404")
    back(made)
    connect(made)
    assert made.controller.endpoints()


def test_a_plugin_that_comes_back_is_found_by_trying_again(plugin: Plugin, tmp_path: Path) -> None:
    made = world(tmp_path)
    plugin.stop()
    again: list[Plugin] = []

    def come_back() -> None:
        again.append(Plugin(plugin.socket, plugin.control, plugin.log, source="src0").start())

    timer = threading.Timer(0.3, come_back)
    timer.start()
    back(made)
    assert made.controller.network("n")
    again[0].stop()


def test_a_plugin_that_is_gone_keeps_its_networks(plugin: Plugin, tmp_path: Path) -> None:
    made = world(tmp_path, STEADY)
    back(made)
    plugin.stop()
    with pytest.raises(DriverError, match=r"plugin plug: NetworkDriver\.CreateEndpoint: cannot be reached"):
        connect(made)
    assert made.controller.network("n")
    assert not made.controller.endpoints()
    assert finder(tmp_path).driver("plug") is None


def test_a_stuck_plugin_holds_up_nobody_else(plugin: Plugin, tmp_path: Path) -> None:
    made = world(tmp_path)
    back(made)
    made.controller.create_network(NetworkSpec(name="other"))
    plugin.break_(NetworkDriver__CreateEndpoint="hang")
    errors: list[Exception] = []

    def stuck() -> None:
        try:
            connect(made)
        except NetpyError as error:
            errors.append(error)

    waiting = threading.Thread(target=stuck)
    waiting.start()
    while "CreateEndpoint" not in plugin.names():
        threading.Event().wait(0.005)
    made.controller.attach(made.sandbox(2), [("other", EndpointSpec(name="c2"))])
    made.controller.create_network(NetworkSpec(name="third"))
    assert waiting.is_alive()
    plugin.released.set()
    waiting.join()
    assert "CreateEndpoint" in str(errors[0])


def test_check_asks_after_every_endpoint(plugin: Plugin, tmp_path: Path) -> None:
    made = world(tmp_path)
    back(made)
    connect(made)
    assert made.controller.check() == []
    plugin.network.endpoints.clear()
    assert "NetworkDriver.EndpointOperInfo: no endpoint" in made.controller.check()[0]
