"""Beside a real Docker daemon on the same host: whoever comes first, both have working containers, ports and rules.

Docker turns the FORWARD policy to DROP when it starts; it and its containerd live in this test's world alone, with
roots of their own, and end with it.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.dockerd import SERVE, Docker
from tests.e2e.world import HOST_ADDRESS, OUTSIDE_ADDRESS, Daemon, World, eventually, new_world

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not (shutil.which("dockerd") and shutil.which("docker")), reason="docker.io is not installed"),
]

OUTSIDE_PORT = 7070


class Side:
    """The host with both daemons on it, and what can be asked of them."""

    def __init__(self, world: World, backend: str) -> None:
        self.world = world
        self.docker = Docker(world)
        flags = ("--firewall-backend", backend)
        self.netpy = Daemon(world, name=f"beside-{backend[:3]}", flags=flags)

    def start_netpy(self) -> None:
        self.netpy.start()
        self.netpy.import_busybox()

    def populate_netpy(self) -> None:
        """Two containers on a network of their own and one on the default bridge; ports 8801 and 8802."""
        self.netpy("network", "create", "own")
        for name, network, port in (("n1", "own", "8801:80"), ("n0", "bridge", "8802:80")):
            published = ("--name", name, "--network", network, "-p", port)
            self.netpy("run", "-d", *published, "busybox", "sh", "-c", SERVE % name)
        self.netpy("run", "-d", "--name", "n2", "--network", "own", "busybox", "sh", "-c", SERVE % "n2")

    def populate_docker(self) -> None:
        self.docker.serve("d1", 8901)
        self.docker.serve("d2", 8902)
        if "theirs" not in self.docker("network", "ls"):
            self.docker("network", "create", "-o", "com.docker.network.bridge.name=strange0", "theirs")
        for name, network in (("shy", "bridge"), ("shyer", "theirs")):
            self.docker("run", "-d", "--name", name, "--network", network, "busybox", "sh", "-c", SERVE % name)

    def from_outside(self, port: int) -> str:
        return self.curl(self.world.outside, f"http://{HOST_ADDRESS}:{port}/")

    def from_host(self, port: int) -> str:
        return self.curl(self.world.host, f"http://{HOST_ADDRESS}:{port}/")

    def curl(self, where: str, url: str) -> str:
        return self.world.at(where, "curl", "-s", "--max-time", "2", url, check=False).stdout.strip()

    def netpy_asks(self, container: str, url: str) -> str:
        return self.netpy.run(
            "exec", container, "timeout", "3", "wget", "-q", "-O", "-", url, check=False
        ).stdout.strip()

    def docker_asks(self, container: str, url: str) -> str:
        return self.docker.run(
            "exec", container, "timeout", "3", "wget", "-q", "-O", "-", url, check=False
        ).stdout.strip()

    def check_is_silent(self) -> None:
        def silent() -> bool:
            done = self.netpy.run("network", "check", check=False)
            return done.returncode == 0 and not done.stdout

        eventually(silent, "check finds nothing", 10)

    def netpy_works(self) -> None:
        for port, name in ((8801, "n1"), (8802, "n0")):
            eventually(lambda p=port, n=name: self.from_outside(p) == n, f"{name} answers from outside", 10)
            assert self.from_host(port) == name
        assert self.netpy_asks("n1", "http://n2/") == "n2"
        for container in ("n1", "n0"):
            assert self.netpy_asks(container, f"http://{OUTSIDE_ADDRESS}:{OUTSIDE_PORT}/") == "outside", container

    def docker_works(self) -> None:
        for port, name in ((8901, "d1"), (8902, "d2")):
            eventually(lambda p=port, n=name: self.from_outside(p) == n, f"{name} answers from outside", 10)
            assert self.from_host(port) == name
        address = self.docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "d2")
        assert self.docker_asks("d1", f"http://{address}/") == "d2"
        assert self.docker_asks("d1", f"http://{OUTSIDE_ADDRESS}:{OUTSIDE_PORT}/") == "outside"

    def both_meet(self) -> None:
        """By published ports, which is how strangers on one host meet; not by container addresses."""
        assert self.docker_asks("d1", f"http://{HOST_ADDRESS}:8801/") == "n1"
        assert self.netpy_asks("n1", f"http://{HOST_ADDRESS}:8901/") == "d1"
        address = self.netpy("inspect", "-f", "{{.NetworkSettings.Networks.own.IPAddress}}", "n2")
        assert self.docker_asks("d1", f"http://{address}/") == ""
        for name, network in (("shy", "bridge"), ("shyer", "theirs")):
            hidden = self.docker("inspect", "-f", f"{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}", name)
            assert self.curl(self.world.host, f"http://{hidden}/") == name
            for container in ("n1", "n0"):
                assert self.netpy_asks(container, f"http://{hidden}/") == "", f"{container} reaches {name}"

    def nothing_is_shared(self) -> None:
        """Subnets, bridges and host ports: each keeps its own, and says so when asked for the other's."""
        for create in (self.docker, self.netpy):
            create("network", "create", "another")
        shown = self.world.at(self.world.host, "ip", "-o", "-4", "addr").stdout
        subnets = [line.split()[3] for line in shown.splitlines()]
        assert len({address.rsplit(".", 2)[0] for address in subnets}) == len(subnets) == 8, shown
        taken = self.netpy.fails("run", "--rm", "-p", "8901:80", "busybox", "true")
        assert "0.0.0.0:8901" in taken.stderr and "address already in use" in taken.stderr
        refused = self.docker.run("run", "--rm", "-p", "8801:80", "busybox", "true", check=False)
        assert refused.returncode == 125 and "0.0.0.0:8801" in refused.stderr and "already in use" in refused.stderr
        name = self.netpy.fails("network", "create", "-o", "com.docker.network.bridge.name=docker0", "other")
        assert "docker0" in name.stderr, name.stderr

    def nothing_is_left_of(self, network: str) -> None:
        """No rule, in whatever table, names the bridge of a network that was removed, or a port that was published."""
        dumps = [self.world.at(self.world.host, "nft", "list", "ruleset").stdout]
        dumps += [self.world.at(self.world.host, f"{p}-legacy-save").stdout for p in ("iptables", "ip6tables")]
        dumps += [self.world.at(self.world.host, "ip", "-o", "addr").stdout]
        for sign in (f"br-{network[:12]}", "8801", "8802"):
            assert [line for dump in dumps for line in dump.splitlines() if re.search(rf"\b{sign}\b", line)] == []


@pytest.fixture(params=["nftables", "iptables"])
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    world = new_world()
    server = world.start(
        world.outside, sys.executable, "-c",
        "import http.server as h\n"
        "class Server(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b'outside')\n"
        "    def log_message(self, *_): pass\n"
        f"h.ThreadingHTTPServer(('', {OUTSIDE_PORT}), Server).serve_forever()",
    )  # fmt: skip
    made = Side(world, request.param)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, world.root)
        cleanup.callback(world.close)
        cleanup.callback(server.communicate)
        cleanup.callback(server.kill)
        cleanup.callback(made.docker.close)
        cleanup.callback(made.netpy.close)
        eventually(lambda: made.curl(world.host, f"http://{OUTSIDE_ADDRESS}:{OUTSIDE_PORT}/") == "outside")
        yield made


def test_docker_first_then_netpy(side: Side) -> None:
    side.docker.start()
    side.populate_docker()
    side.start_netpy()
    side.populate_netpy()
    side.netpy_works()
    side.docker_works()
    side.both_meet()
    side.check_is_silent()
    side.nothing_is_shared()
    side.docker("rm", "-f", "d1", "d2", "shy", "shyer")
    side.docker.stop()
    side.netpy_works()
    side.check_is_silent()


def test_netpy_first_then_docker(side: Side) -> None:
    side.start_netpy()
    side.populate_netpy()
    side.netpy_works()
    side.docker.start()
    side.populate_docker()
    side.check_is_silent()
    side.netpy_works()
    side.docker_works()
    side.both_meet()
    side.nothing_is_shared()
    network = side.netpy("network", "inspect", "-f", "{{.Id}}", "own")
    side.netpy.clean()
    side.nothing_is_left_of(network)
    side.docker_works()
    side.netpy.stop()
    side.docker_works()
    side.netpy.start()
    side.check_is_silent()


def test_either_may_come_and_go_while_the_other_is_away(side: Side) -> None:
    side.start_netpy()
    side.populate_netpy()
    side.netpy.kill()
    side.docker.start()
    side.populate_docker()
    side.docker_works()
    side.netpy.start()
    side.netpy_works()
    side.check_is_silent()
    side.docker("rm", "-f", "d1", "d2", "shy", "shyer")
    side.docker.stop()
    side.world.at(side.world.host, "nft", "flush", "ruleset")
    side.check_is_silent()
    side.netpy_works()
    side.docker.start()
    side.populate_docker()
    side.check_is_silent()
    side.netpy_works()
    side.docker_works()
