"""A real dockerd of its own on a world's host: what our daemon has to live beside, and what its answers are held against.

It and its containerd live in that world alone, with roots of their own, and end with it. It asks for root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.e2e.world import World, busybox_rootfs, eventually

SERVE = "mkdir -p /w && echo %s > /w/index.html && exec httpd -f -p 80 -h /w"


class Docker:
    """A dockerd of its own on the world's host. `programs`: it writes its rules with iptables-nft or iptables-legacy."""

    def __init__(self, world: World, programs: str = "nft") -> None:
        self._world = world
        self.root = world.root / "docker"
        self.root.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{self.root}/sock", "DOCKER_CONFIG": str(self.root)}
        self._parent = f"netpy-e2e-{world.root.name}-docker"
        for name in ("iptables", "ip6tables"):
            (self.root / name).symlink_to(shutil.which(f"{name}-{programs}") or name)

    def start(self) -> None:
        roots = ["--data-root", f"{self.root}/data", "--exec-root", f"{self.root}/exec", "--storage-driver", "vfs"]
        ends = [
            "-H",
            f"unix://{self.root}/sock",
            "--pidfile",
            f"{self.root}/pid",
            "--cgroup-parent",
            f"/{self._parent}",
        ]
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net={self._world.host}", "dockerd", *roots, *ends],
                env={**os.environ, "PATH": f"{self.root}:{os.environ['PATH']}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(lambda: self.run("version", check=False).returncode == 0, "dockerd answers", 30)
        if "busybox" not in self("images"):
            done = subprocess.run(
                ["docker", "import", "-c", 'CMD ["sh"]', "-", "busybox:latest"], env=self.environment, input=busybox_rootfs(), check=False,
                capture_output=True, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr.decode()

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["docker", *arguments], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        if check:
            assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
        return done

    def __call__(self, *arguments: str) -> str:
        return self.run(*arguments).stdout.rstrip("\n")

    def serve(self, name: str, port: int) -> None:
        self("run", "-d", "--name", name, "-p", f"{port}:80", "busybox", "sh", "-c", SERVE % name)

    def stop(self) -> None:
        """SIGTERM, which ends its containers and its containerd as well."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        self.process = None

    def close(self) -> None:
        if self.process is not None:
            if ids := self("ps", "-aq").split():
                self("rm", "-f", "-v", *ids)
            self.stop()
        for directory in Path("/sys/fs/cgroup").glob(f"*/{self._parent}"):
            directory.rmdir()
        shutil.rmtree(self.root)
