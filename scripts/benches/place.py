"""Where a contender lives: a network namespace that plays the host, one that plays the outside, a mount namespace.

The two networks are joined by a cable: 198.51.100.1 is the host, .2 is outside. The mount namespace is private,
so that nothing mounted in it is seen by the machine. Where the machine has cgroup hierarchies of both versions, the
second is missing in there, because crun refuses to work beside it; and the directory that they are mounted in is
another, because a mount namespace has mounts of its own but shares the file systems: in a directory that nothing is
mounted on, crun makes its groups as plain directories, and they would stay on the machine. Namespaces are held by
processes that end when we do: nothing is left behind whatever happens to us.

Commands are started by a thread that has entered the host's namespaces, so that a measured command line costs no
`nsenter`. Effects only: nothing here decides or measures.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

HOST, OUTSIDE = "198.51.100.1", "198.51.100.2"
CLONE_FS, CLONE_NEWNS, CLONE_NEWNET = 0x200, 0x20000, 0x40000000
T = TypeVar("T")

# /dev/shm, /run/netns and /run/containers are where Podman keeps locks, namespaces and names of the whole machine.
PREPARE = """
ip link set lo up
mount -t tmpfs shm /dev/shm
mkdir -p /run/netns && mount -t tmpfs netns /run/netns
mkdir -p /run/containers && mount -t tmpfs containers /run/containers
if [ -d /sys/fs/cgroup/memory ]; then
    mount -t tmpfs cgroup /mnt
    for tree in /sys/fs/cgroup/*; do
        name=${tree##*/}
        if [ -L "$tree" ]; then cp -P "$tree" /mnt
        elif [ "$name" != unified ] && mountpoint -q "$tree"; then
            mkdir "/mnt/$name" && mount --bind "$tree" "/mnt/$name"
        fi
    done
    umount --lazy --recursive /sys/fs/cgroup
    mount --move /mnt /sys/fs/cgroup
fi
"""


class Holder:
    """Network and mount namespaces, held by a process that ends with our end of its standard input."""

    def __init__(self, prepare: str) -> None:
        script = f"set -e; {prepare}\necho ready; exec cat >/dev/null"
        command = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, start_new_session=True, **pipes)
        assert self.process.stdout
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError("namespaces could not be made; root is needed")
        # One thread, which stays inside: what it starts is inside too, at no cost.
        self._thread = ThreadPoolExecutor(1, initializer=self._enter)
        self._thread.submit(os.getpid).result()

    @property
    def net(self) -> str:
        """The network namespace as a path, for `nsenter --net=`."""
        return f"/proc/{self.process.pid}/ns/net"

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_FS):
            raise OSError(ctypes.get_errno(), "unshare")
        for kind, flag in (("net", CLONE_NEWNET), ("mnt", CLONE_NEWNS)):
            with open(f"/proc/{self.process.pid}/ns/{kind}") as handle:
                if libc.setns(handle.fileno(), flag):
                    raise OSError(ctypes.get_errno(), f"setns {kind}")

    def do(self, work: Callable[[], T]) -> T:
        """Call something in the thread that is inside: sockets opened there are inside too. Must not wait for long."""
        return self._thread.submit(work).result()

    def spawn(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, **files: int | IO[bytes] | None
    ) -> subprocess.Popen[bytes]:
        """Start a command inside; streams that are not given are null. Ctrl-C at the terminal is not for it."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **files}
        variables = environment and dict(environment)
        return self.do(lambda: subprocess.Popen(command, env=variables, start_new_session=True, **streams))

    def run(self, *command: str, timeout: float = 60) -> str:
        """What a command inside prints; RuntimeError with its last words when it fails."""
        process = self.spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return finish(process, command, timeout)

    def close(self) -> None:
        self._thread.shutdown()
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def finish(process: subprocess.Popen[bytes], command: Sequence[str], timeout: float) -> str:
    """Wait for a process and return its output; it is killed when its time is over."""
    try:
        said, complaint = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RuntimeError(f"{' '.join(command[:6])}: not done within {timeout:.0f} s")
    if process.returncode:
        words = (complaint or said or b"").decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"{' '.join(command[:6])}: exit {process.returncode}: {' '.join(words[-3:])[:300]}")
    return (said or b"").decode(errors="replace")


@dataclass
class Place:
    """A host and an outside, joined by a cable, and a directory for what the contender keeps."""

    root: Path

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.host, self.outside = Holder(PREPARE), Holder("ip link set lo up")
        peer = str(self.outside.process.pid)
        self.host.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "uplink", "netns", peer)
        for side, address in ((self.host, HOST), (self.outside, OUTSIDE)):
            side.run("ip", "address", "add", f"{address}/24", "dev", "uplink")
            side.run("ip", "link", "set", "uplink", "up")
        self.host.run("ip", "route", "add", "default", "via", OUTSIDE)

    def close(self) -> None:
        for holder in (self.host, self.outside):
            holder.close()
