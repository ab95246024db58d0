"""One attachment with one published TCP port, made and taken away: netpy-cni, the reference CNI plugins, netavark.

For each, ADD and DEL (setup and teardown) of a second container of a network that is up, in a namespace that plays the
host, in turn, so that whatever else the machine does hits all alike. The wall clock from the start of the first process
to the end of the last is reported, and the processor time of all of them. The engines take no part.
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.benches.contenders import Contender
from scripts.benches.options import Options
from scripts.benches.rows import Row, against

REFERENCE = Path("/usr/lib/cni")
NETAVARK = Path("/usr/lib/podman/netavark")
PORTS = {"first": 18080, "second": 18081}
Json = dict[str, Any]


def output(command: list[str], text: str = "", **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CNI_"))}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env={**environment, **variables})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


@dataclass
class Stand:
    """A namespace that plays the host, two containers beside it, and a directory."""

    path: Path
    name: str = field(default_factory=lambda: f"netpy-bench-{secrets.token_hex(3)}")

    def __post_init__(self) -> None:
        for part in ("host", *PORTS):
            output(["ip", "netns", "add", f"{self.name}-{part}"])
            output(["nsenter", f"--net={self.netns(part)}", "ip", "link", "set", "lo", "up"])

    def close(self) -> None:
        for part in ("host", *PORTS):
            output(["ip", "netns", "del", f"{self.name}-{part}"])

    def netns(self, part: str) -> str:
        return f"/run/netns/{self.name}-{part}"

    def here(self, *command: str) -> list[str]:
        return ["nsenter", f"--net={self.netns('host')}", *command]

    def plugin(self, path: Path, verb: str, who: str, conf: Json) -> Json:
        variables = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": who,
            "CNI_NETNS": self.netns(who),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(path.parent),
            "NETPY_CNI_STATE": str(self.path / "state"),
        }
        said = output(self.here(str(path)), json.dumps(conf), **variables)
        return json.loads(said) if said.strip() else {}


def mapping(who: str) -> Json:
    return {"portMappings": [{"hostPort": PORTS[who], "containerPort": 80, "protocol": "tcp"}]}


class Netpy:
    """netpy-cni, as `netpy-cni install` puts it into a plugin directory."""

    name = "netpy"

    def __init__(self, place: Stand) -> None:
        self._place = place
        installed = output([str(Path(sys.executable).parent / "netpy-cni"), "install", str(place.path / "bin")])
        self._path = Path(installed.strip())

    def _conf(self, who: str) -> Json:
        return {
            "cniVersion": "1.0.0",
            "name": "ours",
            "type": "netpy-cni",
            "subnet": "10.81.0.0/24",
            "runtimeConfig": mapping(who),
        }

    def add(self, who: str) -> None:
        self._place.plugin(self._path, "ADD", who, self._conf(who))

    def delete(self, who: str) -> None:
        self._place.plugin(self._path, "DEL", who, self._conf(who))


class Reference:
    """bridge with host-local, then portmap."""

    name = "bridge+portmap"

    def __init__(self, place: Stand) -> None:
        self._place = place
        ipam = {
            "type": "host-local",
            "subnet": "10.82.0.0/24",
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(place.path / "ipam"),
        }
        common = {"cniVersion": "1.0.0", "name": "reference"}
        self._bridge = {**common, "type": "bridge", "bridge": "ref0", "isGateway": True, "ipMasq": True, "ipam": ipam}
        self._portmap = {**common, "type": "portmap"}
        self._results: dict[str, Json] = {}

    def _second(self, who: str) -> Json:
        return {**self._portmap, "runtimeConfig": mapping(who), "prevResult": self._results[who]}

    def add(self, who: str) -> None:
        self._results[who] = self._place.plugin(REFERENCE / "bridge", "ADD", who, self._bridge)
        self._results[who] = self._place.plugin(REFERENCE / "portmap", "ADD", who, self._second(who))

    def delete(self, who: str) -> None:
        self._place.plugin(REFERENCE / "portmap", "DEL", who, self._second(who))
        self._place.plugin(REFERENCE / "bridge", "DEL", who, {**self._bridge, "prevResult": self._results[who]})


class Netavark:
    """netavark setup and teardown; it is given the address that podman would have chosen."""

    name = "netavark"

    def __init__(self, place: Stand) -> None:
        self._place = place

    def _do(self, verb: str, who: str) -> None:
        number = list(PORTS).index(who) + 2
        network = {
            "name": "other",
            "id": "53ce4390f2adb1681eb1a90ec8b48c49c015e0a8d336c197637e7f65e365fa9e",
            "driver": "bridge",
            "network_interface": "nav0",
            "subnets": [{"subnet": "10.83.0.0/24", "gateway": "10.83.0.1"}],
            "ipv6_enabled": False,
            "internal": False,
            "dns_enabled": False,
        }
        port = {"container_port": 80, "host_port": PORTS[who], "host_ip": "", "protocol": "tcp", "range": 1}
        asked = {
            "container_id": f"{number:064x}",
            "container_name": who,
            "port_mappings": [port],
            "networks": {"other": {"static_ips": [f"10.83.0.{number}"], "interface_name": "eth0"}},
            "network_info": {"other": network},
        }
        config = str(self._place.path / "netavark")
        output(self._place.here(str(NETAVARK), "--config", config, verb, self._place.netns(who)), json.dumps(asked))

    def add(self, who: str) -> None:
        self._do("setup", who)

    def delete(self, who: str) -> None:
        self._do("teardown", who)


def timed(work: Callable[[str], None]) -> tuple[float, float]:
    """Milliseconds on the wall, and of processors in the processes started."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work("second")
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, spent * 1000


PEERS = {Netpy: True, Reference: (REFERENCE / "portmap").exists(), Netavark: NETAVARK.exists()}
ROWS = ("ADD", "ADD, processor", "DEL", "DEL, processor")


def run(_contenders: list[Contender], options: Options) -> list[Row]:
    """The wall clock and the processor's time of both verbs, in milliseconds, for what is installed."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        place = Stand(Path(directory))
        try:
            peers = [kind(place) for kind, there in PEERS.items() if there]
            return _measured(peers, options.rounds)
        finally:
            place.close()


def _measured(peers: list[Netpy | Reference | Netavark], rounds: int) -> list[Row]:
    samples: dict[str, dict[str, list[float]]] = {row: {peer.name: [] for peer in peers} for row in ROWS}
    for _ in range(rounds):
        for peer in peers:
            PORTS.update({who: 18080 + 10 * peers.index(peer) + n for n, who in enumerate(PORTS)})
            peer.add("first")
            for row, taken in zip(ROWS, (*timed(peer.add), *timed(peer.delete)), strict=True):
                samples[row][peer.name].append(taken)
            peer.delete("first")
    others = tuple(peer.name for peer in peers[1:])
    return [Row(row, (against(1.0, *others),) if others else (), values) for row, values in samples.items()]
