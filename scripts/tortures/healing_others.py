"""Other programs that manage a firewall, started for real in the scene's host: firewalld, ufw, Docker.

firewalld gets a D-Bus of its own, which the daemon is told of by its environment; ufw a mount namespace with copies of
its files. Nothing of the machine's own is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress

from tests.e2e.world import World, eventually

_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/>
<allow send_destination="*" eavesdrop="false"/><allow receive_sender="*"/></policy></busconfig>
"""
MISSING = {"firewalld": "firewall-cmd", "ufw": "ufw", "docker": "dockerd"}


def missing(manager: str) -> bool:
    """Whether the machine lacks it."""
    return shutil.which(MISSING[manager]) is None


class Bus:
    """A system bus for one world; `address` is what goes into DBUS_SYSTEM_BUS_ADDRESS."""

    def __init__(self, world: World) -> None:
        path = world.root / "bus"
        self.address = f"unix:path={path}"
        configuration = world.root / "bus.conf"
        configuration.write_text(_BUS.format(path=path))
        self._process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={configuration}", "--nofork", "--nopidfile"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(path.exists, "the bus listens")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


class Firewalld:
    """Debian's firewalld, with a copy of its configuration."""

    def __init__(self, world: World, bus: Bus) -> None:
        self._world = world
        self._files = world.root / "firewalld"
        shutil.copytree("/etc/firewalld", self._files)
        self._environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._world.root / "firewalld.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "nsenter", f"--net={self._world.host}", "firewalld", "--nofork", "--nopid",
                    "--log-file", str(self._world.root / "firewalld.own"), "--system-config", str(self._files),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment,
            )  # fmt: skip
        eventually(lambda: self.command("--state", check=False) == "running", "firewalld runs", 60)

    def command(self, *arguments: str, check: bool = True) -> str:
        """`firewall-cmd …`"""
        done = self._world.at(self._world.host, "firewall-cmd", *arguments, check=False, env=self._environment)
        assert not check or done.returncode == 0, f"firewall-cmd {arguments}: {done.stderr}"
        return done.stdout.strip()

    def reload(self) -> None:
        self.command("--reload")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=60)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()


class Ufw:
    """Debian's ufw, in a mount namespace with copies of its files; `legacy` with iptables-legacy instead of -nft."""

    def __init__(self, world: World, *, legacy: bool) -> None:
        self._world = world
        self._root = world.root / "ufw"
        shutil.copytree("/etc/ufw", self._root / "etc")
        shutil.copytree("/etc/default", self._root / "default")
        (self._root / "run").mkdir()
        self._binds = {"etc": "/etc/ufw", "default": "/etc/default"}
        self._legacy = "mount --bind /usr/sbin/xtables-legacy-multi /usr/sbin/xtables-nft-multi && " if legacy else ""

    def command(self, *arguments: str) -> str:
        """`ufw …`"""
        binds = "".join(f"mount --bind {self._root}/{name} {path} && " for name, path in self._binds.items())
        script = f"{binds}{self._legacy}exec ufw --force {' '.join(arguments)}"
        done = self._world.at(
            self._world.host, "unshare", "-m", "--propagation", "private", "sh", "-c", script, check=False
        )
        assert done.returncode == 0, f"ufw {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        shutil.rmtree(self._root)


@contextmanager
def firewalld(world: World, bus: Bus) -> Generator[Firewalld]:
    made = Firewalld(world, bus)
    try:
        yield made
    finally:
        with suppress(AssertionError):
            made.stop()
