"""Volumes: directories that outlive containers. Driver `local` alone: `<root>/<name>/_data`.

A volume that is empty when it is first mounted gets what the image has at that place, owners and modes included.
Does I/O: directories, records in the database.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from engine.model import Json
from netpy.errors import Conflict, InvalidArgument, KernelError, NotFound
from netpy.store import Store

KIND = "volume"
_VALID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
ANONYMOUS = "com.docker.volume.anonymous"
UsedBy = Callable[[str], list[str]]


class Volumes:
    """All volumes. `now` gives RFC 3339 text, `used_by` the ids of containers that mount a volume."""

    def __init__(self, root: Path, store: Store, now: Callable[[], str], used_by: UsedBy) -> None:
        self._root = root
        self._store = store
        self._now = now
        self._used_by = used_by
        self._lock = threading.Lock()

    def create(
        self,
        name: str,
        *,
        driver: str = "",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Json:
        """Docker's document of the volume, which is made unless it exists. Equivalent: `docker volume create`."""
        if driver not in ("", "local"):
            raise NotFound(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
        if options:
            raise InvalidArgument(
                f"create {name}: invalid option: {next(iter(options))!r}: driver local takes none here"
            )
        if not _VALID.fullmatch(name):
            raise InvalidArgument(
                f'create {name}: "{name}" includes invalid characters for a local volume name, only '
                '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
            )
        with self._lock:
            known = self._store.get(KIND, name)
            if known is None:
                known = self._record(name, labels or {})
                self._store.put(KIND, name, known)
            self.path(name).mkdir(parents=True, exist_ok=True, mode=0o755)
        return known

    def path(self, name: str) -> Path:
        """Where the volume's files are."""
        return self._root / name / "_data"

    def get(self, name: str) -> Json:
        """Docker's document. NotFound("get x: no such volume")."""
        found = self._store.get(KIND, name)
        if found is None:
            raise NotFound(f"get {name}: no such volume")
        return found

    def all(self) -> list[Json]:
        """Every volume's document."""
        return [body for _, body in self._store.all(KIND)]

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume and its files. Conflict while a container, running or not, mounts it."""
        users = self._used_by(name)
        if users:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        with self._lock:
            if self._store.get(KIND, name) is None:
                if force:
                    return
                raise NotFound(f"get {name}: no such volume")
            if self.path(name).parent.exists():
                shutil.rmtree(self.path(name).parent)
            self._store.delete(KIND, name)

    def prune(self, *, everything: bool = False) -> list[str]:
        """Remove what no container mounts: anonymous volumes, or all. Returns the names."""
        removed: list[str] = []
        for document in self.all():
            anonymous = ANONYMOUS in (document.get("Labels") or {})
            if (everything or anonymous) and not self._used_by(document["Name"]):
                self.remove(document["Name"], force=True)
                removed.append(document["Name"])
        return removed

    def populate(self, name: str, source: Path) -> None:
        """Copy the image's files into a volume that is still empty. Equivalent: `cp -a SOURCE/. VOLUME`."""
        target = self.path(name)
        with self._lock:
            if any(target.iterdir()) or not source.is_dir():
                return
            done = subprocess.run(
                ["cp", "-a", "--", f"{source}/.", str(target)], capture_output=True, text=True, check=False
            )
        if done.returncode != 0:
            raise KernelError(f"failed to copy image content into volume {name}: {done.stderr.strip()}")

    def _record(self, name: str, labels: Mapping[str, str]) -> Json:
        return {
            "CreatedAt": self._now(),
            "Driver": "local",
            "Labels": dict(labels) or None,
            "Mountpoint": str(self.path(name)),
            "Name": name,
            "Options": None,
            "Scope": "local",
        }


def inside(root: Path, path: str) -> Path:
    """Where `path` of a container leads in its root file system, symbolic links included, never outside of it."""
    pending = [part for part in path.split("/") if part]
    resolved: list[str] = []
    links = 0
    while pending:
        part = pending.pop(0)
        if part == "..":
            resolved = resolved[:-1]
            continue
        if part == ".":
            continue
        here = root.joinpath(*resolved, part)
        if not here.is_symlink():
            resolved.append(part)
            continue
        links += 1
        if links > 255:
            raise InvalidArgument(f"too many levels of symbolic links: {path}")
        target = str(here.readlink())
        resolved = [] if target.startswith("/") else resolved
        pending = [*(step for step in target.split("/") if step), *pending]
    return root.joinpath(*resolved)
