"""A daemon in a network namespace of its own, spoken to over its socket; everything below one short directory."""

from __future__ import annotations

import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.client import Client
from engine.streams import Decoder
from netpy.kernel import netns

REPOSITORY = Path(__file__).parents[2]
APPLETS = ("sh", "ls", "sleep", "cat", "echo", "id", "true", "httpd", "nslookup", "hostname", "ip", "wget")


def until(condition: Callable[[], object], patience: float = 60.0) -> Any:
    """Wait for something that another process does; what it then is."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.002)
    return found


class Machine:
    """`start` the daemon, `call` it, `kill` it, `close` the lot."""

    def __init__(self, namespace: str, *flags: str) -> None:
        self.namespace = namespace
        self.root = Path(tempfile.mkdtemp(prefix="netpy-", dir="/tmp"))
        self.flags = flags
        self.process: subprocess.Popen[bytes] | None = None
        self.client = Client(f"unix://{self.root}/run/netpy.sock")

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        self.process = self.spawn()
        until(self._answers)

    def spawn(self, *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "engine.daemon", "--data-root", f"{self.root}/data"]
        command += ["--exec-root", f"{self.root}/run", *self.flags, *more]
        with (self.root / "log").open("ab") as log:
            return subprocess.Popen(
                ["nsenter", f"--net={self.namespace}", *command], cwd=REPOSITORY, stdout=log, stderr=log
            )

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.root / "log").read_text()
        try:
            self.call("GET", "/_ping")
        except Exception:
            return False
        return True

    def end(self, number: int) -> None:
        """Send the daemon a signal and wait for its end."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(20)
        self.client.close()

    def kill(self) -> None:
        """`kill -9`: without a word."""
        self.end(signal.SIGKILL)

    def call(self, method: str, path: str, query: dict[str, object] | None = None, body: object = None) -> Any:
        """The document of the answer; ApiError for a refusal."""
        with self.client.request(method, path, query or {}, body) as response:
            data = response.read()
        return _parsed(data)

    def import_busybox(self) -> None:
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w") as archive:
            archive.add(shutil.which("busybox") or "/bin/busybox", "bin/busybox")
            for name in APPLETS:
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(link)
            for name, content in {
                "etc/passwd": b"root:x:0:0::/root:/bin/sh\napp:x:7:8::/app:/bin/sh\n",
                "data/seed": b"seed",
            }.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        query = {"fromSrc": "-", "repo": "busybox", "changes": ['CMD ["sh"]']}
        self.call("POST", "/images/create", query, target.getvalue())

    def create(self, name: str, *command: str, networks: Any = None, config: Any = None, **host: Any) -> str:
        body = {
            "Image": "busybox",
            "Cmd": list(command),
            "HostConfig": host,
            "NetworkingConfig": {"EndpointsConfig": networks or {}},
        } | (config or {})
        return self.call("POST", "/containers/create", {"name": name}, body)["Id"]

    def run(self, name: str, *command: str, **more: Any) -> str:
        identity = self.create(name, *command, **more)
        self.call("POST", f"/containers/{identity}/start")
        return identity

    def inspect(self, name: str) -> Any:
        return self.call("GET", f"/containers/{name}/json")

    def status(self, name: str) -> str:
        return self.inspect(name)["State"]["Status"]

    def wait(self, name: str, condition: str = "not-running") -> int:
        return self.call("POST", f"/containers/{name}/wait", {"condition": condition})["StatusCode"]

    def remove(self, name: str) -> None:
        self.call("DELETE", f"/containers/{name}", {"force": "1", "v": "1"})

    def exec(self, name: str, *command: str, **options: Any) -> tuple[int, str]:
        """Run a command in a container: its exit code, and what it said."""
        body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True} | options
        identity = self.call("POST", f"/containers/{name}/exec", body=body)["Id"]
        taken = self.client.hijack(f"/exec/{identity}/start", body={"Detach": False, "Tty": False})
        decoder, said = Decoder(), bytearray()
        with taken:
            while data := taken.recv(65536):
                for frame in decoder.feed(data):
                    said += frame.data
        until(lambda: not self.call("GET", f"/exec/{identity}/json")["Running"])
        return self.call("GET", f"/exec/{identity}/json")["ExitCode"], said.decode()

    def logs(self, name: str) -> str:
        query = {"stdout": "1", "stderr": "1"}
        with self.client.request("GET", f"/containers/{name}/logs", query) as response:
            return b"".join(f.data for f in Decoder().feed(response.read())).decode()

    def fetch(self, url: str) -> str:
        """What a client in the daemon's namespace gets from there; nothing when it gets no answer."""
        command = ["nsenter", f"--net={self.namespace}", "curl", "-sS", "--max-time", "5", url]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def leftovers(self) -> list[str]:
        """What is still there of containers: directories, namespaces, mounts, links, processes."""
        found = [str(p) for p in (self.root / "run" / "netns").glob("*")]
        found += [str(p) for p in (self.root / "run" / "containers").glob("*")]
        found += [str(p) for d in ("containers", "overlay") for p in (self.root / "data" / d).glob("*")]
        found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.root) in line]
        found += netns.run_in(self.namespace, lambda: [n for n in _links() if n.startswith("veth")])
        return found + [p for p in self.processes() if "conmon" in p]

    def processes(self) -> list[str]:
        """The command lines that name our root."""
        found: list[str] = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.root) in command:
                found.append(command)
        return found

    def close(self) -> None:
        """Remove containers and the daemon, wait for its name server, remove the directory."""
        if self.process is not None:
            if self.process.poll() is not None:
                self.start()
            for container in self.call("GET", "/containers/json", {"all": "1"}):
                self.remove(container["Id"])
            self.end(signal.SIGTERM)
            until(lambda: not self.processes())
        self.client.close()
        shutil.rmtree(self.root)


def _links() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data) if data.strip() else None
    except ValueError:
        return data.decode(errors="replace")
