"""The driver `dhcp` through a daemon and the command line: leases of a real server, dnsmasq on the machine outside."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from os import kill
from pathlib import Path

import pytest
from netpy_dhcp import RUN

from tests.e2e.world import Daemon, World, eventually, new_world

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("dnsmasq", path="/usr/sbin:/usr/bin"), reason="needs dnsmasq-base"),
]
SLEEP = ("--init", "busybox", "sleep", "600")
ROUTER = "198.51.100.2"


@dataclass
class Server:
    """dnsmasq on the LAN. `leases` is its file of leases."""

    world: World
    process: subprocess.Popen[bytes] | None = None

    @property
    def leases(self) -> Path:
        return self.world.root / "leases"

    def start(self, first: int = 100) -> None:
        """Serve fifty addresses from this one on."""
        pool = f"198.51.100.{first},198.51.100.{first + 49},255.255.255.0,2m"
        self.process = subprocess.Popen(
            [
                "nsenter", f"--net={self.world.outside}", "/usr/sbin/dnsmasq", "--keep-in-foreground", "--port=0",
                "--conf-file=/dev/null", "--pid-file=", "--user=root", "--interface=uplink", "--no-ping", "--no-resolv",
                "--dhcp-authoritative", f"--dhcp-range={pool}", f"--dhcp-leasefile={self.leases}",
                f"--dhcp-option=option:router,{ROUTER}", "--domain=lan.example",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        eventually(lambda: ":67 " in self.world.at(self.world.outside, "ss", "-lun").stdout, "dnsmasq serves")

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def known(self) -> str:
        return self.leases.read_text() if self.leases.exists() else ""


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


@pytest.fixture
def server(world: World, daemon: Daemon) -> Iterator[Server]:
    made = Server(world)
    made.start()
    daemon("network", "create", "-d", "dhcp", "-o", "parent=uplink", "-o", "lease_timeout=6", "lan")
    yield made
    daemon.clean()
    made.stop()
    assert not clients(daemon) and "macvlan" not in world.at(world.host, "ip", "-d", "link").stdout


def clients(daemon: Daemon) -> list[int]:
    """The DHCP clients of the daemon's networks that run."""
    ids = daemon("network", "ls", "-q", "--no-trunc").split()
    files = [path for id in ids for path in RUN.glob(f"*/{id[:12]}/*.pid")]
    return [int(path.read_text()) for path in files if Path(f"/proc/{path.read_text().strip()}/cmdline").exists()]


def pings(daemon: Daemon, container: str, address: str) -> bool:
    return daemon.run("exec", container, "ping", "-c1", "-W1", address, check=False).returncode == 0


def address(daemon: Daemon, container: str) -> str:
    return daemon("inspect", "-f", "{{.NetworkSettings.Networks.lan.IPAddress}}", container)


def test_containers_lease_addresses_and_give_them_back(world: World, daemon: Daemon, server: Server) -> None:
    daemon("run", "-d", "--name", "c1", "--network", "lan", *SLEEP)
    daemon("run", "-d", "--name", "c2", *SLEEP)
    daemon("network", "connect", "lan", "c2")
    one, two = address(daemon, "c1"), address(daemon, "c2")
    assert one != two and one.startswith("198.51.100.1") and f" {one} c1 " in server.known()
    assert f" {two} c2 " in server.known()
    assert pings(daemon, "c1", ROUTER) and pings(daemon, "c1", "c2") and pings(daemon, "c2", "c1")
    assert world.at(world.outside, "ping", "-c1", "-W1", one).returncode == 0
    assert f"default via {ROUTER}" in daemon("exec", "c1", "ip", "route")
    assert "lan.example" in daemon("exec", "c1", "cat", "/etc/resolv.conf")
    assert daemon.run("network", "check", check=False).returncode == 0
    daemon("network", "disconnect", "lan", "c2")
    eventually(lambda: two not in server.known(), "the lease of c2 is given back")
    assert len(clients(daemon)) == 1 and "dh-" not in daemon("exec", "c2", "ip", "link")
    daemon("rm", "-f", "c1")
    eventually(lambda: one not in server.known(), "the lease of c1 is given back")


def test_clients_outlive_a_crash_and_dead_ones_are_started_again(daemon: Daemon, server: Server) -> None:
    daemon("run", "-d", "--name", "c1", "--network", "lan", *SLEEP)
    here, (first,) = address(daemon, "c1"), clients(daemon)
    daemon.kill()
    daemon.start()
    assert clients(daemon) == [first] and address(daemon, "c1") == here and pings(daemon, "c1", ROUTER)
    daemon.stop()
    kill(first, signal.SIGKILL)
    daemon.start()
    (second,) = eventually(lambda: clients(daemon), "a new client")
    assert second != first and f" {here} " in server.known()
    assert address(daemon, "c1") == here and pings(daemon, "c1", ROUTER)
    kill(second, signal.SIGKILL)
    told = daemon.run("network", "check", check=False)
    assert "c1: no DHCP client renews its lease" in told.stdout + told.stderr and told.returncode != 0


def test_a_lease_that_the_server_takes_back_is_told(daemon: Daemon, server: Server) -> None:
    daemon("run", "-d", "--name", "c1", "--network", "lan", *SLEEP)
    here, (client,) = address(daemon, "c1"), clients(daemon)
    report = next(RUN.glob(f"*/*/{endpoint(daemon)}.pid")).with_suffix(".lease")
    eventually(report.exists, "the client has its lease")
    server.stop()
    server.leases.unlink()
    server.start(first=200)
    kill(client, signal.SIGUSR1)  # renew now: the server does not know this address any more, and says no
    said = eventually(lambda: told(daemon, "the DHCP server leases 198.51.100.2"), "the change is told")
    assert "restart the container to use it" in said
    assert here not in daemon("exec", "c1", "ip", "-4", "addr")
    daemon("restart", "-t", "0", "c1")
    assert address(daemon, "c1").startswith("198.51.100.2") and pings(daemon, "c1", ROUTER)


def told(daemon: Daemon, what: str) -> str:
    done = daemon.run("network", "check", check=False)
    said = done.stdout + done.stderr
    return said if what in said else ""


def endpoint(daemon: Daemon) -> str:
    return daemon("inspect", "-f", "{{.NetworkSettings.Networks.lan.EndpointID}}", "c1")


def test_a_lan_without_a_server_is_told_and_nothing_stays(world: World, daemon: Daemon, server: Server) -> None:
    server.stop()
    daemon("run", "-d", "--name", "c1", *SLEEP)
    refused = daemon.fails("network", "connect", "lan", "c1")
    assert "driver dhcp: no lease on parent uplink: no DHCP server answered within 6 s" in refused.stderr
    links = daemon("exec", "c1", "ip", "link")
    assert "dh-" not in links and "eth1" not in links and not clients(daemon)
    assert daemon.run("network", "check", check=False).returncode == 0
    world.at(world.host, "ip", "link", "set", "uplink", "down")
    refused = daemon.fails("network", "connect", "lan", "c1")
    world.at(world.host, "ip", "link", "set", "uplink", "up")
    assert "driver dhcp: no " in refused.stderr and "parent uplink" in refused.stderr
    world.at(world.host, "ip", "route", "add", "default", "via", ROUTER)
