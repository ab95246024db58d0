"""The driver `ptp` through the command line, on the real kernel and both firewalls, with real packets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.world import Daemon, World, eventually, new_world

pytestmark = pytest.mark.root
SLEEP = ("--init", "busybox", "sleep", "600")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = new_world()
    yield made
    made.close()


@pytest.fixture(scope="module", params=["nftables", "iptables"])
def daemon(request: pytest.FixtureRequest, world: World) -> Iterator[Daemon]:
    made = Daemon(world, request.param, flags=(f"--firewall-backend={request.param}",))
    try:
        made.start()
        made.import_busybox()
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def tidy(daemon: Daemon) -> Iterator[None]:
    yield
    daemon.clean()


def pings(daemon: Daemon, container: str, address: str) -> bool:
    return daemon.run("exec", container, "ping", "-c1", "-W1", address, check=False).returncode == 0


def address(daemon: Daemon, container: str, network: str) -> str:
    return daemon("inspect", "-f", f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}', container)


SERVE = ("--init", "busybox", "sh", "-c", "mkdir /w; echo $HOSTNAME >/w/index.html; httpd -f -p 80 -h /w")


def test_containers_reach_the_world_and_are_reached_where_published(world: World, daemon: Daemon) -> None:
    daemon("network", "create", "-d", "ptp", "--ipv6", "p")
    daemon("run", "-d", "--name", "c1", "--hostname", "c1", "--network", "p", "-p", "8080:80", *SERVE)
    daemon("run", "-d", "--name", "c2", "--network", "p", *SLEEP)
    assert pings(daemon, "c1", "c2") and pings(daemon, "c2", "c1")  # by name, by way of the host
    assert daemon.run("exec", "c2", "ping", "-6", "-c1", "-W2", "c1", check=False).returncode == 0
    assert pings(daemon, "c2", "198.51.100.2")  # masqueraded
    for where in ("http://198.51.100.1:8080/", "http://[2001:db8:51::1]:8080/"):
        got = eventually(lambda w=where: world.at(world.outside, "curl", "-sgm2", w, check=False).stdout)
        assert got.strip() == "c1"
    assert world.at(world.host, "curl", "-sm2", "http://127.0.0.1:8080/").stdout.strip() == "c1"
    here = address(daemon, "c1", "p")
    assert daemon("exec", "c2", "wget", "-qO-", f"http://{here}/") == "c1"
    assert daemon("exec", "c1", "wget", "-qO-", "http://198.51.100.1:8080/") == "c1"  # itself, round by the host
    assert world.at(world.outside, "curl", "-sm1", f"http://{here}/", check=False).returncode  # not past the port
    assert daemon.run("network", "check", check=False).returncode == 0
    daemon("rm", "-f", "c1", "c2")
    daemon("network", "rm", "p")
    assert " pt" not in world.at(world.host, "ip", "-o", "link").stdout


def test_networks_are_isolated_and_so_are_containers_without_icc(daemon: Daemon) -> None:
    daemon("network", "create", "-d", "ptp", "one")
    daemon("network", "create", "-d", "ptp", "two")
    daemon("network", "create", "-d", "ptp", "-o", "icc=false", "apart")
    daemon("network", "create", "-d", "ptp", "--internal", "inside")
    for name, network in (
        ("a1", "one"),
        ("b1", "two"),
        ("x1", "apart"),
        ("x2", "apart"),
        ("i1", "inside"),
        ("i2", "inside"),
    ):
        daemon("run", "-d", "--name", name, "--network", network, *SLEEP)
    daemon("run", "-d", "--name", "c0", *SLEEP)
    assert not pings(daemon, "a1", address(daemon, "b1", "two"))
    assert not pings(daemon, "a1", address(daemon, "c0", "bridge"))
    assert not pings(daemon, "c0", address(daemon, "a1", "one"))
    assert not pings(daemon, "x1", "x2")
    assert pings(daemon, "x1", "198.51.100.2")
    assert pings(daemon, "i1", "i2") and not pings(daemon, "i1", "198.51.100.2")
    daemon("network", "connect", "two", "a1")
    assert pings(daemon, "a1", "b1")
    daemon("network", "disconnect", "two", "a1")
    assert not pings(daemon, "a1", address(daemon, "b1", "two"))


def test_damage_is_mended_and_a_crash_changes_nothing(world: World, daemon: Daemon) -> None:
    daemon("network", "create", "-d", "ptp", "p")
    daemon("run", "-d", "--name", "c1", "--network", "p", *SLEEP)
    host = next(word for word in world.at(world.host, "ip", "-o", "link").stdout.split() if word.startswith("pt"))
    world.at(world.host, "ip", "link", "del", host.partition("@")[0])
    eventually(lambda: pings(daemon, "c1", "198.51.100.2"), "the watcher mends it")
    daemon.kill()
    daemon.start()
    assert pings(daemon, "c1", "198.51.100.2")
    assert daemon.run("network", "check", check=False).returncode == 0
