"""The driver `macvlan` through a daemon and the command line, on the real kernel, with real packets.

The world's host has `uplink`, a cable to a machine outside: that is the LAN.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.world import Daemon, World, new_world

pytestmark = pytest.mark.root
LAN = ("--subnet", "198.51.100.0/24", "--ip-range", "198.51.100.128/25", "--gateway", "198.51.100.2")
SLEEP = ("--init", "busybox", "sleep", "600")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = new_world()
    yield made
    made.close()


@pytest.fixture(scope="module")
def daemon(world: World) -> Iterator[Daemon]:
    made = Daemon(world)
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


def test_containers_are_hosts_of_the_lan(world: World, daemon: Daemon) -> None:
    plan = daemon("network", "create", "--dry-run", "-d", "macvlan", *LAN, "-o", "parent=uplink", "lan")
    assert "lan" not in daemon("network", "ls", "--format", "{{.Name}}").split(), plan
    daemon("network", "create", "-d", "macvlan", *LAN, "-o", "parent=uplink", "lan")
    daemon("run", "-d", "--name", "c1", "--network", "lan", "-p", "8080:80", *SLEEP)
    daemon("run", "-d", "--name", "c2", *SLEEP)
    daemon("network", "connect", "lan", "c2")
    here = address(daemon, "c1", "lan")
    assert here.startswith("198.51.100.1")
    assert pings(daemon, "c1", "198.51.100.2")  # a machine of the LAN, and the router
    assert pings(daemon, "c1", "c2") and pings(daemon, "c2", "c1")  # each other, by name
    assert world.at(world.outside, "ping", "-c1", "-W1", here).returncode == 0
    assert "default via 198.51.100.2" in daemon("exec", "c1", "ip", "route")
    assert daemon("port", "c1") == ""  # nothing is translated, so nothing is published
    daemon("network", "disconnect", "lan", "c2")
    assert not pings(daemon, "c1", "c2")
    assert "eth1" not in daemon("exec", "c2", "ip", "link")


def test_damage_is_named_and_mended_and_a_crash_changes_nothing(world: World, daemon: Daemon) -> None:
    daemon("network", "create", "-d", "macvlan", *LAN, "-o", "parent=uplink", "lan")
    daemon("run", "-d", "--name", "c1", "--network", "lan", "--privileged", *SLEEP)
    daemon("exec", "c1", "ip", "link", "del", "eth0")
    told = daemon.run("network", "check", check=False)
    assert "eth0" in told.stdout + told.stderr and told.returncode != 0
    daemon("network", "check", "--repair")
    assert pings(daemon, "c1", "198.51.100.2")
    daemon.kill()
    daemon.start()
    assert pings(daemon, "c1", "198.51.100.2")
    assert daemon.run("network", "check", check=False).returncode == 0
    daemon.fails("network", "create", "-d", "macvlan", "-o", "parent=uplink", "-o", "macvlan_mode=passthru", "alone")
    daemon("rm", "-f", "c1")
    daemon("network", "rm", "lan")
    assert "macvlan" not in world.at(world.host, "ip", "-d", "link").stdout


def test_private_ones_do_not_see_each_other(daemon: Daemon) -> None:
    options = ("-o", "parent=uplink", "-o", "macvlan_mode=private")
    daemon("network", "create", "-d", "macvlan", *LAN, *options, "apart")
    for name in ("c1", "c2"):
        daemon("run", "-d", "--name", name, "--network", "apart", *SLEEP)
    assert pings(daemon, "c1", "198.51.100.2") and pings(daemon, "c2", "198.51.100.2")
    assert not pings(daemon, "c1", address(daemon, "c2", "apart"))


def test_vepa_leaves_it_to_the_switch_and_passthru_is_alone(daemon: Daemon) -> None:
    daemon("network", "create", "-d", "macvlan", *LAN, "-o", "parent=uplink", "-o", "macvlan_mode=vepa", "by-switch")
    for name in ("c1", "c2"):
        daemon("run", "-d", "--name", name, "--network", "by-switch", *SLEEP)
    assert pings(daemon, "c1", "198.51.100.2")
    assert not pings(daemon, "c1", address(daemon, "c2", "by-switch"))  # this cable turns no frame round
    daemon.clean()
    daemon("network", "create", "-d", "macvlan", *LAN, "-o", "parent=uplink", "-o", "macvlan_mode=passthru", "whole")
    daemon("run", "-d", "--name", "c1", "--network", "whole", *SLEEP)
    assert pings(daemon, "c1", "198.51.100.2")
    refused = daemon.fails("run", "--name", "c2", "--network", "whole", "busybox", "true")
    assert "parent interface uplink is in use" in refused.stderr
    assert pings(daemon, "c1", "198.51.100.2")


def test_without_a_parent_containers_have_each_other_alone_if_the_kernel_has_dummies(daemon: Daemon) -> None:
    made = daemon.run("network", "create", "-d", "macvlan", "alone", check=False)
    if made.returncode:
        assert "this kernel has no dummy links (CONFIG_DUMMY, module dummy)" in made.stderr
        assert "alone" not in daemon("network", "ls")
        return
    for name in ("c1", "c2"):
        daemon("run", "-d", "--name", name, "--network", "alone", *SLEEP)
    assert pings(daemon, "c1", "c2")
    assert not pings(daemon, "c1", "198.51.100.2")
    assert daemon("network", "inspect", "-f", "{{.Internal}}", "alone") == "true"


def test_internal_ones_have_no_way_out(daemon: Daemon) -> None:
    daemon("network", "create", "-d", "macvlan", "--internal", *LAN, "-o", "parent=uplink", "inside")
    daemon("run", "-d", "--name", "c1", "--network", "inside", *SLEEP)
    assert "default" not in daemon("exec", "c1", "ip", "route")


def test_mistakes_are_told_and_a_vlan_is_made_where_the_kernel_can(world: World, daemon: Daemon) -> None:
    def fails(*options: str) -> str:
        return daemon.fails("network", "create", "-d", "macvlan", *options, "x").stderr

    assert "requested macvlan mode 'bogus' is not valid" in fails("-o", "macvlan_mode=bogus")
    assert "was not found on the host: nope" in fails("-o", "parent=nope.30")
    done = daemon.run("network", "create", "-d", "macvlan", "-o", "parent=uplink.30", "v30", check=False)
    links = world.at(world.host, "ip", "-o", "link").stdout
    if done.returncode:
        assert "this kernel has no vlan links (CONFIG_VLAN_8021Q, module 8021q)" in done.stderr
        assert "v30" not in daemon("network", "ls")
    assert ("uplink.30" in links) == (done.returncode == 0)
