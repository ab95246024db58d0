"""The link adapters against the real kernel: what a plan makes is what is observed, and undo leaves nothing."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from netpy.diff import Plan, State, diff
from netpy.errors import ApplyError, Conflict, NotFound
from netpy.kernel import Announce, FlushConntrack, ForgetUnanswered, announce, netns, survey
from netpy.kernel.conntrack import Flows
from netpy.kernel.holds import Holds
from netpy.kernel.linux import LinuxKernel
from netpy.objects import Address, Bridge, KernelObject, Route, Sysctl, Veth

pytestmark = pytest.mark.root


class NoRules:
    """A firewall backend with nothing to do: these tests are about links."""

    name = "none"

    def lower(self, state: Any) -> State:
        return frozenset(state)

    def handles(self, obj: KernelObject) -> bool:
        return False

    def observe(self, like: State, *, cursory: bool = False) -> State:
        return frozenset()

    def owned(self) -> State:
        return frozenset()

    def apply(self, changes: Any) -> None:
        raise AssertionError("no rules were expected")

    def disturbed(self) -> bool:
        return False

    def moor(self) -> None: ...

    def clean(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def sandbox() -> Iterator[str]:
    path = f"/run/netpy-test/{secrets.token_hex(6)}"
    netns.create(path)
    yield path
    netns.delete(path)


@pytest.fixture
def kernel() -> LinuxKernel:
    return LinuxKernel(NoRules(), "netpy-test")


def wanted(sandbox: str) -> State:
    return frozenset(
        {
            Bridge(name="br-test", mac="02:42:ac:12:00:01", mtu=1400, mark="netpy-test/network/1"),
            Sysctl(name="net/ipv4/conf/br-test/route_localnet", value="1"),
            Address(link="br-test", address="172.18.0.1/16"),
            Address(link="br-test", address="fd00::1/64"),
            Veth(
                name="vethabc",
                peer_netns=sandbox,
                ifname="eth0",
                mac="02:42:ac:12:00:02",
                mtu=1400,
                mark="netpy-test/endpoint/1",
                bridge="br-test",
                hairpin=True,
                isolated=True,
            ),
            Sysctl(netns=sandbox, name="net/ipv6/conf/eth0/disable_ipv6", value="0"),
            Address(netns=sandbox, link="eth0", address="172.18.0.2/16"),
            Address(netns=sandbox, link="eth0", address="fd00::2/64"),
            Route(netns=sandbox, destination="0.0.0.0/0", link="eth0", via="172.18.0.1"),
            Route(netns=sandbox, destination="::/0", link="eth0", via="fd00::1"),
        }
    )


def ip(namespace: str, *arguments: str) -> Any:
    out = subprocess.run(
        ["nsenter", f"--net={namespace}", "ip", "-j", "-d", *arguments], check=True, capture_output=True, text=True
    )
    return json.loads(out.stdout or "null")


def inside(namespace: str, work: Callable[[], Any]) -> Any:
    return netns.run_in(namespace, work)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "did not come about within 5 s"
        time.sleep(0.01)


def test_a_plan_is_made_observed_and_undone(kernel: LinuxKernel, namespace: str, sandbox: str) -> None:
    state = wanted(sandbox)
    plan = diff(inside(namespace, lambda: kernel.observe(state)), state)
    assert len(plan) == len(state)
    inside(namespace, lambda: kernel.apply(plan))
    assert diff(inside(namespace, lambda: kernel.observe(state)), state) == Plan()
    link = ip(namespace, "link", "show", "br-test")[0]
    assert (link["mtu"], link["address"], link["ifalias"]) == (1400, "02:42:ac:12:00:01", "netpy-test/network/1")
    assert "UP" in link["flags"]
    port = ip(namespace, "link", "show", "vethabc")[0]
    assert port["master"] == "br-test"
    assert port["linkinfo"]["info_slave_data"]["hairpin"] and port["linkinfo"]["info_slave_data"]["isolated"]
    inner = ip(sandbox, "addr", "show", "eth0")[0]
    assert inner["address"] == "02:42:ac:12:00:02"
    assert {"172.18.0.2", "fd00::2"} <= {a["local"] for a in inner["addr_info"]}
    inside(namespace, lambda: kernel.apply(plan.undo()))
    assert inside(namespace, lambda: {o for o in kernel.observe(state) if not isinstance(o, Sysctl)}) == set()
    assert [entry["ifname"] for entry in ip(namespace, "link")] == ["lo"]


def test_every_sabotage_is_seen_and_mended(kernel: LinuxKernel, namespace: str, sandbox: str) -> None:
    state = wanted(sandbox)
    inside(namespace, lambda: kernel.apply(diff((), state)))

    def run(where: str, *command: str) -> None:
        subprocess.run(["nsenter", f"--net={where}", *command], check=True)

    sabotages: list[tuple[str, list[str], set[str]]] = [
        (namespace, ["ip", "link", "set", "br-test", "mtu", "1300"], {"bridge"}),
        (namespace, ["ip", "link", "set", "br-test", "down"], {"bridge", "address"}),
        (namespace, ["ip", "link", "set", "vethabc", "down"], {"veth"}),
        (namespace, ["ip", "link", "set", "vethabc", "nomaster"], {"veth"}),
        (namespace, ["bridge", "link", "set", "dev", "vethabc", "isolated", "off"], {"veth"}),
        (namespace, ["ip", "addr", "flush", "dev", "br-test"], {"address"}),
        (namespace, ["ip", "link", "del", "vethabc"], {"veth", "sysctl", "address", "route"}),
        (sandbox, ["ip", "addr", "flush", "dev", "eth0"], {"address", "route"}),
        (sandbox, ["ip", "link", "set", "eth0", "down"], {"veth", "address", "route"}),
        (sandbox, ["ip", "route", "del", "default"], {"route"}),
        (sandbox, ["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1"], {"sysctl", "address", "route"}),
    ]
    for where, command, kinds in sabotages:
        run(where, *command)
        drift = diff(inside(namespace, lambda: kernel.observe(state)), state)
        assert drift, command
        assert {change.key.kind for change in drift} <= kinds, command
        inside(namespace, lambda plan=drift: kernel.apply(plan))
        # Bringing a link back up may bring back what went down with it: look once more.
        rest = diff(inside(namespace, lambda: kernel.observe(state)), state)
        inside(namespace, lambda plan=rest: kernel.apply(plan))
        assert diff(inside(namespace, lambda: kernel.observe(state)), state) == Plan(), command


def test_the_mtu_stays_when_the_last_port_leaves(kernel: LinuxKernel, namespace: str, sandbox: str) -> None:
    state = wanted(sandbox)
    inside(namespace, lambda: kernel.apply(diff((), state)))
    pair = {o for o in state if isinstance(o, Veth)}
    inside(namespace, lambda: kernel.apply(diff(pair, ())))
    assert ip(namespace, "link", "show", "br-test")[0]["mtu"] == 1400


def test_a_failure_hands_back_what_was_done(kernel: LinuxKernel, namespace: str, sandbox: str) -> None:
    state = wanted(sandbox) | {Route(netns=sandbox, destination="10.0.0.0/8", link="eth0", via="192.0.2.1")}
    with pytest.raises(ApplyError, match=r"creating route 10\.0\.0\.0/8") as caught:
        inside(namespace, lambda: kernel.apply(diff((), state)))
    assert caught.value.failed is not None and caught.value.failed.key.name == "10.0.0.0/8"
    inside(namespace, lambda: kernel.apply(caught.value.done.undo()))
    assert [entry["ifname"] for entry in ip(namespace, "link")] == ["lo"]
    assert [entry["ifname"] for entry in ip(sandbox, "link")] == ["lo"]


def test_a_veth_needs_its_bridge_and_its_sandbox(kernel: LinuxKernel, namespace: str, sandbox: str) -> None:
    veth = next(o for o in wanted(sandbox) if isinstance(o, Veth))
    with pytest.raises(ApplyError, match="br-test does not exist"):
        inside(namespace, lambda: kernel.apply(diff((), {veth})))
    lost = replace(veth, peer_netns="/run/netpy-test/nowhere", bridge="")
    with pytest.raises(ApplyError, match="nowhere does not exist"):
        inside(namespace, lambda: kernel.apply(diff((), {lost})))
    assert [entry["ifname"] for entry in ip(namespace, "link")] == ["lo"]


def test_deleting_what_is_gone_succeeds(kernel: LinuxKernel, namespace: str, sandbox: str) -> None:
    plan = diff(wanted(sandbox), ())
    inside(namespace, lambda: kernel.apply(plan))
    netns.delete(sandbox)
    inside(namespace, lambda: kernel.apply(plan))


def test_a_pair_whose_sandbox_is_gone_vanishes_later(kernel: LinuxKernel, namespace: str) -> None:
    path = f"/run/netpy-test/{secrets.token_hex(6)}"
    netns.create(path)
    keeper = netns.run_in(path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    try:
        state = wanted(path)
        inside(namespace, lambda: kernel.apply(diff((), state)))
        netns.delete(path)  # a socket still holds the namespace, as a process would
        pair = {o for o in state if isinstance(o, Veth)}
        inside(namespace, lambda: kernel.apply(diff(pair, ())))
        assert not inside(namespace, lambda: kernel.observe(frozenset(pair)))
    finally:
        keeper.close()
    eventually(lambda: all(entry["ifname"] != "vethabc" for entry in ip(namespace, "link")))


def test_a_foreign_bridge_is_not_taken_over(kernel: LinuxKernel, namespace: str) -> None:
    subprocess.run(["nsenter", f"--net={namespace}", "ip", "link", "add", "br-test", "type", "bridge"], check=True)
    subprocess.run(["nsenter", f"--net={namespace}", "ip", "link", "set", "br-test", "alias", "other/net"], check=True)
    state: State = frozenset({Bridge(name="br-test", mac="02:42:ac:12:00:01", mtu=1500, mark="netpy-test/network/1")})
    with pytest.raises(ApplyError, match="belongs to somebody else"):
        inside(namespace, lambda: kernel.apply(diff(kernel.observe(state), state)))


def test_owned_lists_links_by_mark(namespace: str, sandbox: str) -> None:
    kernel = LinuxKernel(NoRules(), "netpy-test")
    stranger = LinuxKernel(NoRules(), "netpy-other")
    inside(namespace, lambda: kernel.apply(diff((), wanted(sandbox))))
    assert {o.key.name for o in inside(namespace, kernel.owned)} == {"br-test", "vethabc"}
    assert inside(namespace, stranger.owned) == frozenset()


def test_host_prefixes_name_routes_and_connected_networks(namespace: str, sandbox: str) -> None:
    kernel = LinuxKernel(NoRules(), "netpy-test")
    inside(namespace, lambda: kernel.apply(diff((), wanted(sandbox))))
    found = inside(namespace, survey.prefixes)
    assert {"172.18.0.0/16", "fd00::/64"} <= set(found)


def test_a_namespace_is_made_once_and_removed_twice() -> None:
    path = f"/run/netpy-test/{secrets.token_hex(6)}"
    netns.create(path)
    assert netns.exists(path)
    assert "UP" in ip(path, "link", "show", "lo")[0]["flags"]
    with pytest.raises(Conflict):
        netns.create(path)
    netns.delete(path)
    netns.delete(path)
    assert not netns.exists(path)
    with pytest.raises(NotFound, match=path):
        netns.run_in(path, lambda: None)


def test_a_held_port_cannot_be_bound_by_others(namespace: str) -> None:
    holds = Holds()

    def bind(kind: int, address: tuple[str, int], *, reuse: bool) -> None:
        with socket.socket(socket.AF_INET, kind) as other:
            if reuse:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(address)

    for protocol, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
        port = inside(namespace, lambda p=protocol: holds.hold(p, "0.0.0.0", 0))
        with pytest.raises(Conflict, match="already allocated"):
            holds.hold(protocol, "0.0.0.0", port)  # pyright: ignore[reportArgumentType]
        for reuse in (False, True):
            with pytest.raises(OSError, match="in use"):
                inside(namespace, lambda k=kind, p=port, r=reuse: bind(k, ("0.0.0.0", p), reuse=r))
        with pytest.raises(
            Conflict, match=rf"failed to bind host port 127\.0\.0\.1:{port}/{protocol}: address already"
        ):
            inside(namespace, lambda p=protocol, n=port: Holds().hold(p, "127.0.0.1", n))
        holds.release(protocol, "0.0.0.0", port)  # pyright: ignore[reportArgumentType]
        inside(namespace, lambda k=kind, p=port: bind(k, ("0.0.0.0", p), reuse=False))


def test_an_announcement_reaches_the_neighbours(kernel: LinuxKernel, namespace: str, sandbox: str) -> None:
    inside(namespace, lambda: kernel.apply(diff((), wanted(sandbox))))
    listener = inside(namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)))
    action = Announce(netns=sandbox, link="eth0", address="172.18.0.2", mac="02:42:ac:12:00:02")
    with listener:
        listener.settimeout(20)
        # The first may be lost: a new link's queue and port are opened by the kernel aside, up to a second later.
        announce.Announcer().announce(action)
        frame = listener.recv(100)
    assert frame[6:12] == bytes.fromhex("0242ac120002") and frame[28:32] == bytes([172, 18, 0, 2]) == frame[38:42]


def test_flows_are_forgotten_by_the_port_that_clients_spoke_to(namespace: str, sandbox: str) -> None:
    kernel, tracked = LinuxKernel(NoRules(), "netpy-test"), Flows()
    inside(namespace, lambda: kernel.apply(diff((), wanted(sandbox))))
    rules = "table ip t { chain c { type nat hook output priority -100; udp dport 5353 dnat to 172.18.0.2:53 ; }; }"
    subprocess.run(["nsenter", f"--net={namespace}", "nft", rules], check=True)

    def flows() -> list[str]:
        command = ["nsenter", f"--net={namespace}", "conntrack", "-L", "-p", "udp"]
        out = subprocess.run(command, check=True, capture_output=True, text=True)
        return out.stdout.splitlines()

    def talk(port: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", ("172.18.0.1", port))

    for action in (
        FlushConntrack(protocol="udp", host_ip="0.0.0.0", host_port=5353, address="172.18.0.2"),
        FlushConntrack(protocol="udp", host_ip="172.18.0.1", host_port=5353, address="172.18.0.2"),
        FlushConntrack(protocol="udp", host_ip="", host_port=0, address="172.18.0.2"),
    ):
        inside(namespace, lambda: (talk(5353), talk(7777)))
        assert any("dport=5353" in line for line in flows())
        inside(namespace, lambda a=action: tracked.flush(a))
        left = flows()
        assert not any("dport=5353" in line for line in left), action
        assert any("dport=7777" in line for line in left), action
    inside(namespace, lambda: (talk(5353), talk(7777)))
    inside(namespace, lambda: tracked.flush(ForgetUnanswered()))
    assert any("dport=5353" in line for line in flows()), "it was translated"
    assert not any("dport=7777" in line for line in flows()), "it was not, nor answered"
    tracked.close()
