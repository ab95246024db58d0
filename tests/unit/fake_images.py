"""Images and volumes without a disk, for tests of the API: `busybox` alone, and whatever volumes were made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine.model import Json
from netpy.errors import Conflict, NotFound

IMAGE = "sha256:" + "ab" * 32


@dataclass(frozen=True)
class FakeImage:
    id: str
    tags: tuple[str, ...]


class FakeImages:
    def __init__(self) -> None:
        self.loaded = bytearray()
        self.imported: tuple[Any, ...] = ()
        self.auth: Json | None = None

    def resolve(self, ref: str) -> FakeImage:
        ref = ref.removeprefix("docker.io/library/")
        if ref not in ("busybox", "busybox:latest", IMAGE, "registry:5000/a/b:1"):
            raise NotFound(f"No such image: {ref if ':' in ref else ref + ':latest'}")
        return FakeImage(IMAGE, ("busybox:latest",))

    def inspect(self, ref: str) -> Json:
        return {"Id": self.resolve(ref).id, "RepoTags": ["busybox:latest"], "Size": 1000}

    def summaries(self, *, all: bool = False, filters: Mapping[str, list[str]] | None = None) -> list[Json]:
        return [{"Id": IMAGE, "RepoTags": ["busybox:latest"], "Created": 1710754413, "Size": 1000, "Labels": {}}]

    def history(self, ref: str) -> list[Json]:
        return [{"Id": self.resolve(ref).id, "Created": 1, "CreatedBy": "", "Comment": "", "Size": 1, "Tags": None}]

    def import_rootfs(
        self, stream: BinaryIO, *, reference: str = "", message: str = "", changes: Sequence[str] = ()
    ) -> str:
        self.imported = (stream.read(), reference, message, list(changes))
        return IMAGE

    def load(self, stream: BinaryIO) -> Iterator[Json]:
        self.loaded = bytearray()
        yield {"stream": "reading\n"}
        while piece := stream.read(4096):
            self.loaded += piece
        if self.loaded.startswith(b"bad"):
            raise Conflict("the archive is bad")
        yield {"stream": "Loaded image: busybox:latest\n"}

    def save(self, refs: Sequence[str]) -> Iterator[bytes]:
        for ref in refs:
            self.resolve(ref)
        return (f"tar of {ref};".encode() for ref in refs)

    def pull(self, reference: str, *, tag: str = "", auth: Json | None = None, platform: str = "") -> Iterator[Json]:
        self.auth = auth
        reference = reference.removeprefix("docker.io/library/")
        if reference == "nope":
            raise NotFound("manifest for nope:latest not found: manifest unknown")
        yield {"status": f"Pulling from {reference}", "id": tag}
        yield {"status": "Status: Downloaded"}

    def tag(self, source: str, target: str) -> None:
        self.resolve(source)

    def remove(
        self,
        ref: str,
        *,
        force: bool = False,
        noprune: bool = False,
        used_by: Callable[[str], list[str]] = lambda _: [],
        running: Callable[[str], bool] = lambda _: False,
    ) -> list[Json]:
        if used_by(self.resolve(ref).id) and not force:
            raise Conflict(f"conflict: unable to remove repository reference {ref!r}")
        return [{"Untagged": "busybox:latest"}, {"Deleted": IMAGE}]

    def prune(
        self, filters: Mapping[str, Sequence[str]] | None = None, *, used_by: Callable[[str], list[str]] = lambda _: []
    ) -> Json:
        if (filters or {}).get("dangling") != ["false"] or used_by(IMAGE):
            return {"ImagesDeleted": None, "SpaceReclaimed": 0}
        return {"ImagesDeleted": [{"Deleted": IMAGE}], "SpaceReclaimed": 1000}

    def disk_usage(self) -> int:
        return 1000

    def layers(self, image_id: str) -> list[Path]:
        return [Path("/layers/2"), Path("/layers/1")]


class FakeVolumes:
    def __init__(self) -> None:
        self._known: dict[str, Json] = {}

    def create(
        self,
        name: str,
        *,
        driver: str = "",
        labels: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Json:
        volume = {"Name": name, "Driver": driver or "local", "Labels": dict(labels or {}), "Mountpoint": "/nowhere"}
        return self._known.setdefault(name, volume)

    def get(self, name: str) -> Json:
        if name not in self._known:
            raise NotFound(f"get {name}: no such volume")
        return self._known[name]

    def all(self) -> list[Json]:
        return list(self._known.values())

    def remove(self, name: str, *, force: bool = False) -> None:
        if not force:
            self.get(name)
        self._known.pop(name, None)

    def prune(self, *, everything: bool = False) -> list[str]:
        names = list(self._known)
        self._known.clear()
        return names
