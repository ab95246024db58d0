"""What the tests of the runtime share: a rootfs of static busybox, and containers on each OCI runtime under conmon.

crun refuses a host whose v2 control group tree stands beside v1 hierarchies and still has controllers; there it runs
behind a script that first, in a mount namespace of its own, mounts those controllers as v1, so that none is left.
Nothing outside sees that mount.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from engine.model import Json
from engine.oci import spec
from engine.runtime import cgroups, host, rootfs
from engine.runtime.conmon import Sink
from engine.runtime.probe import Choice, complaint
from engine.runtime.runtime import Process, Runtime
from engine.streams import STDOUT, Frame, Session

PATIENCE = 20.0

V1_ONLY = """\
#!/bin/sh
# The kernel gives a controller back some time after its last mount has gone: until then mounting it fails.
exec unshare --mount --propagation private sh -c '
    controllers=$1; shift
    mount -t tmpfs none /mnt
    for name in $controllers; do
        mkdir /mnt/$name
        tries=0
        until mount -t cgroup -o $name none /mnt/$name 2>/dev/null; do
            tries=$((tries + 1)); [ $tries -gt 200 ] && exit 99; sleep 0.02
        done
    done
    exec crun "$@"' sh '%s' "$@"
"""


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an image's only layer."""
    layer = tmp_path_factory.mktemp("layer")
    (layer / "bin").mkdir()
    shutil.copy("/bin/busybox", layer / "bin" / "busybox")
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in applets:
        if name != "busybox":
            (layer / "bin" / name).symlink_to("busybox")
    (layer / "etc").mkdir()
    (layer / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nwww:x:33:34::/var/www:/bin/sh\n")
    (layer / "etc" / "group").write_text("root:x:0:\nwww:x:34:\nmedia:x:50:www\n")
    (layer / "tmp").mkdir(mode=0o1777)
    return layer


@pytest.fixture(scope="module", params=["runc", "crun"])
def choice(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Choice]:
    name: str = request.param
    binary, conmon = shutil.which(name), shutil.which("conmon")
    if binary is None or conmon is None:
        pytest.skip(f"{name} or conmon is not installed")
    hierarchy = cgroups.detect()
    if name == "crun" and hierarchy.version == "hybrid" and hierarchy.unified:
        script = tmp_path_factory.mktemp("bin") / "crun"
        script.write_text(V1_ONLY % " ".join(sorted(hierarchy.unified)))
        script.chmod(0o755)
        binary = str(script)
    if reason := complaint(binary, tmp_path_factory.mktemp("probe")):
        pytest.skip(f"{name} does not work on this host: {reason}")
    yield Choice(name=name, binary=binary, conmon=conmon)
    # The kernel gives the controllers back a little later; until then the next test would see another host than ours.
    deadline = time.monotonic() + PATIENCE
    while cgroups.detect().unified != hierarchy.unified and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert cgroups.detect().unified == hierarchy.unified


@dataclass
class Container:
    """One container under test."""

    id: str
    runtime: Runtime
    bundle: Path
    process: Process = field(default_factory=lambda: Process(pid=0, monitor_pid=0))
    session: Session | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    results: list[tuple[int, bool]] = field(default_factory=list[tuple[int, bool]])

    @property
    def log(self) -> Path:
        return self.bundle / "log"

    def on_exit(self, code: int, oom: bool) -> None:
        self.results.append((code, oom))
        self.ended.set()

    def wait(self) -> int:
        assert self.ended.wait(PATIENCE), "the container did not end"
        return self.results[0][0]

    def frames(self) -> list[Frame]:
        assert self.session is not None
        watchdog = threading.Timer(PATIENCE, self.session.close)
        watchdog.start()
        try:
            return list(iter(self.session.read, None))
        finally:
            watchdog.cancel()

    def output(self, stream: int = STDOUT) -> str:
        return b"".join(frame.data for frame in self.frames() if frame.stream == stream).decode()

    def until(self, text: bytes) -> bytes:
        """Output up to a mark."""
        assert self.session is not None
        seen = b""
        watchdog = threading.Timer(PATIENCE, self.session.close)
        watchdog.start()
        try:
            return self._until(text, seen)
        finally:
            watchdog.cancel()

    def _until(self, text: bytes, seen: bytes) -> bytes:
        assert self.session is not None
        while text not in seen:
            frame = self.session.read()
            assert frame is not None, seen
            seen += frame.data
        return seen

    def say(self, text: str) -> None:
        assert self.session is not None
        self.session.write(text.encode())


class Lab:
    """Makes containers on one runtime, and takes all of them away."""

    def __init__(self, choice: Choice, layer: Path, folder: Path) -> None:
        self.folder, self.layer = folder, layer
        self.hierarchy = cgroups.detect()
        self.facts = host.facts(self.hierarchy)
        self.choice = choice
        self.runtime = self.open()
        self.made: list[Container] = []

    def open(self) -> Runtime:
        """As a daemon does at its start."""
        chosen = self.choice
        return Runtime(exec_root=self.folder, conmon=chosen.conmon, binary=chosen.binary, name=chosen.name)

    def request(self, *args: str, **changes: Any) -> spec.SpecRequest:
        id = secrets.token_hex(32)
        plain = spec.SpecRequest(
            id=id,
            rootfs=str(self.runtime.bundle(id) / "rootfs"),
            args=args,
            config={},
            host_config={},
            cgroup=cgroups.container_path(id),
            facts=self.facts,
        )
        return replace(plain, **changes)

    def create(self, *args: str, config: Json | None = None, host: Json | None = None, **changes: Any) -> Container:
        wish = self.request(*args, config=config or {}, host_config=host or {}, **changes)
        bundle = self.runtime.bundle(wish.id)
        container = Container(id=wish.id, runtime=self.runtime, bundle=bundle)
        self.made.append(container)
        rootfs.mount([self.layer], bundle / "upper", bundle / "work", Path(wish.rootfs))
        config = spec.oci_spec(wish)
        tty, stdin = bool(wish.config.get("Tty")), bool(wish.config.get("OpenStdin"))
        container.process = self.runtime.create(wish.id, config, log=Sink(path=container.log), tty=tty, stdin=stdin)
        container.session = self.runtime.attach(wish.id, tty=tty, stdin=stdin)
        self.runtime.watch(wish.id, container.process.monitor_pid, container.on_exit)
        return container

    def start(self, *args: str, **wishes: Any) -> Container:
        container = self.create(*args, **wishes)
        self.runtime.start(container.id)
        return container

    def run(self, *args: str, **wishes: Any) -> tuple[int, str]:
        container = self.start(*args, **wishes)
        output = container.output()
        return container.wait(), output

    def sh(self, script: str, **wishes: Any) -> tuple[int, str]:
        return self.run("sh", "-c", f"{{ {script}; }} 2>&1", **wishes)

    def clear(self) -> None:
        for container in self.made:
            if container.session is not None:
                container.session.close()
            self.runtime.delete(container.id, force=True)
            if container.process.monitor_pid:
                gone(container.process.monitor_pid)
            rootfs.unmount(container.bundle / "rootfs")
        self.runtime.close()


def gone(pid: int) -> None:
    """Wait for a process to end."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            assert select.select([pidfd], [], [], PATIENCE)[0], f"process {pid} is still there"
        finally:
            os.close(pidfd)


@pytest.fixture
def lab(choice: Choice, busybox: Path, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(choice, busybox, tmp_path)
    yield made
    made.clear()
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    for container in made.made:
        left = [tree for tree in made.hierarchy.trees if (tree / f"netpy-{container.id}").exists()]
        assert left == [], "control groups are left"
    assert list((tmp_path / "runtime").iterdir()) == []
