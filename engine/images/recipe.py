"""The tar of an unpacked layer, written again bit for bit from what the unpacker left (see unpack.py).

Reads files; decides nothing. The digest is computed on the way and compared, so that a layer whose files were changed
behind our back is never passed on as the original.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from netpy.errors import KernelError

CHUNK = 1 << 18


def tar(directory: Path, diff_id: str) -> Iterator[bytes]:
    """The uncompressed tar of the layer unpacked in `directory`, in chunks.

    KernelError when the files no longer give the content that `diff_id` names; by then all of it has been handed out,
    and what was made of it must be thrown away.
    """
    digest = hashlib.sha256()
    try:
        for chunk in _chunks(directory):
            digest.update(chunk)
            yield chunk
    except OSError as failure:
        raise KernelError(f"cannot read layer {diff_id}: {failure}") from failure
    if f"sha256:{digest.hexdigest()}" != diff_id:
        raise KernelError(f"layer {diff_id} was changed on disk: its tar cannot be written again")


def _chunks(directory: Path) -> Iterator[bytes]:
    position = 0
    with gzip.open(directory / "headers.gz") as headers, gzip.open(directory / "payloads.gz") as payloads:
        for line in payloads:
            before, size, path = json.loads(line)
            while position < before:
                piece = headers.read(min(CHUNK, before - position))
                if not piece:
                    raise OSError(f"{directory}/headers.gz is too short")
                position += len(piece)
                yield piece
            yield from _payload(directory / path, size)
        while piece := headers.read(CHUNK):
            yield piece


def _payload(path: Path, size: int) -> Iterator[bytes]:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as source:
        while size and (piece := source.read(min(CHUNK, size))):
            size -= len(piece)
            yield piece
