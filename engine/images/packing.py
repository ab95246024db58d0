"""Layers as registries want them: compressed with gzip, always to the same bytes, and the manifest that names them.

The same layer gives the same blob each time, so that a registry which has it need not be sent it again. Writes the one
file it is told to; everything else is values.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_LEVEL, _GZIP = 6, 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A compressed layer. `size` in bytes."""

    digest: str
    size: int


class Packing:
    """A tar compressed into a file: iterate for the bytes of tar that are done; `packed` is valid afterwards."""

    def __init__(self, chunks: Iterable[bytes], target: Path) -> None:
        self._chunks = chunks
        self._target = target
        self.packed = Packed(digest="", size=0)

    def __iter__(self) -> Iterator[int]:
        packer, digest, done, size = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP), hashlib.sha256(), 0, 0
        with self._target.open("wb") as out:
            for chunk in self._chunks:
                done += len(chunk)
                size += _written(out, digest, packer.compress(chunk))
                yield done
            size += _written(out, digest, packer.flush())
        self.packed = Packed(digest=f"sha256:{digest.hexdigest()}", size=size)


def _written(out: Any, digest: Any, data: bytes) -> int:
    digest.update(data)
    out.write(data)
    return len(data)


def manifest(config: Packed, layers: Sequence[Packed]) -> bytes:
    """The manifest of an image, byte for byte as Docker writes it."""
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, config),
        "layers": [_descriptor(LAYER, layer) for layer in layers],
    }
    return json.dumps(body, indent=3).encode()


def _descriptor(media_type: str, packed: Packed) -> Json:
    return {"mediaType": media_type, "size": packed.size, "digest": packed.digest}
