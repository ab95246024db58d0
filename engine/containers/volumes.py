"""Volumes: directories that outlive containers. Driver `local` alone: `<root>/<name>/_data`.

A volume that is empty when it is first mounted gets what the image has at that place, owners and modes included. One
with options is a file system of its own: mounted with its first user, unmounted with the last. Who uses it now is
known in memory; a daemon that takes over hears of it again from each container that runs.

Does I/O: directories, mounts, records in the database.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from engine.containers import volumeoptions
from engine.containers.documents import table
from engine.containers.volumeoptions import Mounting
from engine.model import Json
from engine.runtime import filesystems
from netpy.errors import Conflict, KernelError, NetpyError, NotFound
from netpy.faults import point
from netpy.store import Store

KIND = "volume"
ANONYMOUS = "com.docker.volume.anonymous"
_CONDEMNED = ".removed"
UsedBy = Callable[[str], list[str]]
Publish = Callable[[str, str, Mapping[str, str]], object]
"""Tells of an action on a volume: the action, the name, more attributes."""


def _tell_nobody(action: str, name: str, attributes: Mapping[str, str]) -> None:
    """For those to whom events mean nothing."""


class Volumes:
    """All volumes. `now` gives RFC 3339 text, `used_by` the ids of containers that mount a volume."""

    def __init__(
        self, root: Path, store: Store, now: Callable[[], str], used_by: UsedBy, publish: Publish = _tell_nobody
    ) -> None:
        self._root = root
        self._store = store
        self._now = now
        self._used_by = used_by
        self._publish = publish
        self._guard = threading.Lock()
        self._locks: dict[str, threading.RLock] = {}
        self._users: dict[str, set[str]] = {}

    def tell(self, action: str, name: str, attributes: Mapping[str, str] | None = None) -> None:
        """Publish an event of a volume."""
        self._publish(action, name, {**(attributes or {}), "driver": "local"})

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
        volumeoptions.check_name(name)
        with self._locked(name):
            known = self._store.get(KIND, name)
            if known is None:
                volumeoptions.check_options(name, options or {})
                known = self._record(name, labels, options)
                self._store.put(KIND, name, known)
                self.tell("create", name)
            point("before making a directory")
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

    def exists(self, name: str) -> bool:
        """Whether there is a volume of that name."""
        return self._store.get(KIND, name) is not None

    def all(self) -> list[Json]:
        """Every volume's document."""
        return [body for _, body in self._store.all(KIND)]

    def remove(self, name: str, *, force: bool = False, leaving: str = "") -> None:
        """Remove a volume and its files. Conflict while a container, running or not, mounts it; one may be `leaving`.

        The files go out of sight first, so that a crash leaves a whole volume or none (see `settle`).
        """
        with self._locked(name):
            users = [user for user in self._used_by(name) if user != leaving]
            if users:
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            if self._store.get(KIND, name) is None:
                if force:
                    return
                raise NotFound(f"get {name}: no such volume")
            filesystems.unmount(self.path(name))
            condemned = self._condemned(name)
            if self.path(name).parent.exists():
                point("before removing a volume")
                self.path(name).parent.rename(condemned)
            try:
                self._store.delete(KIND, name)
            except NetpyError:  # the disk is full: it is a volume still
                if condemned.exists():
                    condemned.rename(self.path(name).parent)
                raise
            point("before removing a volume's files")
            if condemned.exists():
                shutil.rmtree(condemned)
            self.tell("destroy", name)
        with self._guard:
            self._locks.pop(name, None)

    def settle(self) -> None:
        """After a crash: a volume that was being removed is whole again while it has a record, and else gone."""
        for condemned in self._root.glob(f".*{_CONDEMNED}"):
            name = condemned.name[1:].removesuffix(_CONDEMNED)
            if self._store.get(KIND, name) is None:
                shutil.rmtree(condemned, ignore_errors=True)
            else:
                condemned.rename(self._root / name)
        for document in self.all():
            self.path(document["Name"]).mkdir(parents=True, exist_ok=True, mode=0o755)

    def _condemned(self, name: str) -> Path:
        """Where its files are while it is removed: no volume's name begins with a dot."""
        return self._root / f".{name}{_CONDEMNED}"

    def prune(self, chosen: Callable[[Json], bool]) -> list[str]:
        """Remove those of the `chosen` that no container mounts. Returns the names."""
        removed: list[str] = []
        for document in self.all():
            if chosen(document) and not self._used_by(document["Name"]):
                try:
                    self.remove(document["Name"], force=True)
                except Conflict:
                    continue  # a container has been made with it meanwhile
                removed.append(document["Name"])
        return removed

    def mount(self, name: str, container: str) -> None:
        """The container uses it from now on. Idempotent. KernelError in Docker's words when it cannot be mounted."""
        wanted = volumeoptions.mounting(table(self.get(name), "Options"))
        with self._locked(name):
            if wanted and not filesystems.is_mounted(self.path(name)):
                _mount(wanted, self.path(name))
            self._users.setdefault(name, set()).add(container)

    def unmount(self, name: str, container: str) -> None:
        """The container uses it no longer. Idempotent."""
        if self._let_go(name, container):
            self.tell("unmount", name, {"container": container})

    @contextmanager
    def held(self, name: str) -> Generator[None]:
        """Mounted while somebody looks into it from outside, whoever else uses it meanwhile. No event tells of it."""
        reader = f"reader-{os.urandom(8).hex()}"
        self.mount(name, reader)
        try:
            yield
        finally:
            self._let_go(name, reader)

    def _let_go(self, name: str, user: str) -> bool:
        with self._locked(name):
            users = self._users.get(name, set())
            known = user in users
            users.discard(user)
            if not users:
                self._users.pop(name, None)
                document = self._store.get(KIND, name)
                if document and table(document, "Options").get("type"):
                    filesystems.unmount(self.path(name))
        return known

    def populate(self, name: str, source: Path) -> None:
        """Copy the image's files into a volume that is still empty. Equivalent: `cp -a SOURCE/. VOLUME`."""
        target = self.path(name)
        with self._locked(name):
            if not source.is_dir() or any(target.iterdir()):
                return
            if not any(source.iterdir()):
                _make_alike(source, target)
                return
            done = subprocess.run(
                ["cp", "-a", "--", f"{source}/.", str(target)], capture_output=True, text=True, check=False
            )
        if done.returncode != 0:
            raise KernelError(f"failed to copy image content into volume {name}: {done.stderr.strip()}")

    @contextmanager
    def _locked(self, name: str) -> Generator[None]:
        with self._guard:
            lock = self._locks.setdefault(name, threading.RLock())
        with lock:
            yield

    def _record(self, name: str, labels: Mapping[str, str] | None, options: Mapping[str, str] | None) -> Json:
        return {
            "CreatedAt": f"{self._now()[:19]}Z",
            "Driver": "local",
            "Labels": None if labels is None else dict(labels),
            "Mountpoint": str(self.path(name)),
            "Name": name,
            "Options": None if options is None else dict(options),
            "Scope": "local",
        }


def _make_alike(source: Path, target: Path) -> None:
    """Owner and mode of a directory without anything in it."""
    like = source.stat()
    os.chown(target, like.st_uid, like.st_gid)
    target.chmod(like.st_mode & 0o7777)


def _mount(wanted: Mounting, target: Path) -> None:
    wanted = _resolved(wanted)
    try:
        filesystems.mount(wanted.device, target, wanted.kind, wanted.flags & ~volumeoptions.PROPAGATION, wanted.data)
        if spread := wanted.flags & volumeoptions.PROPAGATION:
            filesystems.mount("", target, "", spread, "")
        if wanted.flags & volumeoptions.READ_ONLY_BIND == volumeoptions.READ_ONLY_BIND:
            filesystems.mount("", target, "", wanted.flags | volumeoptions.REMOUNT, "")
    except OSError as error:
        filesystems.unmount(target)
        why = (error.strerror or "").lower()
        raise KernelError(volumeoptions.failure(wanted, str(target), why)) from None


def _resolved(wanted: Mounting) -> Mounting:
    host = volumeoptions.address(wanted)
    if not host:
        return wanted
    try:
        found = str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise KernelError(f"error resolving passed in network volume address: lookup {host}: {error}") from None
    return replace(wanted, data=wanted.data.replace(f"addr={host}", f"addr={found}", 1))


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
            raise KernelError(f"too many levels of symbolic links: {path}")
        target = str(here.readlink())
        resolved = [] if target.startswith("/") else resolved
        pending = [*(step for step in target.split("/") if step), *pending]
    return root.joinpath(*resolved)
