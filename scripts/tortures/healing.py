"""Self-healing: what somebody does to the host's links, addresses, settings and rules is undone by itself.

Each deed is done while connections run from outside to a published port, from a container to the outside and between
containers: they must go on. The time is taken from before the deed's command to the daemon's own word that it is
mended; it is reported, and only that it comes about is asserted. Then new connections are made in every direction and
the check must be silent. Last, real firewall managers come, reload and go, and one that never gives up has to be borne.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from scripts.tortures.healing_others import Bus, Ufw, firewalld, missing
from scripts.tortures.healing_scene import BRIDGE, Scene, scene
from scripts.tortures.tally import Options, Tally
from tests.e2e.dockerd import Docker
from tests.e2e.world import eventually

FIGHT = 25.0  # seconds for which somebody does not give up


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """A command that somebody runs on the host, or `inside` a container, and whether there is anything to mend then."""

    command: str
    inside: bool = False
    mends: bool = True
    brief: bool = False


LINKS = (
    Deed(command=f"ip link delete {BRIDGE}", brief=True),
    Deed(command=f"ip addr flush dev {BRIDGE}", brief=True),
    Deed(command=f"ip link set {BRIDGE} down"),
    Deed(command="ip link set VETH down"),
    Deed(command="ip link set VETH nomaster"),
    Deed(command="ip link delete VETH", brief=True),
    Deed(command="ip link set eth0 down", inside=True),
    Deed(command="ip addr flush dev eth0", inside=True, brief=True),
    Deed(command="ip route delete default", inside=True, brief=True),
    Deed(command="ip link delete eth0", inside=True),
)
SETTINGS = (
    Deed(command="sysctl -qw net.ipv4.ip_forward=0", brief=True),
    Deed(command=f"sysctl -qw net.ipv4.conf.{BRIDGE}.route_localnet=0", brief=True),
    Deed(command="sysctl -qw net.ipv4.conf.all.rp_filter=1", mends=False),
    Deed(command="sysctl -qw net.ipv4.conf.all.rp_filter=0", mends=False),
    Deed(command="conntrack -F", mends=False, brief=True),
)
RULES = {
    "nftables": (
        Deed(command="nft flush ruleset", brief=True),
        Deed(command="nft delete table inet INSTANCE"),
        Deed(command="nft flush chain inet INSTANCE postrouting"),
        Deed(command="nft flush map inet INSTANCE port4"),
        Deed(command="iptables-nft -P FORWARD DROP"),
        Deed(command="iptables-nft -F", brief=True),
        Deed(command="iptables-nft -t nat -F", mends=False),
        Deed(command="iptables-nft -P FORWARD ACCEPT", mends=False),
        Deed(command="iptables-legacy -P FORWARD DROP"),
        Deed(command="iptables-legacy -F"),
        Deed(command="iptables-legacy -P FORWARD ACCEPT", mends=False),
    ),
    "iptables": (
        Deed(command="iptables-legacy -F", brief=True),
        Deed(command="iptables-legacy -t nat -F", brief=True),
        Deed(command="iptables-legacy -t mangle -F"),
        Deed(command="iptables-legacy -t nat -D PREROUTING 1"),
        Deed(command="iptables-nft -P FORWARD DROP"),
        Deed(command="nft flush ruleset", mends=False),
    ),
}


def run(options: Options) -> Tally:
    """Every deed and every manager, on each backend."""
    tally = Tally(part="healing")
    times: list[float] = []
    backends = options.backends[:1] if options.brief else options.backends
    for backend in backends:
        with ExitStack() as cleanup:
            here = cleanup.enter_context(scene(backend))
            for deed in (*LINKS, *SETTINGS, *RULES[backend]):
                if deed.brief or not options.brief:
                    _commit(here, deed, tally, times)
            if not options.brief:
                _managers(here, cleanup, tally)
                _fight(here, tally)
    if times:
        tally.count("ms to mend (median)", round(statistics.median(times) * 1000))
        tally.count("ms to mend (slowest)", round(max(times) * 1000))
    return tally


def _commit(here: Scene, deed: Deed, tally: Tally, times: list[float]) -> None:
    """Do it, and see it undone."""
    here.find_pair()
    command = deed.command.replace("VETH", here.veth).replace("INSTANCE", here.instance)
    words = command.split()
    where = here.inside if deed.inside else ""
    _survive(here, f"{deed.command}{' inside' if deed.inside else ''}", tally, lambda: here.run(*words, where=where))
    if deed.mends:
        times.append(here.took)
        tally.notes.append(
            f"{here.backend}: {deed.command}{' inside' if deed.inside else ''}: mended after {here.took:.2f} s, "
            f"longest wait of a connection {here.longest():.2f} s"
        )


def _survive(here: Scene, what: str, tally: Tally, act: Callable[[], object]) -> None:
    """Act, wait until all is well again, and ask every connection whether it lives."""
    try:
        here.open_streams()
    except OSError as error:
        tally.blame(f"{here.backend}: before {what}: no new connection: {error}; {here.works()}; {here.drift()}")
        return
    begun = time.time()
    act()
    tally.count("faults injected")
    here.took = 0.0
    try:
        eventually(lambda: not here.drift() and not here.works(), what, 30)
    except AssertionError:
        tally.blame(f"{here.backend}: {what}: not mended: {here.drift() or here.works()}")
        here.daemon.run("network", "check", "--repair", check=False)
    here.took = max((at - begun for at, _ in here.mended() if at >= begun), default=0.0)
    for stream in here.streams:
        if stream.lives():
            tally.count("connections carried across")
        else:
            tally.blame(f"{here.backend}: {what}: the connection from {stream.name} broke: {stream.broken}")


def _managers(here: Scene, cleanup: ExitStack, tally: Tally) -> None:
    """firewalld, ufw and Docker come, begin anew and go."""
    for name in ("firewalld", "ufw", "docker"):
        if missing(name):
            tally.notes.append(f"{name} is not installed: left out")
    if not missing("firewalld"):
        _firewalld(here, cleanup, tally)
    if not missing("ufw"):
        for legacy in (False, True):
            _ufw(here, tally, legacy=legacy)
    if not missing("docker"):
        docker = Docker(here.world)
        cleanup.callback(docker.close)
        for what, act in (("start", docker.start), ("stop", docker.stop), ("start again", docker.start)):
            _survive(here, f"docker: {what}", tally, act)
        docker.stop()


def _firewalld(here: Scene, cleanup: ExitStack, tally: Tally) -> None:
    bus = Bus(here.world)
    cleanup.callback(bus.close)
    before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = bus.address
    try:
        here.daemon.stop()
        here.daemon.start()
    finally:
        os.environ.pop("DBUS_SYSTEM_BUS_ADDRESS")
        if before is not None:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before
    with firewalld(here.world, bus) as manager:
        for what, act in (
            ("start", manager.start),
            ("reload", manager.reload),
            ("complete reload", lambda: manager.command("--complete-reload")),
            ("restart", manager.restart),
        ):
            _survive(here, f"firewalld: {what}", tally, act)
        here.daemon.kill()
        here.daemon.start()
        _survive(here, "firewalld: stop", tally, manager.stop)


def _ufw(here: Scene, tally: Tally, *, legacy: bool) -> None:
    manager = Ufw(here.world, legacy=legacy)
    kind = "legacy" if legacy else "nft"
    for verb in ("enable", "reload", "disable"):
        _survive(here, f"ufw ({kind}): {verb}", tally, lambda v=verb: manager.command(v))
    manager.close()


def _fight(here: Scene, tally: Tally) -> None:
    """Somebody undoes what was mended, at once and for long: it is told, and mended ever more rarely."""
    command = ("nft", "flush", "ruleset") if here.backend == "nftables" else ("iptables-legacy", "-F")
    before = len(here.mended())
    until = time.monotonic() + FIGHT
    rounds = 0
    while time.monotonic() < until:
        here.run(*command)
        rounds += 1
        time.sleep(0.05)
    mended = len(here.mended()) - before
    tally.count("faults injected", rounds)
    tally.notes.append(f"{here.backend}: flushed {rounds} times in {FIGHT:.0f} s, mended {mended} times")
    said = (here.daemon.exec_root / "log").read_text(errors="replace")
    if "it keeps happening" not in said:
        tally.blame(f"{here.backend}: a fight that did not end was not told")
    try:
        eventually(lambda: not here.works(), "the fight is over", 30)
    except AssertionError:
        tally.blame(f"{here.backend}: after a fight: {here.works()}")
