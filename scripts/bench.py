"""Times the same command lines on netpy and on Docker, each on a private daemon in a network namespace of its own.

Rounds are interleaved, so that drift of the machine hits all alike. Prints medians in milliseconds and their ratio; a
peer that is not installed is left out. The figures hold for one machine and one run: compare ratios.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
STAGE = Path("/run/netpy-bench")


@dataclass
class Peer:
    """One engine: how to start its daemon, and how its client is called."""

    name: str
    client: list[str]
    address: str
    daemon: list[str]
    data: Path
    process: subprocess.Popen[bytes] | None = None
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def start(self) -> None:
        namespace = STAGE / f"{self.name}-net"
        namespace.touch()
        subprocess.run(["unshare", f"--net={namespace}", "ip", "link", "set", "lo", "up"], check=True)
        log = (STAGE / f"{self.name}.log").open("wb")
        self.process = subprocess.Popen(["nsenter", f"--net={namespace}", *self.daemon], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while self.call("version", check=False) != 0:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(f"{self.name} did not start; see {STAGE}/{self.name}.log")
            time.sleep(0.1)
        with subprocess.Popen([HERE / "busybox-image"], stdout=subprocess.PIPE) as image:
            self.call("import", "-", "busybox:latest", stdin=image.stdout)
        self.call("network", "create", "bench")
        self.call("run", "-d", "--name", "resident", "--network", "bench", "busybox", "sleep", "100000")

    def call(self, *arguments: str, check: bool = True, stdin: object = subprocess.DEVNULL) -> int:
        return subprocess.run(
            [*self.client, *arguments],
            env={**os.environ, "NETPY_HOST": self.address, "DOCKER_HOST": self.address},
            check=check,
            stdin=stdin,  # pyright: ignore[reportArgumentType]
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if check else subprocess.DEVNULL,
        ).returncode

    def time(self, row: str, *arguments: str) -> None:
        begun = time.perf_counter()
        self.call(*arguments)
        self.times[row].append((time.perf_counter() - begun) * 1000)

    def round(self) -> None:
        tag = secrets.token_hex(4)
        self.time("run --rm true", "run", "--rm", "--network", "bench", "busybox", "true")
        publish = ("--network", "bench", "--network-alias", "search", "-p", "8800:80")
        self.time("run -d, alias and port", "run", "-d", "--name", tag, *publish, "busybox", "sleep", "1000")
        self.time("exec true", "exec", tag, "true")
        self.time("network create", "network", "create", f"n{tag}")
        self.time("network connect", "network", "connect", f"n{tag}", tag)
        self.time("network disconnect", "network", "disconnect", f"n{tag}", tag)
        self.time("rm -f", "rm", "-f", tag)
        self.time("network rm", "network", "rm", f"n{tag}")
        self.time("network ls", "network", "ls")
        self.time("ps", "ps")
        self.time("inspect", "inspect", "resident")

    def stop(self) -> None:
        self.call("rm", "-f", "resident", check=False)
        self.call("network", "rm", "bench", check=False)
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
        end_helpers(str(STAGE / self.name))
        subprocess.run(["umount", str(STAGE / f"{self.name}-net")], check=False)
        shutil.rmtree(self.data, ignore_errors=True)


def end_helpers(root: str) -> None:
    """End what outlives its daemon on purpose: the name server."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"netpy.nameserver" in words and root.encode() in words:
            os.kill(int(entry.parent.name), signal.SIGTERM)


def peers() -> list[Peer]:
    netpy = str(Path(sys.executable).with_name("netpy"))
    found: list[Peer] = []
    for name, client, daemon in (("netpy", netpy, [netpy, "daemon"]), ("docker", "docker", ["dockerd"])):
        if shutil.which(daemon[0]) is None:
            print(f"{name} is not installed: left out", file=sys.stderr)
            continue
        root, data = STAGE / name, Path(f"/var/tmp/netpy-bench-{name}")
        address = f"unix://{root}.sock"
        flags = ["--data-root", str(data), "--exec-root", str(root), "-H", address, "--pidfile", f"{root}.pid"]
        found.append(Peer(name, [client], address, [*daemon, *flags], data))
    return found


def report(measured: list[Peer]) -> None:
    ours = measured[0]
    print(f"{'':<26}" + "".join(f"{peer.name + ' ms':>12}" for peer in measured) + f"{'ratio':>9}")
    for row, samples in ours.times.items():
        medians = [statistics.median(peer.times[row]) for peer in measured]
        ratio = f"{medians[0] / medians[1]:9.2f}" if len(medians) > 1 else ""
        print(f"{row:<26}" + "".join(f"{median:12.1f}" for median in medians) + ratio + f"   n={len(samples)}")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    STAGE.mkdir()
    measured = peers()
    try:
        for peer in measured:
            peer.start()
        for _ in range(rounds):
            for peer in measured:
                peer.round()
        report(measured)
    finally:
        for peer in measured:
            peer.stop()
        shutil.rmtree(STAGE, ignore_errors=True)


if __name__ == "__main__":
    main()
