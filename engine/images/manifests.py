"""Manifests: what a registry or an archive says an image consists of, and which of several platforms is ours.

Docker's and OCI's documents differ in names only and are read alike. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from engine.images.references import check_digest
from netpy.errors import InvalidArgument, NotFound, Unsupported

Json = dict[str, Any]
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_INDEXES = (OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")

_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
}
_ALIASES = {**_MACHINES, "x86-64": ("amd64", ""), "armhf": ("arm", "v7"), "armel": ("arm", "v6")}
_ARCHITECTURES = frozenset(["386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"])
_WORD = re.compile(r"[a-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What an image runs on, in Go's words. `variant` may be empty."""

    architecture: str
    os: str = "linux"
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One thing a manifest points to. `size` is in bytes."""

    digest: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image's parts: its configuration, and its layers, the lowest first."""

    config: Blob
    layers: tuple[Blob, ...]


def host_platform(machine: str) -> Platform:
    """The platform of a machine by its `uname -m`."""
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform(architecture=architecture, variant=variant)


def parse_platform(text: str, default: Platform) -> Platform:
    """`linux/arm64/v8`, `linux/amd64` or `arm64`; empty means `default`. InvalidArgument for anything else."""
    if not text:
        return default
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(_WORD.fullmatch(part) for part in parts):
        raise InvalidArgument(f"invalid platform {text!r}: must be os[/architecture[/variant]]")
    if len(parts) == 1:
        parts = ["linux", parts[0]] if parts[0] != "linux" else [default.os, default.architecture, default.variant]
    architecture, variant = _ALIASES.get(parts[1], (parts[1], ""))
    if parts[0] != "linux" or architecture not in _ARCHITECTURES:
        raise InvalidArgument(f"invalid platform {text!r}: unknown operating system or architecture: invalid argument")
    return Platform(architecture=architecture, variant=parts[2] if len(parts) > 2 else variant)


def is_index(document: Json) -> bool:
    """Whether this lists manifests for several platforms instead of being one."""
    return document.get("mediaType") in _INDEXES or "manifests" in document


def media_type(document: Json) -> str:
    """What a manifest or index says it is; OCI's may leave it out."""
    kind = document.get("mediaType")
    return str(kind) if kind else (OCI_INDEX if is_index(document) else OCI_MANIFEST)


def choose(document: Json, platform: Platform) -> Json:
    """The entry of an index that suits `platform` best. NotFound when there is none."""
    return best(entries(document), platform)


def entries(document: Json) -> list[Json]:
    """The descriptors in an index. InvalidArgument when they are not descriptors."""
    found = document.get("manifests")
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in cast(list[object], found)):
        raise InvalidArgument("image index has no list of manifests")
    return cast(list[Json], found)


def best(found: Sequence[Json], platform: Platform) -> Json:
    """The descriptor among `found` that suits `platform` best. NotFound when none does."""
    suitable = [(rank, item) for item in found if (rank := _rank(_platform(item), platform)) is not None]
    if not suitable:
        raise NotFound(f"no matching manifest for {platform} in the manifest list entries")
    return min(suitable, key=lambda pair: pair[0])[1]


def manifest(document: Json) -> Manifest:
    """The parts that `document` names. Unsupported for the signed documents of before 2016."""
    if document.get("schemaVersion") == 1:
        raise Unsupported("image manifest schema 1 is obsolete and not supported: the image must be pushed again")
    layers = document.get("layers")
    if not isinstance(layers, list):
        raise InvalidArgument("image manifest has no list of layers")
    return Manifest(
        config=blob(document.get("config")),
        layers=tuple(blob(item) for item in cast(list[object], layers)),
    )


def blob(descriptor: object) -> Blob:
    """The descriptor as a value. InvalidArgument when it is none."""
    if not isinstance(descriptor, dict):
        raise InvalidArgument("image manifest: a descriptor is missing or malformed")
    fields = cast(Json, descriptor)
    digest, size = fields.get("digest"), fields.get("size")
    if not isinstance(digest, str) or not isinstance(size, int) or size < 0:
        raise InvalidArgument("image manifest: a descriptor has no digest or no size")
    return Blob(digest=check_digest(digest), size=size, media_type=str(fields.get("mediaType", "")))


def _platform(descriptor: Json) -> Json:
    """What the descriptor says of its platform: nothing, where that is no object."""
    stated = descriptor.get("platform")
    return cast(Json, stated) if isinstance(stated, dict) else {}


def _rank(offered: Json, wanted: Platform) -> int | None:
    """How far `offered` is from what is wanted: 0 is exact, None is unusable."""
    if offered.get("os") != wanted.os or offered.get("architecture") != wanted.architecture:
        return None
    have, want = _level(offered, wanted.architecture), _level({"variant": wanted.variant}, wanted.architecture)
    return want - have if have <= want else None


def _level(fields: Json, architecture: str) -> int:
    """Variants are upward compatible: a v7 machine runs v6 code. Without a variant the usual one is meant."""
    digits = str(fields.get("variant") or "").removeprefix("v")
    usual = {"arm": 7, "arm64": 8}.get(architecture, 1)
    return int(digits) if digits.isdecimal() and len(digits) < 3 else usual
