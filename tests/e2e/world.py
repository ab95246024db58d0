"""A small internet for end-to-end tests: a host that runs the daemon, and a machine outside that is routed to it.

Both are network namespaces, so nothing of the real machine's network is touched. The daemon is a real process, entered
with nsenter (`ip netns exec` would give it another /sys), spoken to through the `netpy` command alone.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netpy.kernel import netns

NETPY = str(Path(sys.executable).with_name("netpy"))
BUSYBOX = shutil.which("busybox") or "/bin/busybox"
HOST_ADDRESS, OUTSIDE_ADDRESS = "198.51.100.1", "198.51.100.2"
HOST_ADDRESS6, OUTSIDE_ADDRESS6 = "2001:db8:51::1", "2001:db8:51::2"


def eventually(condition: Callable[[], Any], what: str = "", seconds: float = 60) -> Any:
    """The first true answer of `condition`; fails when there was none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"did not come about within {seconds} s: {what}"
        time.sleep(0.05)
    return answer


@dataclass
class World:
    """Two namespaces joined by a cable: 198.51.100.1 is the host, .2 is outside. Documentation addresses."""

    root: Path
    host: str = ""
    outside: str = ""

    def __post_init__(self) -> None:
        self.host, self.outside = str(self.root / "host"), str(self.root / "outside")
        for path in (self.host, self.outside):
            netns.create(path)
        # fmt: off
        self.at(self.host, "ip", "link", "add", "uplink", "type", "veth", "peer", "name", "uplink", "netns", self.outside)
        # fmt: on
        for path, four, six in (
            (self.host, HOST_ADDRESS, HOST_ADDRESS6),
            (self.outside, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6),
        ):
            self.at(path, "ip", "addr", "add", f"{four}/24", "dev", "uplink")
            self.at(path, "ip", "addr", "add", f"{six}/64", "dev", "uplink", "nodad")
            self.at(path, "ip", "link", "set", "uplink", "up")
        # A neighbour on the LAN that routes container addresses to the host, as an attacker would.
        self.at(self.outside, "ip", "route", "add", "172.16.0.0/12", "via", HOST_ADDRESS)
        self.at(self.outside, "ip", "route", "add", "10.0.0.0/8", "via", HOST_ADDRESS)
        self.at(self.host, "ip", "route", "add", "default", "via", OUTSIDE_ADDRESS)

    def at(self, where: str, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in one of the namespaces; `ip`, `curl` and the like."""
        return subprocess.run(
            ["nsenter", f"--net={where}", *command], check=check, capture_output=True, text=True, timeout=60, **options
        )

    def start(self, where: str, *command: str) -> subprocess.Popen[str]:
        """Start a command in one of the namespaces; its output is to be read."""
        return subprocess.Popen(["nsenter", f"--net={where}", *command], stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        for path in (self.host, self.outside):
            netns.delete(path)


@dataclass
class Daemon:
    """A `netpy daemon` on the world's host, with roots, socket and instance of its own."""

    world: World
    name: str = "a"
    flags: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    within: tuple[str, ...] = ()  # a command to start it by, such as unshare with flags
    program: str = NETPY

    def __post_init__(self) -> None:
        self.exec_root = self.world.root / self.name
        self.data_root = Path(f"/var/tmp/netpy-e2e-{self.world.root.name}-{self.name}")
        self.socket = self.exec_root / "api.sock"
        self.exec_root.mkdir(parents=True, exist_ok=True)
        self.environment = {**os.environ, "NETPY_HOST": f"unix://{self.socket}"}

    def start(self) -> None:
        """Start it and wait for the API to answer."""
        self.launch()
        eventually(lambda: self.run("version", check=False).returncode == 0 or self._died(), "the daemon answers", 60)

    def launch(self) -> None:
        """Start it."""
        log = open(self.exec_root / "log", "ab")  # noqa: SIM115 - the process goes on writing
        self.process = subprocess.Popen(
            [
                "nsenter", f"--net={self.world.host}", *self.within, self.program, "daemon",
                "--data-root", str(self.data_root), "--exec-root", str(self.exec_root),
                "-H", f"unix://{self.socket}", "--pidfile", str(self.exec_root / "pid"), *self.flags,
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        log.close()

    def kill(self) -> None:
        """As if the power of the process failed: SIGKILL, no clean-up."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM: containers keep running."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)

    def run(self, *arguments: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`netpy ARGUMENTS…` against this daemon."""
        done = subprocess.run(
            [self.program, *arguments], env=self.environment, input=stdin, capture_output=True, text=True, timeout=120
        )
        if check and done.returncode:
            said = f"{done.stdout}{done.stderr}{self.tail()}"
            raise AssertionError(f"netpy {' '.join(arguments)}: exit {done.returncode}\n{said}")
        return done

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        """The standard output of a `netpy` command that must succeed, without the last newline."""
        return self.run(*arguments, stdin=stdin).stdout.rstrip("\n")

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments))

    def fails(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A `netpy` command that must fail, and must say why on stderr."""
        done = self.run(*arguments, check=False)
        assert done.returncode != 0, f"netpy {' '.join(arguments)} succeeded: {done.stdout}"
        assert done.stderr.strip(), f"netpy {' '.join(arguments)} failed without a word"
        return done

    def import_busybox(self) -> None:
        """An image `busybox` made from the static busybox of this machine."""
        done = subprocess.run(
            [NETPY, "import", "-c", 'CMD ["sh"]', "-", "busybox:latest"], env=self.environment, input=busybox_rootfs(),
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode() + self.tail()

    def clean(self) -> None:
        """Remove every container and every network of the user's."""
        if ids := self("ps", "-aq").split():
            self("rm", "-f", "-v", *ids)
        if extra := [name for name in self("network", "ls", "-q", "--filter", "type=custom").split() if name]:
            self("network", "rm", *extra)

    def close(self) -> None:
        """Remove all there is, end the daemon and its name server, delete its files.

        Its default bridge and its rules stay until the world ends: the subnet is not for the daemons that come after.
        """
        if self.process:
            if self.process.poll() is not None:
                self.start()  # a test that failed half-way may have left it dead, and its containers running
            self.clean()
            self.stop()
        self.end_name_server()
        shutil.rmtree(self.data_root, ignore_errors=True)

    def end_name_server(self) -> None:
        """The name server outlives its daemon on purpose; here nobody comes back for it."""
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"netpy.nameserver" in words and str(self.exec_root).encode() in words:
                os.kill(int(entry.parent.name), signal.SIGTERM)

    def tail(self) -> str:
        log = self.exec_root / "log"
        return "\n--- daemon log\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:])

    def _died(self) -> bool:
        assert self.process and self.process.poll() is None, f"the daemon ended at once{self.tail()}"
        return False


def busybox_rootfs() -> bytes:
    """A root file system as a tar: busybox, its links, and the directories that programs expect."""
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "etc", "tmp", "root", "var", "var/www", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        tar.add(BUSYBOX, "bin/busybox")
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        for name, text in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"),
            ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def new_world() -> World:
    root = Path("/run/netpy-e2e") / secrets.token_hex(3)
    root.mkdir(parents=True)
    return World(root)
