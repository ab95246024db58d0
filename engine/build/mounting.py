"""`RUN --mount`: what a step sees for its own duration and does not keep.

Kinds: `cache` (a directory that outlives builds, by its id), `tmpfs`, and `bind` (of the context, a stage or an image,
read-only). Secrets and SSH agents live in BuildKit's sessions with a client, which there are none of here: a secret
that is not required is left out, one that is required is refused. What a mount shows is part of what the cache knows
a step by, except for what a cache mount holds.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import posixpath
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.build import trees
from engine.build.bench import Bench
from engine.build.dockerfile import Instruction
from engine.build.origins import Origin, origin
from engine.images.workspace import workspace
from netpy.errors import InvalidArgument, Unsupported

Json = dict[str, Any]
_TRUE = ("", "true", "1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One flag, read. `origin` is where a bind comes from."""

    kind: str
    target: str
    source: str = ""
    id: str = ""
    read_only: bool = False
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Mounts:
    """The mounts of a RUN, and what the cache knows them by."""

    mounts: tuple[Mount, ...]
    marks: list[str]

    @contextlib.contextmanager
    def prepared(self, bench: Bench) -> Generator[Json]:
        """The part of HostConfig that mounts them. What was mounted for that is unmounted at the end."""
        binds: list[str] = []
        tmpfs: dict[str, str] = {}
        with contextlib.ExitStack() as opened:
            for mount in self.mounts:
                match mount.kind:
                    case "tmpfs":
                        tmpfs[mount.target] = ""
                    case "cache":
                        binds.append(f"{_kept(bench.shop.keep, mount)}:{mount.target}:{_mode(mount)}")
                    case _:
                        binds.append(f"{_shown(bench, mount, opened)}:{mount.target}:ro")
            yield ({"Binds": binds} if binds else {}) | ({"Tmpfs": tmpfs} if tmpfs else {})


def mounts(bench: Bench, instruction: Instruction) -> Mounts:
    """The mounts of an instruction. InvalidArgument for a flag that cannot be read, Unsupported for what is missing."""
    found: list[Mount] = []
    marks: list[str] = []
    if instruction.flag("security") not in ("", "sandbox"):
        raise Unsupported(f"RUN --security={instruction.flag('security')} is not supported")
    for text in instruction.flags.get("mount", ()):
        mount = _read(bench, text)
        if mount is None:
            continue
        found.append(mount)
        marks.append(f"--mount={text}")
        if mount.kind == "bind" and mount.origin is not None:
            marks.append(mount.origin.image or f"{_found(mount.origin.tree, mount.source).digest}")
    if instruction.flag("network") not in ("", "default"):
        marks.append(f"--network={instruction.flag('network')}")
    return Mounts(tuple(found), marks)


def _read(bench: Bench, text: str) -> Mount | None:
    fields = {key.strip().lower(): value for key, _, value in (each.partition("=") for each in next(csv.reader([text])))}
    kind = fields.get("type", "bind")
    target = fields.get("target") or fields.get("dst") or fields.get("destination") or ""
    if kind in ("secret", "ssh"):
        if "required" in fields and fields["required"].lower() in _TRUE:
            raise Unsupported(f"RUN --mount=type={kind} needs a BuildKit session: give the value otherwise")
        return None
    if kind not in ("bind", "cache", "tmpfs"):
        raise InvalidArgument(f"unsupported mount type {kind!r}")
    if not target.startswith("/"):
        raise InvalidArgument(f"invalid mount {text!r}: target must be an absolute path")
    read_only = _is_read_only(fields)
    if kind == "bind" and not read_only and {"rw", "readwrite"} & fields.keys():
        raise Unsupported("RUN --mount=type=bind is read-only here: copy what is to be changed")
    if kind == "cache":
        return Mount(kind=kind, target=target, id=fields.get("id") or posixpath.normpath(target), read_only=read_only)
    if kind == "tmpfs":
        return Mount(kind=kind, target=target)
    source = fields.get("source") or fields.get("src") or ""
    return Mount(kind=kind, target=target, source=source, origin=origin(bench, fields.get("from", "")))


def _is_read_only(fields: Mapping[str, str]) -> bool:
    return any(name in fields and fields[name].lower() in _TRUE for name in ("ro", "readonly"))


def _mode(mount: Mount) -> str:
    return "ro" if mount.read_only else "rw"


def _kept(keep: Path, mount: Mount) -> Path:
    place = keep / hashlib.sha256(mount.id.encode()).hexdigest()
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    return place


def _found(tree: trees.Tree | None, source: str) -> trees.Source:
    assert tree is not None
    return trees.find(tree, source or ".")[0]


def _shown(bench: Bench, mount: Mount, opened: contextlib.ExitStack) -> Path:
    """The place on this machine that a bind shows."""
    assert mount.origin is not None
    if mount.origin.tree is not None:
        return _found(mount.origin.tree, mount.source).path
    space = opened.enter_context(workspace(bench.shop.images, mount.origin.image))
    try:
        return trees.resolve(space.root, mount.source)
    except trees.Missing:
        raise InvalidArgument(f"mount source {mount.source!r} not found") from None
