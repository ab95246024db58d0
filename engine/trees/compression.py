"""Data that may be compressed by gzip, bzip2 or xz, read forward as what it was before.

Pure but for reading its source. zstd is a program's business (see images/unpacking.py).
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

PLAIN_CHUNK, PACKED_CHUNK = 1 << 18, 1 << 15
MAGIC = 6  # bytes that tell the method of compression


class Malformed(Exception):
    """The archive is not one that can be unpacked."""


def decompressor(magic: bytes) -> Any:
    """What unpacks data that begins with `magic`; None when it is not compressed by a method we know."""
    if magic.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31)
    if magic.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    if magic.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor()
    return None


def chunks(source: BinaryIO) -> Iterator[bytes]:
    """The content of `source`, decompressed. Malformed when it breaks off."""
    first = source.read(MAGIC)
    if decompressor(first):
        yield from _members(first, source)
        return
    yield first
    while data := source.read(PLAIN_CHUNK):
        yield data


def _members(data: bytes, source: BinaryIO) -> Iterator[bytes]:
    """Compressed files may be concatenated, and padded with zeros."""
    while data or (data := source.read(PACKED_CHUNK)):
        if len(data) < MAGIC:
            data += source.read(PACKED_CHUNK)
        machine = decompressor(data)
        if machine is None:
            if data.strip(b"\0"):
                raise Malformed("garbage follows the compressed data")
            data = b""
            continue
        while not machine.eof:
            if not data:
                raise Malformed("unexpected end of compressed data")
            try:
                plain = machine.decompress(data)
            except (zlib.error, lzma.LZMAError, OSError) as failure:  # bz2 has no error of its own
                raise Malformed(f"damaged compressed data: {str(failure).lower()}") from None
            yield plain
            data = machine.unused_data if machine.eof else source.read(PACKED_CHUNK)
