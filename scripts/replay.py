"""Runs the same command lines on a real dockerd, on our socket, and by our own command line; compares what they say.

Commands and the reasons for known differences are in replay.toml. Every target is a fresh daemon in a world of its own
(two network namespaces), with its own registry; nothing outside is touched. What is compared, and how, is `likeness`.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fcntl import ioctl
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from likeness import differences
from tests.e2e.dockerd import Docker
from tests.e2e.world import NETPY, Daemon, World, busybox_rootfs, new_world

HERE = Path(__file__).parent
API = "1.41"  # what the real daemon of Debian speaks; both are asked in it
PATIENCE = 90
REGISTRY = """version: 0.1
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:5000"}}
log: {{level: error}}
"""
DOCKERFILE = """FROM busybox:latest
ARG V=1
ENV X=$V
COPY f.txt /f.txt
RUN echo built > /b && echo step
LABEL l=m
EXPOSE 80
CMD ["sh"]
"""


@dataclass
class Target:
    """One of the three: a command line, its daemon, its registry, a directory to work in."""

    name: str
    program: str
    world: World
    environment: dict[str, str]
    directory: Path
    roots: tuple[str, ...]

    def run(self, command: dict[str, Any]) -> str:
        """What a line prints, standard error after standard output, and its exit code if that is not 0."""
        line = f'docker() {{ command {self.program} "$@"; }}\n{command["run"]}'
        argv = ["nsenter", f"--net={self.world.host}", "bash", "-c", line]
        if command.get("tty"):
            said, code = _typed(argv, self.environment, self.directory, command["keys"])
        else:
            try:
                done = subprocess.run(
                    argv, env=self.environment, cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True,
                    timeout=PATIENCE, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return f"no end within {PATIENCE} s\n"
            said, code = (done.stdout + done.stderr).decode(errors="replace"), done.returncode
        said = said.replace(str(self.directory), "<here>")
        for root in self.roots:
            said = said.replace(root, "<root>")
        if self.name == "netpy":
            said = re.sub(r"\bnetpy\b", "docker", said)
        return said + (f"\n[exit {code}]\n" if code else "")


def _typed(argv: list[str], environment: dict[str, str], directory: Path, keys: list[list[str]]) -> tuple[str, int]:
    """Run it in a terminal and type when it says what is waited for."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        argv, env=environment, cwd=directory, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    said, seen, waiting = b"", 0, list(keys)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if waiting and (at := said.find(waiting[0][0].encode(), seen)) >= 0 and (said or not waiting[0][0]):
            seen = at + len(waiting[0][0])
            os.write(ours, waiting.pop(0)[1].encode())
        if not select.select([ours], [], [], 0.2)[0]:
            continue
        try:
            said += os.read(ours, 65536)
        except OSError:
            break
    else:
        process.kill()
    os.close(ours)
    return said.decode(errors="replace"), process.wait()


def _environment(root: Path, host: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"], "HOME": str(root), "LANG": "C.UTF-8", "TERM": "xterm", "TZ": "UTC",
        "DOCKER_HOST": host, "NETPY_HOST": host, "DOCKER_API_VERSION": API, "DOCKER_BUILDKIT": "0",
        "DOCKER_CONFIG": str(root / "config"), "DOCKER_CLI_HINTS": "false",
    }  # fmt: skip


def _prepared(root: Path) -> Path:
    """The directory that the lines are run in."""
    directory = root / "work"
    directory.mkdir()
    (directory / "Dockerfile").write_text(DOCKERFILE)
    (directory / "f.txt").write_text("a file\n")
    (directory / "root.tar").write_bytes(busybox_rootfs())
    os.utime(directory / "f.txt", (1_700_000_000, 1_700_000_000))
    return directory


@contextlib.contextmanager
def _registry(world: World, root: Path) -> Iterator[None]:
    configuration = root / "registry.yml"
    configuration.write_text(REGISTRY.format(root=root / "registry"))
    argv = ["nsenter", f"--net={world.host}", "docker-registry", "serve", str(configuration)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _target(name: str) -> Iterator[Target]:
    with contextlib.ExitStack() as ends:
        world = new_world()
        ends.callback(world.close)
        world.at(world.host, "ip", "link", "set", "lo", "up")
        root = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="netpy-replay-", dir="/var/tmp")))
        ends.enter_context(_registry(world, root))
        daemon: Docker | Daemon
        if name == "real":
            daemon = Docker(world)
            ends.callback(daemon.close)
            daemon.start()
            host, roots = daemon.environment["DOCKER_HOST"], (f"{daemon.root}/data", f"{daemon.root}/exec")
        else:
            daemon = Daemon(world, name=name)
            ends.callback(daemon.close)
            daemon.start()
            daemon.import_busybox()
            host, roots = daemon.environment["NETPY_HOST"], (str(daemon.data_root), str(daemon.exec_root))
        program = NETPY if name == "netpy" else "docker"
        environment = _environment(root, host)
        yield Target(name, program, world, environment, _prepared(root), (*roots, str(root)))


def _replayed(name: str, commands: list[dict[str, Any]]) -> list[str]:
    with _target(name) as target:
        return [target.run(command) for command in commands]


def _reason(command: str, line: str, target: str, known: list[dict[str, Any]]) -> dict[str, Any] | None:
    for entry in known:
        if target not in entry.get("targets", ["ours", "netpy"]):
            continue
        if any(fnmatch(command, name) for name in entry["commands"]) and re.search(entry.get("lines", ""), line):
            return entry
    return None


def compare(document: dict[str, Any], wanted: list[str]) -> int:
    """Run, compare, print; the number of differences that have no reason."""
    commands = [each for each in document["command"] if not wanted or each["name"] in wanted]
    known, used, unexplained = document.get("difference", []), set[int](), 0
    names = ["real", "ours", "netpy"]
    with ThreadPoolExecutor(3) as pool:
        answers = dict(zip(names, pool.map(lambda name: _replayed(name, commands), names), strict=True))
    same = 0
    for number, command in enumerate(commands):
        for name in names[1:]:
            found = differences(answers["real"][number], answers[name][number], command)
            same += not found
            reasons = [_reason(command["name"], line, name, known) for line in found]
            used |= {id(reason) for reason in reasons if reason}
            left = [line for line, reason in zip(found, reasons, strict=True) if reason is None]
            unexplained += len(left)
            if left:
                print(f"\n== {command['name']} ({name}): {command['run']}", *left, sep="\n")
    if not wanted:
        for entry in known:
            if id(entry) not in used:
                print(f"\nno longer seen: {entry['commands']}: {entry['what']}")
    total = 2 * len(commands)
    print(f"\n{total} answers compared, {same} alike, {unexplained} lines differ without a reason")
    return unexplained


def written(document: dict[str, Any]) -> str:
    """The text of docs/compat.md."""
    rows = [
        f"| {', '.join(f'`{name}`' for name in entry['commands'])} | {entry['what']} | {entry['why']} |"
        for entry in document.get("difference", [])
    ]
    head = (HERE / "replay.md").read_text()
    return head + "\n".join(["| command | what differs | why |", "|---|---|---|", *rows]) + "\n"


def main(arguments: list[str]) -> int:
    document = tomllib.loads((HERE / "replay.toml").read_text())
    if "--write" in arguments:
        (HERE.parent / "docs" / "compat.md").write_text(written(document))
    return int(compare(document, [each for each in arguments if each != "--write"]) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
