"""A real dockerd whose networks are ours: `netpy plugin serve`, then `docker network create -d NAME`."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.dockerd import SERVE, Docker
from tests.e2e.world import NETPY, OUTSIDE_ADDRESS, World, eventually

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("dockerd"), reason="needs a Docker daemon: apt-get install docker.io"),
]


class Plugin:
    """A `netpy plugin serve` on the world's host, under a name of its own."""

    def __init__(self, world: World) -> None:
        self.world, self.name = world, f"netpy-{secrets.token_hex(3)}"
        self.root = world.root / self.name
        self.root.mkdir()
        self.socket = Path("/run/docker/plugins") / f"{self.name}.sock"
        self.made = not self.socket.parent.exists()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "nsenter", f"--net={self.world.host}", NETPY, "plugin", "serve", "--name", self.name,
                    "--data-root", f"{self.root}/data", "--exec-root", f"{self.root}/exec",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        eventually(lambda: ("offering" in self.log() and self.socket.exists()) or self.died(), self.log())

    def died(self) -> bool:
        assert self.process and self.process.poll() is None, self.log()
        return False

    def log(self) -> str:
        return (self.root / "log").read_text()

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()
        (self.root / "log").write_text("")

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
        self.socket.unlink(missing_ok=True)
        if self.made:
            self.socket.parent.rmdir()


@pytest.fixture(scope="module")
def plugin(world: World) -> Iterator[Plugin]:
    made = Plugin(world)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def docker(world: World, plugin: Plugin) -> Iterator[Docker]:

    made = Docker(world)
    made.start()
    yield made
    made.close()


def links(world: World) -> set[str]:
    """Links on the host, without their numbers."""
    found = json.loads(world.at(world.host, "ip", "-j", "link").stdout)
    return {link["ifname"] for link in found}


def rules(world: World, what: str) -> bool:
    """Whether the firewall's rules speak of it."""
    tables = ["nft", "list", "ruleset"], ["iptables-legacy-save"]
    return any(what in world.at(world.host, *command, check=False).stdout for command in tables)


def test_dockers_containers_on_networks_of_ours(world: World, plugin: Plugin, docker: Docker) -> None:
    before = links(world)
    docker(
        "network",
        "create",
        "-d",
        plugin.name,
        "--subnet",
        "10.66.0.0/24",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "x",
    )
    id = docker("network", "inspect", "-f", "{{.Id}}", "x")
    assert f"br-{id[:12]}" in links(world)
    docker("run", "-d", "--name", "web", "--network", "x", "-p", "8088:80", "busybox", "sh", "-c", SERVE % "hello")
    docker("run", "-d", "--name", "peer", "--network", "x", "--ip", "10.66.0.9", "busybox", "sleep", "600")
    ping = docker("exec", "peer", "ping", "-c", "1", "-W", "5", "web")
    assert "10.66.0.2" in ping and " 0% packet loss" in ping
    assert "mtu 1400" in docker("exec", "peer", "ip", "link", "show", "eth0")
    assert "10.66.0.9/24" in docker("exec", "peer", "ip", "addr", "show", "eth0")
    assert "default via 10.66.0.1" in docker("exec", "peer", "ip", "route")
    assert " 0% packet loss" in docker("exec", "peer", "ping", "-c", "1", "-W", "5", OUTSIDE_ADDRESS)
    fetch = ("curl", "-sS", "--max-time", "5", "http://198.51.100.1:8088/")
    eventually(lambda: world.at(world.outside, *fetch, check=False).stdout == "hello\n", "the published port")

    plugin.kill()
    assert world.at(world.outside, *fetch).stdout == "hello\n"
    plugin.start()
    assert world.at(world.outside, *fetch).stdout == "hello\n"
    assert " 0% packet loss" in docker("exec", "peer", "ping", "-c", "1", "-W", "5", "web")
    docker("run", "--rm", "--network", "x", "busybox", "ping", "-c", "1", "-W", "5", "peer")

    docker("network", "disconnect", "x", "peer")
    docker("network", "connect", "x", "peer")
    docker("exec", "peer", "ping", "-c", "1", "-W", "5", "web")
    taken = docker.run("run", "--rm", "--network", "x", "-p", "8088:80", "busybox", "true", check=False)
    assert taken.returncode == 125 and "port is already allocated" in taken.stderr, taken.stderr
    docker("rm", "-f", "web", "peer")
    assert not rules(world, "8088")
    docker("network", "rm", "x")
    assert links(world) == before
    assert not rules(world, "10.66.0")


def test_internal_networks_and_addresses_of_ours(world: World, plugin: Plugin, docker: Docker) -> None:
    before = links(world)
    docker(
        "network",
        "create",
        "-d",
        plugin.name,
        "--ipam-driver",
        plugin.name,
        "--internal",
        "--subnet",
        "10.67.0.0/24",
        "y",
    )
    docker("network", "create", "-d", plugin.name, "--ipam-driver", plugin.name, "z")
    docker("run", "-d", "--name", "in", "--network", "y", "busybox", "sleep", "600")
    assert "10.67.0.2/24" in docker("exec", "in", "ip", "addr", "show", "eth0")
    assert "default" not in docker("exec", "in", "ip", "route")
    docker("network", "connect", "z", "in")
    assert "default" in docker("exec", "in", "ip", "route")
    plugin.kill()
    plugin.start()
    docker("restart", "-t", "0", "in")
    assert "10.67.0." in docker("exec", "in", "ip", "addr")
    docker.stop()
    docker.start()
    docker("start", "in")
    docker("rm", "-f", "in")
    docker("network", "rm", "y", "z")
    assert links(world) == before


def test_what_cannot_be_is_told(world: World, plugin: Plugin, docker: Docker) -> None:
    wrong = docker.run(
        "network", "create", "-d", plugin.name, "-o", "com.docker.network.driver.mtu=x", "w", check=False
    )
    assert "com.docker.network.driver.mtu=x" in wrong.stderr
    none = docker.run("network", "create", "-d", plugin.name, "--ipam-driver", "null", "w", check=False)
    assert "has no subnet" in none.stderr
    assert "w" not in docker("network", "ls", "--format", "{{.Name}}").split()
