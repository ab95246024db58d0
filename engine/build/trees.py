"""What COPY and ADD take: sources found in a tree (a context, or another image), and what they amount to for the cache.

Paths are resolved within the tree: links that lead out of it end inside, as they would for a process that has the tree
for its root. The digest looks at names, kinds, modes and content, not at times or owners, so that a fresh checkout
finds the cache. Reads files.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.build.ignore import Ignore, compiled, has_wildcards
from netpy.errors import InvalidArgument

_MAX_LINKS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A tree to copy from. `owners` are part of what an image is, not of a context: there, all belongs to root."""

    root: Path
    ignore: Ignore = field(default_factory=Ignore)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Something to copy: where it lies, what it is called, its digest. `is_directory` gives what is in it."""

    path: Path
    name: str
    digest: str
    is_directory: bool


class Missing(InvalidArgument):
    """A path is not in the tree."""


def find(tree: Tree, word: str) -> list[Source]:
    """What a source of COPY names, wildcards resolved. Missing, or InvalidArgument for a path that leads out."""
    clean = posixpath.normpath("/" + word.lstrip("/")).lstrip("/")
    if posixpath.normpath(word.lstrip("/") or ".").startswith(".."):
        raise InvalidArgument(f"forbidden path outside the build context: {word} ()")
    if not has_wildcards(word):
        return [_source(tree, clean)]
    pattern = compiled(clean)
    depth = clean.count("/")
    found = [path for path in _walk(tree.root, "", depth) if pattern.fullmatch(path)]
    return [_source(tree, path) for path in found]


def resolve(root: Path, path: str) -> Path:
    """The real place of `path` below `root`, links followed within it. Missing when there is nothing."""
    place, rest, links = "", path.split("/"), 0
    while rest:
        part = rest.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            place = posixpath.dirname(place)
            continue
        here = f"{place}/{part}"
        try:
            status = (root / here.lstrip("/")).lstat()
        except (FileNotFoundError, NotADirectoryError):
            raise Missing(path) from None
        except (OSError, ValueError) as error:
            raise InvalidArgument(f"{path}: {getattr(error, 'strerror', '') or error}") from None
        if not stat.S_ISLNK(status.st_mode):
            place = here
            continue
        links += 1
        if links > _MAX_LINKS:
            raise InvalidArgument(f"{path}: too many levels of symbolic links")
        target = os.readlink(root / here.lstrip("/"))  # noqa: PTH115 - the text as it is
        place = "" if target.startswith("/") else place
        rest = [*target.split("/"), *rest]
    return root / place.lstrip("/")


def combined(digests: list[str]) -> str:
    """What several sources, or a single one, are called in the history."""
    if len(digests) == 1:
        return digests[0]
    joined = ",".join(digests)
    return f"multi:{hashlib.sha256(joined.encode()).hexdigest()}"


def digest_of_file(path: Path) -> str:
    """The digest of one file by content, kind and mode."""
    return f"file:{_digest(path, path.lstat(), '')}"


def _source(tree: Tree, path: str) -> Source:
    try:
        place = resolve(tree.root, path)
    except Missing:
        raise Missing(f"stat {path}: file does not exist") from None
    if path and tree.ignore.excludes(path) and not (place.is_dir() and tree.ignore.brings_back):
        raise Missing(f"stat {path}: file does not exist")
    status = place.lstat()
    if not stat.S_ISDIR(status.st_mode):
        digest = f"file:{_digest(place, status, '')}"
        return Source(path=place, name=posixpath.basename(path), digest=digest, is_directory=False)
    return Source(path=place, name=posixpath.basename(path), digest=f"dir:{_digest_tree(place)}", is_directory=True)


def _digest_tree(root: Path) -> str:
    total = hashlib.sha256()
    for path in _walk(root, "", None):
        place = root / path
        total.update(f"{path}\0{_digest(place, place.lstat(), path)}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _digest(place: Path, status: os.stat_result, name: str) -> str:
    total = hashlib.sha256(f"{name}\0{status.st_mode:o}\0".encode("utf-8", "surrogateescape"))
    if stat.S_ISREG(status.st_mode):
        total.update(f"{status.st_size}\0".encode())
        with open(place, "rb") as stream:
            while chunk := stream.read(1 << 18):
                total.update(chunk)
    elif stat.S_ISLNK(status.st_mode):
        total.update(os.fsencode(os.readlink(place)))  # noqa: PTH115 - the text as it is
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        total.update(str(status.st_rdev).encode())
    return total.hexdigest()


def _walk(root: Path, prefix: str, depth: int | None) -> Iterator[str]:
    """Every path below, sorted, parents first; with `depth`, only so far down. Links are not followed."""
    with os.scandir(root / prefix) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = posixpath.join(prefix, entry.name)
        yield path
        if depth != 0 and entry.is_dir(follow_symlinks=False):
            yield from _walk(root, path, None if depth is None else depth - 1)


def prune(root: Path, excluded: Callable[[str], bool], remove: Callable[[Path], None]) -> None:
    """Have everything removed that a context's ignore file keeps out; directories only when nothing in them stays."""
    for path in reversed(list(_walk(root, "", None))):
        place = root / path
        if excluded(path) and not (place.is_dir() and not place.is_symlink() and any(place.iterdir())):
            remove(place)
