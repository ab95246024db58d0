"""What somebody else does to our links and rules is noticed by itself and mended, once; what we do is no news."""

from __future__ import annotations

import secrets
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from netpy.controller import Controller, Settings
from netpy.drivers import Defaults
from netpy.drivers.registry import Registry
from netpy.kernel import netns
from netpy.kernel.linux import LinuxKernel
from netpy.kernel.netfilter import choose
from netpy.kernel.watch.watch import Timing, Watch
from netpy.model import EndpointSpec, NetworkSpec, PortBinding, Sandbox
from netpy.store import Store
from netpy.testing import RecordingNames

pytestmark = pytest.mark.root
INSTANCE = "netpy-test"
BRIDGE = "br-lan"
QUICK = Timing(settle=0.02, pause=0.05, poll=0.05, often=100)
PATIENCE = 10.0


class Mending:
    """`Controller.mend`, and what it did."""

    def __init__(self, mend: Callable[..., list[str] | None]) -> None:
        self._mend = mend
        self.changed = threading.Condition()
        self.mended: list[list[str]] = []
        self.asked: list[frozenset[str] | None] = []

    def __call__(
        self, links: frozenset[str] | None = None, inside: frozenset[str] = frozenset(), *, wait: bool = True
    ) -> list[str] | None:
        lines = self._mend(links, inside, wait=wait)
        with self.changed:
            self.asked.append(links)
            if lines:
                self.mended.append(lines)
            self.changed.notify_all()
        return lines

    def until(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.mended) >= number, PATIENCE), self.mended


@dataclass
class World:
    """A host with one network on a known bridge, two sandboxes on it, the second sealed, and somebody who watches."""

    host: str
    controller: Controller
    mending: Mending
    sandboxes: tuple[Sandbox, Sandbox]

    def run(self, *command: str, where: str = "", text: str | None = None) -> str:
        full = ["nsenter", f"--net={where or self.host}", *command]
        done = subprocess.run(full, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def veth(self, number: int) -> str:
        """The near end of a sandbox's pair."""
        shown = self.run("ip", "-o", "link", "show", "eth0", where=self.sandboxes[number].netns)
        index = shown.split("@if")[1].split(":")[0]
        lines = self.run("ip", "-o", "link").splitlines()
        return next(line.split()[1].partition("@")[0] for line in lines if line.startswith(f"{index}: "))

    def sabotage(self, *command: str, where: str = "") -> list[str]:
        """What was mended after a command of somebody else's."""
        before = len(self.mending.mended)
        self.run(*command, where=where)
        self.mending.until(before + 1)
        assert self.controller.check() == []
        assert len(self.mending.mended) == before + 1
        return self.mending.mended[before]


def spec(name: str, *ports: PortBinding) -> EndpointSpec:
    return EndpointSpec(name=name, names=(name,), ports=ports)


@pytest.fixture(params=["nftables", "iptables"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def world(namespace: str, backend: str) -> Iterator[World]:
    def build(cleanup: ExitStack) -> World:
        rules = choose(backend, INSTANCE)  # pyright: ignore[reportArgumentType]
        kernel = cleanup.enter_context(closing(LinuxKernel(rules, INSTANCE)))
        controller = Controller(
            store=cleanup.enter_context(closing(Store(":memory:"))),
            kernel=kernel,
            drivers=Registry(Defaults(instance=INSTANCE), plugins=()),
            names=RecordingNames(),
            settings=Settings(instance=INSTANCE, default_bridge="netpy-test0", host_id="test"),
        )
        controller.ensure_predefined()
        controller.create_network(
            NetworkSpec(name="lan", ipv6=True, options={"com.docker.network.bridge.name": BRIDGE})
        )
        sandboxes: list[Sandbox] = []
        for number, ports in enumerate(((PortBinding(container_port=80, host_port=8800),), ())):
            sandbox = Sandbox(id=f"{number:064x}", netns=f"{namespace}-{secrets.token_hex(2)}", sealed=number == 1)
            kernel.create_netns(sandbox.netns)
            cleanup.callback(netns.delete, sandbox.netns)
            controller.attach(sandbox, [("lan", spec(f"s{number}", *ports))])
            cleanup.callback(controller.detach, sandbox.id)
            sandboxes.append(sandbox)
        kernel.moor()
        mending = Mending(controller.mend)
        watch = Watch(INSTANCE, mending, kernel.disturbed, QUICK)
        watch.start()
        cleanup.callback(watch.close)
        return World(namespace, controller, mending, (sandboxes[0], sandboxes[1]))

    with ExitStack() as cleanup:
        made = netns.run_in(namespace, lambda: build(cleanup))
        made.controller = _Inside(made.controller, namespace)  # type: ignore[assignment]
        yield made
        netns.run_in(namespace, cleanup.close)


class _Inside:
    """A controller whose every method runs in its host's namespace."""

    def __init__(self, controller: Controller, path: str) -> None:
        self._controller, self._path = controller, path

    def __getattr__(self, name: str) -> Callable[..., object]:
        method = getattr(self._controller, name)
        return lambda *given, **named: netns.run_in(self._path, lambda: method(*given, **named))


LINKS = {
    "the bridge deleted": ("ip link delete br-lan", "bridge br-lan: missing"),
    "its MTU": ("ip link set br-lan mtu 1400", "bridge br-lan: mtu is 1400, should be 1500"),
    "its alias": ("ip link set br-lan alias ", "bridge br-lan: "),
    "the bridge down": ("ip link set br-lan down", "bridge br-lan: up"),
    "its addresses": ("ip addr flush dev br-lan scope global", "address 172.18.0.1/16 dev br-lan: missing"),
    "a pair down": ("ip link set VETH down", "veth VETH: up"),
    "a pair taken out": ("ip link set VETH nomaster", "veth VETH: bridge"),
    "a pair deleted": ("ip link delete VETH", "veth VETH: missing"),
    "a port's flag": ("bridge link set dev VETH isolated on", "veth VETH: isolated"),
}


@pytest.mark.parametrize("what", LINKS)
def test_links_are_mended(world: World, what: str) -> None:
    command, line = (text.replace("VETH", world.veth(0)) for text in LINKS[what])
    mended = world.sabotage(*command.split(" "))
    assert any(each.startswith(line) for each in mended), mended


RULES = {
    "nftables": (
        "nft flush ruleset",
        "nft flush table inet netpy-test",
        "nft delete table inet netpy-test",
        "nft flush chain inet netpy-test guard",
        "nft flush map inet netpy-test port4",
        "nft add rule inet netpy-test forward accept",
    ),
    "iptables": (
        "iptables-legacy -F",
        "iptables-legacy -t nat -F",
        "iptables-legacy -t mangle -D PREROUTING 1",
        "ip6tables-legacy -F",
    ),
}


def test_rules_are_mended(world: World, backend: str) -> None:
    for command in RULES[backend]:
        assert world.sabotage(*command.split()), command


def test_rules_exchanged_for_others_of_the_same_size_are_mended(world: World, backend: str) -> None:
    """The tables are as large as before, and the chains begin where they did: only their contents tell."""
    if backend == "nftables":
        pytest.skip("nf_tables tells of every rule")
    rules = world.run("iptables-legacy", "-S", "FORWARD").splitlines()
    ours = next(line for line in rules if "-FORWARD" in line and "netpy:" in line)
    comment = next(word for word in ours.split() if "netpy:" in word).strip('"')
    command = ours.replace("-A FORWARD", "-R FORWARD 1").replace(comment, "x" * len(comment)).split()
    assert world.sabotage("iptables-legacy", *command)


def test_a_forward_policy_of_drop_gets_a_passage(world: World) -> None:
    (line, *_) = world.sabotage("iptables-nft", "-P", "FORWARD", "DROP")
    assert "FORWARD accepts" in line
    assert f"-A FORWARD -i {BRIDGE} " in world.run("iptables-nft", "-S", "FORWARD")


def test_legacy_docker_gets_a_passage(world: World, backend: str) -> None:
    if backend == "iptables":
        pytest.skip("its own hooks stand in the same chain, first")
    (line, *_) = world.sabotage("iptables-legacy", "-P", "FORWARD", "DROP")
    assert "FORWARD accepts" in line
    assert f"-A FORWARD -i {BRIDGE} " in world.run("iptables-legacy", "-S", "FORWARD")


def test_what_we_do_ourselves_is_no_news(world: World) -> None:
    controller, one, two = world.controller, *world.sandboxes
    for number in range(5):
        controller.create_network(NetworkSpec(name="more", ipv6=True))
        controller.attach(two, [("more", spec("s1", PortBinding(container_port=1, host_port=9000 + number)))])
        controller.attach(one, [("more", spec("s0"))])
        if number == 2:
            assert controller.repair() == []
        for sandbox in (one, two):
            controller.detach(sandbox.id, "more")
        controller.remove_network("more")
    asked = list(world.mending.asked)
    world.sabotage("ip", "link", "set", BRIDGE, "mtu", "1400")
    assert len(world.mending.mended) == 1, "nothing but the sabotage was mended"
    assert None not in asked, "only links that went are asked about, and no kernel for that"


def test_others_rules_are_no_news(world: World) -> None:
    for number in range(20):
        world.run("nft", "add", "table", "inet", f"other{number}")
    asked = list(world.mending.asked)
    world.sabotage("ip", "link", "set", BRIDGE, "mtu", "1400")
    assert asked == []


def test_a_sandbox_keeps_what_it_did_to_itself(world: World) -> None:
    inside = world.sandboxes[0].netns
    world.run("ip", "route", "delete", "default", where=inside)
    world.run("ip", "link", "set", BRIDGE, "mtu", "1400")
    world.mending.until(1)
    assert world.mending.mended == [[f"bridge {BRIDGE}: mtu is 1400, should be 1500"]]
    assert any(line.startswith("route default") for line in world.controller.check())


INSIDE = {
    "its address": ("ip addr flush dev eth0 scope global", "address 172.18.0.3/16 dev eth0"),
    "its way out": ("ip route delete default", "route default"),
    "its end down": ("ip link set eth0 down", "veth VETH: up is off"),
    "its end deleted": ("ip link delete eth0", "veth VETH: missing"),
}


@pytest.mark.parametrize("what", INSIDE)
def test_a_sealed_sandbox_is_mended_inside(world: World, what: str) -> None:
    command, line = (text.replace("VETH", world.veth(1)) for text in INSIDE[what])
    before = world.run("ip", "route", where=world.sandboxes[1].netns)
    mended = world.sabotage(*command.split(), where=world.sandboxes[1].netns)
    assert any(each.startswith(line) for each in mended), mended
    assert world.run("ip", "route", where=world.sandboxes[1].netns) == before


@pytest.mark.parametrize(
    "setting", ["net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1", f"net/ipv4/conf/{BRIDGE}/route_localnet=1"]
)
def test_settings_are_mended(world: World, setting: str) -> None:
    name, _, value = setting.partition("=")
    mended = world.sabotage("sh", "-c", f"echo 0 > /proc/sys/{name}")
    assert any(line.startswith(f"sysctl {name}: ") for line in mended), mended
    assert world.run("cat", f"/proc/sys/{name}").strip() == value


def test_a_pair_that_was_deleted_comes_back_with_everything_in_it(world: World) -> None:
    inside = world.sandboxes[0].netns
    before = world.run("ip", "-o", "addr", where=inside), world.run("ip", "route", where=inside)
    mended = world.sabotage("ip", "link", "delete", world.veth(0))
    assert any(line.startswith("route default") for line in mended)
    assert world.run("ip", "route", where=inside) == before[1]


def test_connections_survive(world: World, backend: str) -> None:
    """Also when a packet comes before the rules have been mended, which the kernel would answer with a reset."""
    one, two = world.sandboxes
    address = world.run("ip", "-o", "-4", "addr", "show", "eth0", where=one.netns).split()[3].partition("/")[0]
    with ExitStack() as opened:

        def connect(where: str, to: tuple[str, int]) -> tuple[socket.socket, socket.socket]:
            client = netns.run_in(where, lambda: socket.create_connection(to, timeout=PATIENCE))
            opened.enter_context(client)
            server, _ = listening.accept()
            server.settimeout(PATIENCE)
            return client, opened.enter_context(server)

        listening = opened.enter_context(netns.run_in(one.netns, lambda: socket.create_server(("0.0.0.0", 80))))
        listening.settimeout(PATIENCE)
        gateway = address.rsplit(".", 1)[0] + ".1"
        pairs = [connect(two.netns, (address, 80)), connect(world.host, (gateway, 8800))]
        for command in (*RULES[backend][:2], f"ip link delete {BRIDGE}"):
            mended = len(world.mending.mended)
            world.run(*command.split())
            if command.startswith("ip "):
                world.mending.until(mended + 1)
            for client, server in pairs:
                client.sendall(b"still there?")
                assert server.recv(100) == b"still there?", command
            world.mending.until(mended + 1)
