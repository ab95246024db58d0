"""Compose as people have it: services that wait for health, replicas behind one alias, static addresses, volumes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.world import NETPY, Daemon

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("docker-compose"), reason="docker-compose is not installed"),
]

BACKENDS = ("nftables",)  # what compose asks of the firewall is tried on both elsewhere

PROJECT = """
version: "2.4"
services:
  search:
    image: busybox:latest
    command: sh -c "mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www"
    networks:
      back: {aliases: [finder]}
    healthcheck:
      test: ["CMD", "wget", "-q", "-O", "-", "http://127.0.0.1/"]
      interval: 1s
      retries: 3
  web:
    image: busybox:latest
    command: sh -c "wget -q -O /data/seen http://finder/; mkdir -p /www; echo front > /www/index.html; exec httpd -f -p 80 -h /www"
    depends_on:
      search: {condition: service_healthy}
    ports: ["8800:80"]
    volumes: ["data:/data"]
    networks:
      back: {}
      front: {ipv4_address: 10.88.0.10, aliases: [www]}
networks:
  back: {}
  front:
    ipam:
      config: [{subnet: 10.88.0.0/24}]
volumes:
  data: {}
"""


@dataclass(frozen=True)
class Compose:
    """The compose command in a project directory, speaking to a daemon of ours.

    For `run` and `exec` compose 1.29 calls the command `docker`, which is ours here.
    """

    daemon: Daemon
    directory: Path

    def __post_init__(self) -> None:
        (self.directory / "docker").symlink_to(NETPY)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["docker-compose", *arguments],
            cwd=self.directory,
            env={
                **self.daemon.environment,
                "DOCKER_HOST": f"unix://{self.daemon.socket}",
                "PATH": f"{self.directory}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"docker-compose {arguments}: {done.stdout}{done.stderr}{self.daemon.tail()}"
        return done.stdout


@pytest.fixture
def compose(netpy: Daemon, tmp_path: Path) -> Iterator[Compose]:
    directory = tmp_path / "shop"
    directory.mkdir()
    (directory / "docker-compose.yml").write_text(PROJECT)
    made = Compose(netpy, directory)
    yield made
    made("down", "-v", "-t", "0")


def names(netpy: Daemon, *filters: str) -> set[str]:
    return set(netpy("ps", "-a", "--format", "{{.Names}}", *filters).split())


def test_replicas_behind_one_alias(compose: Compose, netpy: Daemon):
    compose("up", "-d", "--scale", "search=3")

    answers = compose(
        "exec", "-T", "web", "sh", "-c", "for i in 1 2 3 4 5 6; do wget -q -O - http://search/; done"
    ).split()
    assert len(answers) == 6
    assert len(set(answers)) == 3  # each replica in its turn
    host = netpy.world.at(netpy.world.host, "curl", "-sf", "http://127.0.0.1:8800/")
    assert host.stdout == "front\n"
    outside = netpy.world.at(netpy.world.outside, "curl", "-sf", "http://198.51.100.1:8800/")
    assert outside.stdout == "front\n"
    assert compose("exec", "-T", "web", "cat", "/data/seen").strip() in answers  # it was started after a healthy one
    assert "10.88.0.10" in compose("exec", "-T", "web", "ip", "-4", "addr", "show")
    assert "(healthy)" in netpy("ps", "--filter", "health=healthy")
    assert "8800" in compose("port", "web", "80")
    assert "web" in compose("ps")

    compose("up", "-d", "--scale", "search=1")
    assert len(names(netpy, "--filter", "label=com.docker.compose.service=search")) == 1

    volumes = netpy("volume", "ls", "-q").split()
    assert "shop_data" in volumes
    compose("down", "-v", "-t", "0")
    assert names(netpy) == set()
    assert "shop_data" not in netpy("volume", "ls", "-q").split()
    assert not [name for name in netpy("network", "ls", "--format", "{{.Name}}").split() if name.startswith("shop")]


def test_stop_start_restart_and_run(compose: Compose, netpy: Daemon):
    compose("up", "-d")
    compose("restart", "-t", "0", "web")
    compose("stop", "-t", "0")
    assert names(netpy, "--filter", "status=running") == set()
    compose("start")
    assert len(names(netpy, "--filter", "status=running")) == 2
    assert compose("run", "--rm", "search", "echo", "once").strip().endswith("once")
    compose("kill")
    compose("rm", "-f")
    assert names(netpy) == set()
