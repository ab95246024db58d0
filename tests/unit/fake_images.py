"""Images and volumes without a disk, for tests of the API: `busybox` alone, and whatever volumes were made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine.images.complaints import Unauthorized
from engine.images.references import Reference
from engine.model import Json
from netpy.errors import Conflict, NotFound

IMAGE = "sha256:" + "ab" * 32


@dataclass(frozen=True)
class FakeImage:
    id: str
    tags: tuple[str, ...]


class FakeTransfer(Iterator[Json]):
    """Progress that is there already."""

    def __init__(self, *events: Json | Exception) -> None:
        self._events = list(events)
        self.cancelled = self.closed = False

    def __next__(self) -> Json:
        if not self._events:
            raise StopIteration
        event = self._events.pop(0)
        if isinstance(event, Exception):
            raise event
        return event

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        self.closed = True


class FakeRegistry:
    def __init__(self) -> None:
        self.asked: list[Any] = []

    def pull(
        self, reference: Reference, *, auth: Json | None = None, platform: str = "", all_tags: bool = False
    ) -> FakeTransfer:
        self.asked.append((reference.familiar, auth, platform, all_tags))
        if reference.familiar_name == "nope":
            raise NotFound("manifest for nope:latest not found: manifest unknown")
        first = {"status": f"Pulling from {reference.path}", "id": reference.tag}
        return FakeTransfer(first, {"status": "Status: Downloaded"})

    def push(self, reference: Reference, *, auth: Json | None = None) -> FakeTransfer:
        self.asked.append((reference.familiar, auth))
        return FakeTransfer({"status": f"The push refers to repository [{reference.name}]"}, NotFound("no such tag"))

    def inspect(self, text: str, *, auth: Json | None = None) -> Json:
        return {"Descriptor": {"digest": text}, "Platforms": []}

    def login(self, auth: Json) -> Json:
        if auth.get("password") != "secret":
            raise Unauthorized("login attempt to https://r/v2/ failed with status: 401 Unauthorized")
        return {"IdentityToken": "", "Status": "Login Succeeded"}

    def search(self, term: str, *, limit: int, filters: Mapping[str, Sequence[str]]) -> list[Json]:
        return [{"name": term, "star_count": limit, "filters": dict(filters)}]

    def document(self) -> Json:
        return {"Mirrors": ["https://mirror/"]}


class FakeImages:
    def __init__(self) -> None:
        self.loaded = bytearray()
        self.imported: tuple[Any, ...] = ()
        self.registry = FakeRegistry()

    def resolve(self, ref: str) -> FakeImage:
        ref = ref.removeprefix("docker.io/library/")
        if ref not in ("busybox", "busybox:latest", IMAGE, "registry:5000/a/b:1"):
            raise NotFound(f"No such image: {ref if ':' in ref else ref + ':latest'}")
        return FakeImage(IMAGE, ("busybox:latest",))

    def inspect(self, ref: str) -> Json:
        return {"Id": self.resolve(ref).id, "RepoTags": ["busybox:latest"], "Size": 1000}

    def summaries(
        self, *, all: bool = False, filters: Mapping[str, list[str]] | None = None, shared: bool = False
    ) -> list[Json]:
        return [{"Id": IMAGE, "RepoTags": ["busybox:latest"], "Created": 1710754413, "Size": 1000, "Labels": {}}]

    def history(self, ref: str) -> list[Json]:
        return [{"Id": self.resolve(ref).id, "Created": 1, "CreatedBy": "", "Comment": "", "Size": 1, "Tags": None}]

    def import_rootfs(
        self,
        stream: BinaryIO,
        *,
        reference: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        platform: str = "",
    ) -> str:
        self.imported = (stream.read(), reference, message, list(changes))
        return IMAGE

    def load(self, stream: BinaryIO) -> Iterator[Json]:
        self.loaded = bytearray(stream.read(4))
        if self.loaded == b"junk":
            raise Conflict("the archive is no archive")
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

    def prune(self, chosen: Callable[[Json], bool]) -> list[str]:
        names = [name for name, volume in self._known.items() if chosen(volume)]
        for name in names:
            del self._known[name]
        return names
