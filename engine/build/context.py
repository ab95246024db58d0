"""The context of a build: what the client sent, or what a URL holds, as a tree of files; and the Dockerfile in it.

A tar is unpacked by a process that sees only the directory it writes to, so that nothing in it gets out; all of it
belongs to root. What `.dockerignore` keeps out is removed, the Dockerfile and the ignore file themselves included if
they are named. Does I/O on a scratch directory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.build import fetching, ignore, trees
from engine.build.ignore import Ignore
from engine.build.trees import Tree
from engine.images.catalogue import Images
from engine.images.unpacking import Stream
from engine.trees.filling import fill
from netpy.errors import InvalidArgument

_LARGEST_DOCKERFILE = 8 << 20
_TAR_MAGIC, _TAR_BLOCK = b"ustar", 512
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Where the context comes from: a stream with a tar, or with `remote` a URL."""

    stream: Stream
    remote: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A context, and its Dockerfile's content."""

    tree: Tree
    dockerfile: bytes


def receive(images: Images, upload: Upload, name: str, resources: contextlib.ExitStack) -> Context:
    """Bring the context here, until `resources` are closed. InvalidArgument when it is none."""
    directory = resources.enter_context(images.scratch())
    root = directory / "context"
    root.mkdir(mode=0o755)
    if not upload.remote:
        unpack(upload.stream, root)
    elif fetching.is_repository(upload.remote):
        root = fetching.clone(upload.remote, directory)
    elif fetching.is_url(upload.remote):
        _fetch(upload.remote, root, directory)
    else:
        raise InvalidArgument(f"remoteURL ({upload.remote}) could not be recognized as URL")
    content = _dockerfile(root, name)
    _tidy(root, _ignored(root, name))
    return Context(tree=Tree(root=root), dockerfile=content)


def unpack(stream: Stream, root: Path) -> None:
    """Unpack a tar, plain or compressed, below `root`. InvalidArgument when it is none, or a trap."""
    try:
        fill(root, "/", stream, owner=(0, 0))
    except InvalidArgument as error:
        raise InvalidArgument(f"Error processing tar file: {error}") from error


def emptied(directory: Path) -> int:
    """Remove all that is in a directory; the bytes of its files."""
    if not directory.is_dir():
        return 0
    size = sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    shutil.rmtree(directory, ignore_errors=True)
    return size


def _fetch(url: str, root: Path, directory: Path) -> None:
    """What is at a URL: a tar, or a Dockerfile alone."""
    place = fetching.download(url, directory)
    with open(place, "rb") as stream:
        head = stream.read(_TAR_BLOCK)
        stream.seek(0)
        if head.startswith(_PACKED) or head[257:262] == _TAR_MAGIC:
            unpack(stream, root)
        else:
            (root / "Dockerfile").write_bytes(stream.read(_LARGEST_DOCKERFILE))


def _dockerfile(root: Path, name: str) -> bytes:
    place = _inside(root, name)
    if place is None and name == "Dockerfile":
        place = _inside(root, "dockerfile")
    if place is None:
        raise InvalidArgument(f"Cannot locate specified Dockerfile: {name}")
    if place.stat().st_size > _LARGEST_DOCKERFILE:
        raise InvalidArgument(f"the Dockerfile ({name}) is larger than {_LARGEST_DOCKERFILE} bytes")
    return place.read_bytes()


def _ignored(root: Path, name: str) -> Ignore:
    """The patterns that hold: those of `<Dockerfile>.dockerignore` if it is there, else of `.dockerignore`."""
    place = _inside(root, f"{name}.dockerignore") or _inside(root, ".dockerignore")
    return ignore.read(place.read_text(errors="replace")) if place else Ignore()


def _inside(root: Path, name: str) -> Path | None:
    try:
        place = trees.resolve(root, name)
    except trees.Missing:
        return None
    return place if place.is_file() else None


def _tidy(root: Path, patterns: Ignore) -> None:
    if patterns:
        trees.prune(root, patterns.excludes, _remover())


def _remover() -> Callable[[Path], None]:
    def remove(path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            os.unlink(path)  # noqa: PTH108 - links too

    return remove
