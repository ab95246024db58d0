"""`netpy network …` by hand: flags, filters, dry runs, drift, and what bad input gets."""

from __future__ import annotations

import pytest

from tests.e2e.world import Daemon, World

pytestmark = pytest.mark.root


def test_every_flag_of_create(netpy: Daemon) -> None:
    netpy(
        "network", "create", "--driver", "bridge", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.1",
        "--ip-range", "10.9.0.128/25", "--aux-address", "router=10.9.0.2", "--internal", "--ipv6", "--label", "a=b",
        "-o", "com.docker.network.driver.mtu=1400", "back",
    )  # fmt: skip
    (found,) = netpy.json("network", "inspect", "back")
    assert found["IPAM"]["Config"][0] == {
        "Subnet": "10.9.0.0/24",
        "IPRange": "10.9.0.128/25",
        "Gateway": "10.9.0.1",
        "AuxiliaryAddresses": {"router": "10.9.0.2"},
    }
    assert found["Internal"] is True and found["EnableIPv6"] is True and found["Labels"] == {"a": "b"}
    assert found["IPAM"]["Config"][1]["Subnet"].startswith("fd")
    inner = netpy("run", "--rm", "--network", "back", "busybox", "ip", "addr", "show", "eth0")
    assert "10.9.0.128/24" in inner and "mtu 1400" in inner and "inet6 fd" in inner
    assert netpy("network", "ls", "--filter", "label=a=b", "--format", "{{.Name}}/{{.Driver}}") == "back/bridge"


def test_static_addresses_macs_and_aliases(netpy: Daemon) -> None:
    netpy("network", "create", "--subnet", "10.9.0.0/24", "static")
    netpy(
        "run", "-d", "--name", "fixed", "--network", "name=static,ip=10.9.0.77,alias=one,alias=two",
        "busybox", "sleep", "1000",
    )  # fmt: skip
    netpy(
        "run",
        "-d",
        "--name",
        "asker",
        "--network",
        "static",
        "--mac-address",
        "02:42:0a:09:00:99",
        "busybox",
        "sleep",
        "1000",
    )
    assert "02:42:0a:09:00:99" in netpy("exec", "asker", "ip", "link", "show", "eth0")
    for name in ("fixed", "one", "two"):
        assert "10.9.0.77" in netpy("exec", "asker", "nslookup", name, "127.0.0.11")
    netpy("stop", "-t", "0", "fixed")
    taken = netpy.fails("run", "--rm", "--network", "static", "--ip", "10.9.0.77", "busybox", "true")
    assert "Address already in use" in taken.stderr
    netpy("start", "fixed")
    assert "10.9.0.77" in netpy("exec", "fixed", "ip", "addr")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subnet", "10.9.0.1/24", "x"], "it should be 10.9.0.0/24"),
        (["--subnet", "10.9.0.0/33", "x"], "10.9.0.0/33"),
        (["--subnet", "10.9.0.0/24", "--gateway", "10.8.0.1", "x"], "10.8.0.1"),
        (["--subnet", "10.9.0.0/24", "--ip-range", "10.8.0.0/25", "x"], "10.8.0.0/25"),
        (["--subnet", "10.9.0.0/24", "--aux-address", "a=10.8.0.5", "x"], "10.8.0.5"),
        (["--driver", "nosuch", "x"], "nosuch"),
        (["-o", "com.docker.network.driver.mtu=wide", "x"], "mtu"),
        (["bridge"], "operation is not permitted on predefined bridge network"),
        (["--driver", "host", "second"], 'only one instance of "host" network is allowed'),
    ],
)
def test_a_bad_network_is_refused_and_nothing_is_left(netpy: Daemon, arguments: list[str], message: str) -> None:
    before = netpy("network", "ls", "-q")
    assert message in netpy.fails("network", "create", *arguments).stderr
    assert netpy("network", "ls", "-q") == before
    assert netpy("network", "check") == ""


def test_overlaps_and_duplicates_are_refused(netpy: Daemon) -> None:
    netpy("network", "create", "--subnet", "10.9.0.0/16", "first")
    overlap = netpy.fails("network", "create", "--subnet", "10.9.3.0/24", "second")
    assert "Pool overlaps with other one on this address space" in overlap.stderr
    assert "network with name first already exists" in netpy.fails("network", "create", "first").stderr


def test_removal_is_refused_while_in_use(netpy: Daemon) -> None:
    netpy("network", "create", "used")
    netpy("run", "-d", "--name", "user", "--network", "used", "busybox", "sleep", "1000")
    assert 'network used has active endpoints (name:"user"' in netpy.fails("network", "rm", "used").stderr
    for name in ("bridge", "host", "none"):
        assert f"{name} is a pre-defined network and cannot be removed" in netpy.fails("network", "rm", name).stderr
    assert "network nosuch not found" in netpy.fails("network", "rm", "nosuch").stderr
    netpy("network", "disconnect", "used", "user")
    assert netpy("network", "rm", "used") == "used"


def test_connect_and_disconnect_name_what_is_wrong(netpy: Daemon) -> None:
    netpy("network", "create", "n")
    netpy("run", "-d", "--name", "hosted", "--network", "host", "busybox", "sleep", "1000")
    netpy("run", "-d", "--name", "plain", "busybox", "sleep", "1000")
    assert "No such container: nosuch" in netpy.fails("network", "connect", "n", "nosuch").stderr
    assert "network nosuch not found" in netpy.fails("network", "connect", "nosuch", "plain").stderr
    assert "host" in netpy.fails("network", "connect", "n", "hosted").stderr
    assert "is not connected to network n" in netpy.fails("network", "disconnect", "n", "plain").stderr
    outside = netpy.fails("network", "connect", "--ip", "9.9.9.9", "n", "plain").stderr
    assert "9.9.9.9" in outside
    alias = netpy.fails("run", "--rm", "--network-alias", "a", "busybox", "true")
    assert "network-scoped alias" in alias.stderr and alias.returncode == 125
    address = netpy.fails("run", "--rm", "--ip", "172.17.0.9", "busybox", "true")
    assert "user specified IP address is supported on user defined networks only" in address.stderr


def test_an_exhausted_pool_says_so(netpy: Daemon) -> None:
    netpy("network", "create", "--subnet", "10.9.0.0/30", "tiny")
    netpy("run", "-d", "--network", "tiny", "busybox", "sleep", "1000")
    full = netpy.fails("run", "-d", "--network", "tiny", "busybox", "sleep", "1000")
    assert "no available" in full.stderr and full.returncode == 125


def test_a_dry_run_prints_the_plan_and_changes_nothing(netpy: Daemon, world: World) -> None:
    links = world.at(world.host, "ip", "-o", "link").stdout
    plan = netpy("network", "create", "--dry-run", "x")
    assert "bridge br-" in plan and "172." in plan
    netpy("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
    netpy("network", "create", "real")
    assert "veth" in netpy("network", "connect", "--dry-run", "real", "cc")
    assert "8800" in netpy("run", "--dry-run", "--network", "real", "-p", "8800:80", "busybox", "true")
    assert netpy("network", "ls", "--filter", "name=x", "-q") == ""
    assert "eth1" not in netpy("exec", "cc", "ip", "link")
    assert netpy("ps", "-aq").count("\n") == 0
    netpy.clean()
    assert world.at(world.host, "ip", "-o", "link").stdout.count("\n") <= links.count("\n")


def test_check_names_every_drift_and_repair_mends_it(netpy: Daemon, world: World, backend: str) -> None:
    netpy("network", "create", "-o", "com.docker.network.bridge.name=br-drift", "drifting")
    netpy("run", "-d", "--name", "cc", "--network", "drifting", "-p", "8801:80", "busybox", "sleep", "1000")
    assert netpy("network", "check") == ""
    flush = ["nft", "flush", "ruleset"] if backend == "nftables" else ["iptables-legacy", "-t", "nat", "-F"]
    for command in (
        ["ip", "link", "set", "br-drift", "mtu", "1300"],
        ["ip", "addr", "flush", "dev", "br-drift"],
        ["ip", "link", "set", "br-drift", "down"],
        flush,
    ):
        world.at(world.host, *command)
        found = netpy.run("network", "check", check=False)
        # The daemon notices by itself, and on a busy machine it may have mended before it is asked.
        told = found.stdout if found.returncode == 1 else netpy.tail().splitlines()[-1]
        assert found.stdout.strip() or "mended" in told, command
        if command[0] == "ip":
            assert "br-drift" in told
        netpy("network", "check", "--repair")
        assert netpy("network", "check") == "", command


def test_prune_removes_only_what_nobody_uses(netpy: Daemon) -> None:
    netpy("network", "create", "idle")
    netpy("network", "create", "busy")
    netpy("run", "-d", "--network", "busy", "busybox", "sleep", "1000")
    assert "idle" in netpy("network", "prune", "-f")
    assert sorted(netpy("network", "ls", "--format", "{{.Name}}").split()) == ["bridge", "busy", "host", "none"]


def test_typos_are_answered_as_docker_answers_them(netpy: Daemon) -> None:
    assert "'nosuch' is not a netpy command" in netpy.fails("nosuch").stderr
    assert "unknown flag: --nosuch" in netpy.fails("network", "create", "--nosuch", "x").stderr
    assert "requires" in netpy.fails("network", "create").stderr
