"""Drivers of other packages, in a real daemon: found, described, used; and what a bad one does to the others: nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli import skeleton
from tests.e2e.world import Daemon, World, eventually, new_world

pytestmark = pytest.mark.root

STUCK = """
import time
from netpy_routed import RoutedDriver
from netpy.drivers import Traits

class StuckDriver(RoutedDriver):
    name = "stuck"
    traits = Traits(timeout=6)
    def acquire(self, network, endpoint):
        time.sleep(8)
        return {}
    def release(self, network, endpoint):
        pass
"""
RAISING = """
from netpy_routed import RoutedDriver

class RaisingDriver(RoutedDriver):
    name = "raising"
    def endpoint_state(self, network, endpoint):
        raise KeyError("lease")
"""


def install(place: Path, name: str, module: str, code: str, attribute: str) -> None:
    """A package as pip would leave it: a module, and metadata with an entry point."""
    (place / f"{module}.py").write_text(code)
    info = place / f"netpy_{name}_{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[netpy.drivers]\n{name} = {module}:{attribute}\n")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    install(tmp_path, "routed", "netpy_routed", skeleton.files("routed")["netpy_routed/__init__.py"], "RoutedDriver")
    install(tmp_path, "stuck", "netpy_stuck", STUCK, "StuckDriver")
    install(tmp_path, "raising", "netpy_raising", RAISING, "RaisingDriver")
    install(tmp_path, "broken", "netpy_broken", "import nothing_of_that_name", "Driver")
    for twin in ("one", "two"):
        install(tmp_path, "twin", f"netpy_{twin}", "", "Driver")
    world: World = new_world()
    made = Daemon(world, within=("env", f"PYTHONPATH={tmp_path}"))
    try:
        made.start()
        made.import_busybox()
        yield made
    finally:
        made.close()
        world.close()


def test_drivers_of_other_packages(daemon: Daemon, tmp_path: Path) -> None:
    are_listed(daemon)
    are_refused(daemon)
    are_used(daemon)
    one_that_raises_is_named(daemon)
    one_that_is_stuck_keeps_nobody_waiting(daemon)
    one_that_is_gone_keeps_its_networks(daemon, tmp_path)


def are_listed(daemon: Daemon) -> None:
    listed = daemon("driver", "ls")
    assert "routed" in listed
    assert "netpy-routed 1.0, netpy_routed:RoutedDriver" in listed
    assert "driver broken (netpy-broken 1.0, netpy_broken:Driver) cannot be loaded" in listed
    assert "offered by netpy-one 1.0, netpy_one:Driver and by netpy-two 1.0, netpy_two:Driver" in listed
    assert "routed" in daemon("info")
    table = daemon("network", "create", "-d", "routed", "--help-options").splitlines()
    assert table[2].split() == ["OPTION", "TYPE", "DEFAULT", "MEANING"]
    assert table[3].split()[:3] == ["mtu", "number", "1500"]
    assert "com.docker.network.driver.mtu" in daemon("driver", "options", "bridge")


def are_refused(daemon: Daemon) -> None:
    for argv, words in (
        (("-d", "routed", "-o", "mtu=9"), "invalid network x option mtu=9: must be a number between 1280 and 65535"),
        (("-d", "routed", "-o", "mut=1400"), "driver routed has no option mut: it knows mtu"),
        (("-d", "broken"), "driver broken (netpy-broken 1.0, netpy_broken:Driver) cannot be loaded"),
        (("-d", "twin"), "uninstall all but one"),
        (("-d", "nobody"), 'plugin "nobody" not found'),
        (("--ipam-driver", "nobody"), "could not find plugin nobody in ipam registry"),
    ):
        failed = daemon.run("network", "create", *argv, "x", check=False)
        assert failed.returncode == 1, argv
        assert words in failed.stderr


def are_used(daemon: Daemon) -> None:
    daemon("network", "create", "-d", "routed", "-o", "mtu=1400", "lan")
    daemon("run", "-d", "--name", "web", "--network", "lan", "busybox", "sleep", "600")
    said = daemon("run", "--rm", "--network", "lan", "busybox", "sh", "-c", "ip link show eth0; ping -c1 -W5 web")
    assert "mtu 1400" in said
    assert "1 packets received" in said
    assert daemon.run("network", "check").stdout == ""


def one_that_raises_is_named(daemon: Daemon) -> None:
    daemon("network", "create", "-d", "raising", "bad")
    failed = daemon.run("run", "--name", "no", "--network", "bad", "busybox", "true", check=False)
    assert (
        "driver raising (netpy-raising 1.0, netpy_raising:RaisingDriver): endpoint_state failed: KeyError"
        in failed.stderr
    )
    daemon("rm", "no")


def one_that_is_stuck_keeps_nobody_waiting(daemon: Daemon) -> None:
    daemon("network", "create", "-d", "stuck", "slow")
    results: list[str] = []
    waiting = threading.Thread(
        target=lambda: results.append(
            daemon.run("run", "--name", "late", "--network", "slow", "busybox", "true", check=False).stderr
        )
    )
    waiting.start()
    eventually(lambda: daemon.run("inspect", "late", check=False).returncode == 0, "the container is made")
    daemon("network", "create", "quick")
    daemon("run", "--rm", "--network", "quick", "busybox", "true")
    daemon("network", "rm", "quick")
    assert daemon.run("network", "check").stdout == ""
    waiting.join()
    assert "driver stuck: acquire did not answer within 6 s" in results[0]
    daemon("rm", "late")


def one_that_is_gone_keeps_its_networks(daemon: Daemon, tmp_path: Path) -> None:
    daemon.stop()
    (tmp_path / "netpy_routed.py").write_text("raise RuntimeError('gone')")
    daemon.start()
    assert "lan" in daemon("network", "ls")
    assert "gone" in daemon.run("run", "--rm", "--network", "lan", "busybox", "true", check=False).stderr
    assert "1 packets received" in daemon("exec", "web", "ping", "-c1", "-W5", daemon(
        "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "lan"
    ))  # fmt: skip
    daemon("rm", "-f", "web")
    for name in ("lan", "bad", "slow"):  # gone all the same, and what could not be told to its driver is said
        assert "cannot be loaded: RuntimeError('gone')" in daemon.fails("network", "rm", name).stderr
    assert daemon("network", "ls", "-q", "--filter", "type=custom") == ""
    assert "@" not in daemon.world.at(daemon.world.host, "ip", "-br", "link").stdout.replace("uplink@", "")
