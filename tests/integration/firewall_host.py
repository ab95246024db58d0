"""A namespace that plays the host, and a few networks to have in it: for the tests of the firewall's state."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from netpy.diff import State, diff
from netpy.kernel import netns
from netpy.kernel.netfilter import Backend
from netpy.kernel.nft.backend import Nftables
from netpy.kernel.xt.backend import Xtables
from netpy.objects import Isolate, Masquerade, Publish

BACKENDS: dict[str, Callable[[str], Backend]] = {"nftables": Nftables, "iptables": Xtables}


class Host:
    """A namespace that plays the host."""

    def __init__(self, path: str) -> None:
        self.path = path

    def make(self, kind: str, instance: str = "netpy") -> Backend:
        return netns.run_in(self.path, lambda: BACKENDS[kind](instance))

    def run(self, *command: str, text: str | None = None) -> str:
        full = ["nsenter", f"--net={self.path}", *command]
        done = subprocess.run(full, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def rules(self, mark: str = "netpy") -> list[str]:
        """Every line of every rule set that shows `mark`, in either case."""
        dumps = [self.run("nft", "list", "ruleset")]
        for family, program in (("ip", "iptables"), ("ip6", "ip6tables")):
            if netns.run_in(self.path, Path(f"/proc/thread-self/net/{family}_tables_names").read_text):
                dumps.append(self.run(f"{program}-legacy-save"))
        return [line for dump in dumps for line in dump.splitlines() if mark in line.lower()]


def network(name: str, number: int, **options: object) -> list[object]:
    found: list[object] = []
    for subnet in (f"10.{number}.0.0/24", f"fd00:{number}::/64"):
        found.append(Isolate(bridge=name, subnet=subnet, **options))  # pyright: ignore
        found.append(Masquerade(bridge=name, subnet=subnet))
    return found


def port(host_port: int, number: int = 9, **changes: object) -> Publish:
    fields: dict[str, object] = {"protocol": "tcp", "host_ip": "0.0.0.0", "address": f"10.{number}.0.2", "port": 80}
    return Publish(bridge="br-a", host_port=host_port, **(fields | changes))  # pyright: ignore


INTENTS = [*network("br-a", 9), *network("br-i", 8, internal=True), *network("br-r", 7, guard="routed"), port(80)]


def bring_about(backend: Backend, intents: list[object]) -> State:
    wanted = backend.lower(intents)
    backend.apply(list(diff(backend.observe(wanted), wanted)))
    return wanted
