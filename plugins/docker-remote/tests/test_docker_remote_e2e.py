"""A real daemon, its command line, and a plugin that makes real links, on the real kernel."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import Daemon, World, eventually, new_world

pytestmark = pytest.mark.root
SERVER = str(Path(__file__).with_name("docker_plugin_server.py"))


class Process:
    """The plugin server on the world's host."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world, self.socket = world, directory / "plug.sock"
        self.control, self.log = directory / "control", directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, SERVER, str(self.socket), str(self.control), str(self.log), "links"]
        self.process = subprocess.Popen(["nsenter", f"--net={self.world.host}", *command])
        eventually(self.socket.exists, "the plugin's socket")

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.gone()

    def gone(self) -> None:
        """It has ended, or is about to: nothing is left of it but what it made."""
        assert self.process
        self.process.wait(timeout=15)
        self.socket.unlink()

    def does(self, **faults: str) -> None:
        self.control.write_text(json.dumps({f"NetworkDriver.{call}": fault for call, fault in faults.items()}))

    def calls(self) -> list[str]:
        return [json.loads(line)[0].partition(".")[2] for line in self.log.read_text().splitlines()]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = new_world()
    yield made
    made.close()
    shutil.rmtree(made.root, ignore_errors=True)


@pytest.fixture
def plug(world: World, tmp_path: Path) -> Iterator[Process]:
    made = Process(world, tmp_path)
    made.start()
    yield made
    if made.process and made.process.poll() is None:
        made.kill()


@pytest.fixture
def netpy(world: World, plug: Process, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    for name, value in (
        ("SOCKETS", str(plug.socket.parent)),
        ("SPECS", "/nowhere"),
        ("TIMEOUT", "5"),
        ("RETRY", "0.5"),
    ):
        monkeypatch.setitem(os.environ, f"NETPY_PLUGIN_{name}", value)
    daemon = Daemon(world, name=f"r{secrets.token_hex(2)}")
    daemon.start()
    daemon.import_busybox()
    yield daemon
    plug.does()
    daemon.close()


def links(world: World) -> set[str]:
    return {link["ifname"] for link in json.loads(world.at(world.host, "ip", "-j", "link").stdout)}


def test_a_plugins_network(world: World, netpy: Daemon, plug: Process) -> None:
    before = links(world)
    assert "plug" in netpy("info")
    netpy("network", "create", "-d", "plug", "--subnet", "10.44.0.0/24", "-o", "color=blue", "n")
    netpy("run", "-d", "--name", "one", "--network", "n", "busybox", "sleep", "600")
    netpy("run", "-d", "--name", "two", "--network", "n", "busybox", "sleep", "600")
    assert " 0% packet loss" in netpy("exec", "two", "ping", "-c", "1", "-W", "5", "one")
    assert "plug0" in netpy("exec", "one", "ip", "link")
    assert netpy.run("network", "check").returncode == 0
    assert "default via 10.44.0.1 dev plug0" in netpy("exec", "one", "ip", "route")
    plug.does(Join='{"Gateway": ""}')
    netpy("network", "create", "out")
    netpy("create", "--name", "both", "--network", "n", "busybox", "sleep", "600")
    netpy("network", "connect", "out", "both")
    netpy("start", "both")
    route = next(line for line in netpy("exec", "both", "ip", "route").splitlines() if line.startswith("default"))
    assert "dev eth" in route
    netpy("rm", "-f", "both")
    netpy("network", "rm", "out")
    plug.does()
    netpy("network", "disconnect", "n", "two")
    assert "plug0" not in netpy("exec", "two", "ip", "link")
    netpy("network", "connect", "n", "two")
    netpy("exec", "two", "ping", "-c", "1", "-W", "5", "10.44.0.2")

    plug.does(Join="die")
    dead = netpy.fails("run", "--rm", "--network", "n", "busybox", "true")
    assert "plugin plug: NetworkDriver.Join: " in dead.stderr
    plug.gone()
    netpy.kill()
    netpy.start()
    assert "n" in netpy("network", "ls", "--format", "{{.Name}}").split()
    assert "plug" in netpy.fails("run", "--rm", "--network", "n", "busybox", "true").stderr
    netpy("run", "--rm", "busybox", "true")
    netpy("exec", "one", "true")

    plug.does()
    plug.start()  # it has forgotten everything: what it refuses stops nothing here
    netpy.run("rm", "-f", "one", "two", check=False)
    netpy.run("network", "rm", "n", check=False)
    assert not netpy("ps", "-aq")
    assert "n" not in netpy("network", "ls", "--format", "{{.Name}}").split()
    left = links(world) - before
    assert all(name.startswith(("dk", "p", "q")) for name in left), left  # the dead plugin's own
    for name in sorted(left):
        world.at(world.host, "ip", "link", "del", name, check=False)


def test_a_stuck_plugin_is_nobody_elses_trouble(world: World, netpy: Daemon, plug: Process) -> None:
    before = links(world)
    netpy("network", "create", "-d", "plug", "--subnet", "10.45.0.0/24", "n")
    plug.does(CreateEndpoint="hang")
    command = [sys.executable, "-m", "engine.cli.main", "run", "--rm", "--network", "n", "busybox", "true"]
    stuck = subprocess.Popen(command, env=netpy.environment, stderr=subprocess.PIPE, text=True)
    eventually(lambda: "CreateEndpoint" in plug.calls(), "the plugin is asked")
    netpy("run", "--rm", "busybox", "true")
    netpy("network", "create", "other")
    assert stuck.poll() is None
    said = stuck.communicate(timeout=60)[1]
    assert stuck.returncode == 125 and "plugin plug: NetworkDriver.CreateEndpoint: no answer within 5 s" in said
    plug.does()
    netpy("network", "rm", "n", "other")
    assert links(world) == before
