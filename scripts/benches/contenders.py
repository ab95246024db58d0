"""The engines that are measured: how each is started, called, restarted and taken away again.

A contender is any command that takes Docker's command lines. netpy and Docker have a daemon with roots of its own;
Podman has none, its state lies in directories of its own. Each lives in a `Place`; what is not installed is left out.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from scripts.benches.place import Place, finish

SCRIPTS = Path(__file__).resolve().parent.parent
NETPY = str(Path(sys.executable).with_name("netpy"))
PATIENCE = 120.0  # seconds for a daemon to answer
RUNTIMES = ("crun", "runc")  # the fastest first
Stream = int | IO[bytes] | None


@dataclass
class Contender:
    """One engine. `client` is the command with its fixed flags; `daemon` is empty where there is none."""

    name: str
    place: Place
    client: list[str]
    daemon: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ("rm", "-f")
    process: subprocess.Popen[bytes] | None = None
    version: str = ""
    runtime: str = ""

    def start(self) -> None:
        """Start the daemon, if there is one, and wait until its API answers."""
        if not self.daemon:
            return
        with (self.place.root / "log").open("ab") as log:
            self.process = self.place.host.spawn(self.daemon, self._variables(), stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} did not start: {self.last_words()}")
            time.sleep(0.005)

    def answers(self) -> bool:
        """Whether the API answers a request: GET /_ping at its socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(f"{self.place.root}/api.sock")
                connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: bench\r\n\r\n")
                return b" 200 " in connection.recv(64)
            except OSError:
                return False

    def stop(self) -> None:
        """End the daemon by SIGTERM; containers go on."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def spawn(self, *arguments: str, **files: Stream) -> subprocess.Popen[bytes]:
        """Start a command line of this engine; streams that are not given are null."""
        return self.place.host.spawn([*self.client, *arguments], self._variables(), **files)

    def call(self, *arguments: str, timeout: float = 120, stdin: Stream = subprocess.DEVNULL) -> str:
        """What a command line of this engine prints; RuntimeError with its last words when it fails."""
        process = self.spawn(*arguments, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return finish(process, [self.name, *arguments], timeout).strip()

    def time(self, *arguments: str, timeout: float = 120) -> float:
        """Milliseconds of a command line, from the start of its process to its end."""
        begun = time.perf_counter()
        self.call(*arguments, timeout=timeout)
        return (time.perf_counter() - begun) * 1000

    def populate(self, count: int, *flags: str, port: int = 0) -> None:
        """Start `count` containers that sleep, ten at a time; each with a port, from `port` on, if that is given."""
        for first in range(0, count, 10):
            started: list[tuple[list[str], subprocess.Popen[bytes]]] = []
            for number in range(first, min(first + 10, count)):
                publish = ["-p", f"{port + number}:80"] if port else []
                words = ["run", "-d", *flags, *publish, "busybox", "sleep", "100000"]
                started.append((words, self.spawn(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)))
            for words, process in started:
                finish(process, [self.name, *words], PATIENCE)

    def inspect(self, container: str) -> Any:
        return json.loads(self.call("container", "inspect", container))[0]

    def pid(self, container: str) -> int:
        """The container's first process, as the machine numbers it."""
        return int(self.inspect(container)["State"]["Pid"])

    def inside(self, container: str) -> list[str]:
        """A prefix that runs a program of the machine in the container's network: [*inside(c), "dnsperf", …]."""
        return ["nsenter", f"--net=/proc/{self.pid(container)}/ns/net"]

    def address(self, container: str, network: str) -> str:
        return self.inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"]

    def nameserver(self, container: str) -> str:
        """The first name server in the container's resolv.conf."""
        said = self.call("exec", container, "cat", "/etc/resolv.conf").splitlines()
        return next(line.split()[1] for line in said if line.startswith("nameserver"))

    def last_words(self) -> str:
        log = self.place.root / "log"
        return " | ".join(log.read_text(errors="replace").splitlines()[-3:]) if log.exists() else ""

    def import_image(self) -> None:
        """An image `busybox` of the machine's static busybox."""
        with subprocess.Popen([SCRIPTS / "busybox-image"], stdout=subprocess.PIPE) as image:
            self.call("import", "-", "busybox:latest", stdin=image.stdout)

    def clear(self) -> None:
        """Remove every container and every network of the run's own."""
        deadline = time.monotonic() + 10 * PATIENCE
        while ids := self.call("ps", "-aq").split():
            try:
                self.call(*self.remove, *ids, timeout=5 * PATIENCE)
            except RuntimeError:  # a start that was given up may be under way still
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
        names = self.call("network", "ls", "--format", "{{.Name}}").split()
        for name in names:
            if name not in ("bridge", "host", "none", "podman"):
                self.call("network", "rm", name)

    def _variables(self) -> dict[str, str]:
        # Compiled files are kept, whatever the caller's environment says: the command starts anew so often.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {**kept, **self.environment}


def netpy(place: Place) -> Contender:
    address = f"unix://{place.root}/api.sock"
    flags = ["--data-root", f"{place.root}/data", "--exec-root", f"{place.root}/run", "-H", address]
    daemon = [NETPY, "daemon", *flags, "--pidfile", f"{place.root}/pid"]
    return Contender("netpy", place, [NETPY], daemon, {"NETPY_HOST": address})


def docker(place: Place) -> Contender:
    address = f"unix://{place.root}/api.sock"
    flags = ["--data-root", f"{place.root}/data", "--exec-root", f"{place.root}/run", "-H", address]
    # Live restore is what netpy always does: containers outlive the daemon.
    daemon = ["dockerd", *flags, "--pidfile", f"{place.root}/pid", "--live-restore"]
    return Contender("docker", place, ["docker"], daemon, {"DOCKER_HOST": address})


def podman(place: Place) -> Contender:
    configuration = place.root / "containers.conf"
    # It asks for limits above those of a machine without CAP_SYS_RESOURCE unless told others.
    limits = 'default_ulimits = ["nofile=10000:10000", "nproc=10000:10000"]'
    configuration.write_text(f'[containers]\n{limits}\nlog_driver = "k8s-file"\n[engine]\nevents_logger = "file"\n')
    roots = {"--root": "data", "--runroot": "run", "--tmpdir": "tmp", "--network-config-dir": "networks"}
    flags = [word for flag, name in roots.items() for word in (flag, str(place.root / name))]
    client = ["podman", *flags, "--cgroup-manager", "cgroupfs", "--runtime", ""]
    # Without a time its `rm -f` waits ten seconds for programs that ignore SIGTERM; Docker's kills at once.
    remove = ("rm", "-f", "-t", "0")
    return Contender("podman", place, client, [], {"CONTAINERS_CONF": str(configuration)}, remove)


KINDS = {"netpy": (netpy, NETPY), "docker": (docker, "dockerd"), "podman": (podman, "podman")}
DESCRIBED = {  # what each is asked for its version and its runtime
    "netpy": (("version", "{{.Server.Version}}"), ("info", "{{.DefaultRuntime}}")),
    "docker": (("version", "{{.Server.Version}}"), ("info", "{{.DefaultRuntime}}")),
    "podman": (("version", "{{.Client.Version}}"), ("info", "{{.Host.OCIRuntime.Name}}")),
}


def installed() -> list[str]:
    """The contenders that this machine has; says which are left out."""
    found = [name for name, (_make, program) in KINDS.items() if shutil.which(program)]
    for name in KINDS:
        if name not in found:
            print(f"{name} is not installed: left out", file=sys.stderr)
    return found


def prepare(contender: Contender) -> None:
    """Start it, give it an image, let it run a container, and note what it says it is.

    netpy looks for the fastest runtime that works itself, Docker has the one it comes with; Podman is told.
    """
    candidates = [name for name in RUNTIMES if shutil.which(name)] if contender.name == "podman" else [""]
    for runtime in candidates:
        if runtime:
            contender.client[-1] = runtime
        try:
            if not contender.runtime:
                contender.start()
                contender.import_image()
            contender.runtime = runtime or "its own"
            contender.call("run", "--rm", "busybox", "true")
            break
        except RuntimeError:
            if runtime == candidates[-1]:
                raise
    version, running = (contender.call(noun, "--format", text) for noun, text in DESCRIBED[contender.name])
    contender.version, contender.runtime = version, running
