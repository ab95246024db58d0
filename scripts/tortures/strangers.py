"""Strangers: containers of a real Docker on the same host, and what either side may reach of the other by address.

Docker keeps its own networks apart; so must it be between its containers and ours, in both directions, whatever
flavour of iptables it writes its rules with. Ports that are not published are tried, on a bridge that Docker named and
on one that bears a name of its own.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from tests.e2e.dockerd import SERVE, Docker
from tests.e2e.world import HOST_ADDRESS, eventually

from .arena import SECRET, Arena

SWEEP = {
    "nft": "for t in filter nat; do nft delete table ip $t; done 2>&1 || :",
    "legacy": "iptables-legacy -P FORWARD ACCEPT",
}
NETWORKS = {"shy": "bridge", "shyer": "theirs"}
PUBLISHED = 8890


def met(place: Arena) -> Iterator[tuple[str, str]]:
    """(name, what happened) of every try; nothing happened if it is empty. None without a dockerd to be had."""
    if not (shutil.which("dockerd") and shutil.which("docker")):
        return
    for programs in ("nft", "legacy"):
        docker = Docker(place.world, programs=programs)
        with contextlib.ExitStack() as cleanup:
            # What Docker leaves in one flavour's tables is in the way of the other's.
            cleanup.callback(place.on_host, "sh", "-c", SWEEP[programs])
            cleanup.callback(docker.close)
            docker.start()
            docker("network", "create", "-o", "com.docker.network.bridge.name=strange0", "theirs")
            cleanup.callback(docker, "network", "rm", "theirs")
            cleanup.callback(docker, "rm", "-f", *NETWORKS, "open")
            docker.serve("open", PUBLISHED)
            for name, network in NETWORKS.items():
                docker("run", "-d", "--name", name, "--network", network, "busybox", "sh", "-c", SERVE % name)
            eventually(lambda: not place.netpy.run("network", "check", check=False).stdout, "the rules stand")
            yield from ((f"{what} (Docker with iptables-{programs})", how) for what, how in _tried(place, docker))


def _tried(place: Arena, docker: Docker) -> Iterator[tuple[str, str]]:
    mallory, carol = place.party("mallory"), place.party("carol")
    for name, network in NETWORKS.items():
        address = docker("inspect", "-f", f"{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}", name)
        eventually(lambda a=address: place.host.tcp(a, 80), f"{name} answers its host")
        yield f"reach a Docker container on {network}", mallory.tcp(address, 80)
    ours = docker.run("exec", "shy", "timeout", "2", "wget", "-qO-", f"http://{carol.four}:{SECRET}/", check=False)
    yield "be reached by a Docker container", ours.stdout
    yield "be kept from what Docker publishes", "" if mallory.tcp(HOST_ADDRESS, PUBLISHED, 2) else "no answer"
