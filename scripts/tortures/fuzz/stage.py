"""A live daemon for hostile input, with a container that must not notice, and the comparison of before and after.

What is compared: the daemon's threads and descriptors, links and rules of its host, its mounts, what lies under its
roots, its images and layers, and the container. Everything is this daemon's own, so that nobody beside
it is in the way.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docker.transport import UnixHTTPAdapter
from requests import Response, Session

from scripts.tortures.tally import Tally
from tests.e2e.world import Daemon, new_world

PATIENCE = 20.0  # seconds; a request without an answer by then is a hang
BASE = "http+docker://localhost/v1.47"
RESIDENT = "resident"
_SETTLING = 15.0
_NOT_COUNTED = {"log", "dns.log", "netpy.db-wal", "netpy.db-shm"}


@dataclass
class Stage:
    """The daemon, a way to speak to it, and what was there before."""

    netpy: Daemon
    part: str
    tally: Tally
    before: dict[str, Any] = field(default_factory=dict[str, Any])
    resident: str = ""
    logged: int = 0

    def ask(self, method: str, path: str, **options: Any) -> Response:
        """An answer, read to its end, on a connection of its own. OSError when there is none in time."""
        with Session() as session:
            session.mount("http+docker://", UnixHTTPAdapter(f"http+unix://{self.netpy.socket}", timeout=PATIENCE))
            return session.request(method, BASE + path, timeout=PATIENCE, **options)

    def blame(self, what: str) -> None:
        self.tally.blame(f"{self.part}: {what}")

    def tracebacks(self) -> list[str]:
        """The last line of every traceback that came into the daemon's log since the last question."""
        with open(self.netpy.exec_root / "log", errors="replace") as log:
            log.seek(self.logged)
            text = log.read()
            self.logged = log.tell()
        if "Traceback (most recent call last)" not in text:
            return []
        return [_end_of(part) for part in text.split("Traceback (most recent call last)")[1:]]

    def judge(self, *, emptied: bool = True) -> None:
        """Blame whatever is not as it was. `emptied`: everything but the resident has been removed since."""
        assert self.netpy.process
        if self.netpy.process.poll() is not None:
            return self.blame(f"the daemon died{self.netpy.tail()}")
        for line in self.tracebacks():
            self.blame(f"traceback in the log: {line}")
        if checked := self.netpy.run("network", "check", check=False).stdout.strip():
            self.blame(f"network check: {checked}")
        left = {} if not emptied else self._differences()
        for kind, (was, now) in left.items():
            self.blame(f"{kind}: {was} before, {now} after")
        return None

    def _differences(self) -> dict[str, tuple[Any, Any]]:
        """What is not as before, once what goes away by itself has gone."""
        deadline = time.monotonic() + _SETTLING
        while True:
            now = self.snapshot()
            different = {
                kind: _told(self.before[kind], now[kind])
                for kind in now
                if now[kind] != self.before[kind] and not _fewer(kind, self.before[kind], now[kind])
            }
            if not different or time.monotonic() > deadline:
                return different
            time.sleep(0.1)

    def snapshot(self) -> dict[str, Any]:
        assert self.netpy.process
        process = Path(f"/proc/{self.netpy.process.pid}")
        roots = [self.netpy.data_root, self.netpy.exec_root]
        host = self.netpy.world
        seen = self.ask("GET", f"/containers/{RESIDENT}/json").json()
        return {
            "threads": len(list((process / "task").iterdir())),
            "descriptors": sorted(_descriptors(process / "fd")),
            "links": sorted(line.split(":")[1] for line in host.at(host.host, "ip", "-o", "link").stdout.splitlines()),
            "rules": _rules(self.netpy),
            "mounts": sorted(
                line.split()[1]
                for line in Path("/proc/mounts").read_text().splitlines()
                if any(str(root) in line for root in roots)
            ),
            "files": sorted(str(path) for root in roots for path in _files(root, 4)),
            "images": self.ask("GET", "/images/json?all=1").json(),
            "the resident": [seen.get("Id"), seen.get("State", {}).get("Pid"), seen.get("RestartCount")],
        }

    def empty(self) -> None:
        """Remove everything but the resident and its image."""
        for container in self.ask("GET", "/containers/json?all=1").json():
            if container["Id"] != self.resident:
                self.ask("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        self.ask("POST", "/networks/prune")
        self.ask("POST", "/volumes/prune", params={"filters": json.dumps({"all": ["true"]})})
        kept = {image["Id"]: image["RepoTags"] for image in self.before["images"]}
        for image in self.ask("GET", "/images/json?all=1").json():
            for name in [tag for tag in image["RepoTags"] or [] if tag not in kept.get(image["Id"], [])]:
                self.ask("DELETE", f"/images/{name}")
            if image["Id"] not in kept:
                self.ask("DELETE", f"/images/{image['Id']}?force=1")
        for image, names in kept.items():
            for name in names:
                repo, _, tag = name.rpartition(":")
                self.ask("POST", f"/images/{image}/tag", params={"repo": repo, "tag": tag})
        self.ask("POST", "/build/prune?all=1")


@contextlib.contextmanager
def stage(part: str, tally: Tally) -> Generator[Stage]:
    """A daemon with the image busybox and a resident; at the end all of it is removed."""
    world = new_world()
    netpy = Daemon(world, name=part, flags=("--firewall-backend", "nftables"))
    try:
        netpy.start()
        netpy.import_busybox()
        resident = netpy("run", "-d", "--name", RESIDENT, "-p", "8080:80", "busybox", "sleep", "100000")
        made = Stage(netpy, part, tally, resident=resident)
        netpy("volume", "create", "first")  # some directories come with the first of their kind, and stay
        netpy("volume", "rm", "first")
        made.before = made.snapshot()
        yield made
    finally:
        netpy.close()
        world.close()
        shutil.rmtree(world.root, ignore_errors=True)


def _files(root: Path, depth: int) -> Generator[Path]:
    """What lies below, without what is inside of layers and containers."""
    for entry in root.iterdir():
        if entry.name in _NOT_COUNTED:
            continue
        yield entry
        if depth > 1 and entry.name not in ("diff", "upper", "work", "rootfs") and entry.is_dir():
            yield from _files(entry, depth - 1)


def _descriptors(place: Path) -> Generator[str]:
    """What is open, without the numbers by which sockets and pipes are told apart."""
    for entry in place.iterdir():
        with contextlib.suppress(OSError):
            yield str(entry.readlink()).partition(":[")[0]


def _rules(netpy: Daemon) -> list[str]:
    """The host's rules without counters and handles, in the order of the alphabet."""
    said = netpy.world.at(netpy.world.host, "nft", "-s", "list", "ruleset", check=False).stdout
    return sorted(line.strip() for line in said.splitlines() if " limit rate over " not in line)  # entries come and go


def _told(was: Any, now: Any) -> tuple[Any, Any]:
    """Two values, of lists only what the other has not."""
    if isinstance(was, list) and isinstance(now, list):
        return _without(was, now)[:9], _without(now, was)[:9]
    return was, now


def _fewer(kind: str, was: Any, now: Any) -> bool:
    """Whether something of the process's own has merely gone: threads that were waiting for work, their connections."""
    match kind:
        case "threads":
            return now < was
        case "descriptors":
            return not _without(now, was)
        case _:
            return False


def _without(these: list[Any], those: list[Any]) -> list[Any]:
    left = list(those)
    return [each for each in these if each not in left or left.remove(each)]


def _end_of(traceback: str) -> str:
    """The frame that raised and what it raised."""
    frames, words = "", ""
    for line in traceback.splitlines()[1:]:
        if line.startswith("  File"):
            frames = line.strip()
        elif line and not line.startswith(" "):
            words = line
            break
    return f"{words} ({frames})"
