"""Image archives as streams: read in one pass, written as they go out. What is in them is layout.py's business.

An archive is a tar of documents and layers in any order; usually the document that says what the layers are comes
last. So a `Reader` unpacks whatever looks like a layer as it passes by, keeps the documents, and only then asks what
belongs together. Nothing is spooled to disk. What is not needed in the end is thrown away.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, cast

from engine.images import layout
from engine.images.layers import Layers
from engine.images.layout import Found, Saved
from engine.images.unpacking import Stream, Unpacked
from netpy.errors import InvalidArgument

LARGEST_DOCUMENT = 8 << 20
LARGEST_HEADER = 1 << 20
CHUNK = 1 << 20
_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
)  # fmt: skip
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")


class Reader:
    """What came out of one archive, by entry name: documents, new layers, layers that we had (by diff id), links."""

    def __init__(self, layers: Layers, known: Callable[[str], str]) -> None:
        """`known` gives the diff id of a blob that we have, by its digest, or the empty string."""
        self.documents: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self._layers = layers
        self._known = known
        self._unpacked: dict[str, Unpacked] = {}
        self._present: dict[str, str] = {}
        self._broken: dict[str, InvalidArgument] = {}

    def read(self, stream: Stream) -> Iterator[Unpacked]:
        """Go through an archive, plain or compressed; yields each new layer. InvalidArgument when it is no tar."""
        try:
            source = cast(IO[bytes], _Finite(stream))
            with tarfile.open(fileobj=source, mode="r|*", bufsize=CHUNK, tarinfo=_Member) as archive:
                while info := archive.next():
                    archive.members.clear()  # pyright: ignore
                    name = posixpath.normpath("/" + info.name.lstrip("/"))[1:]
                    if info.isreg():
                        yield from self._entry(name, info.size, cast(Stream, archive.extractfile(info)))
                    elif info.issym():
                        self.links[name] = posixpath.normpath(f"/{posixpath.dirname(name)}/{info.linkname}").lstrip("/")
        except (tarfile.TarError, EOFError, RecursionError) as failure:
            raise InvalidArgument(f"reading the image archive: {failure}") from failure

    def layers_of(self, image: Found) -> list[Unpacked | str]:
        """The image's layers, the lowest first, compared with what it says they are; diff ids stand for those we had.

        InvalidArgument when one is missing, damaged or another one.
        """
        if len(image.entries) != len(image.image.layers):
            raise InvalidArgument(
                f"image {image.image.short_id}: its archive and its configuration count layers differently"
            )
        blobs = image.blobs or ("",) * len(image.entries)
        return [
            self._layer(entry, diff_id, blob)
            for entry, diff_id, blob in zip(image.entries, image.image.layers, blobs, strict=True)
        ]

    def discard(self) -> None:
        """Remove the layers that nobody kept."""
        for unpacked in self._unpacked.values():
            self._layers.discard(unpacked)

    def _entry(self, name: str, size: int, content: Stream) -> Iterator[Unpacked]:
        if name.startswith(layout.BLOBS) and (diff_id := self._known(f"sha256:{posixpath.basename(name)}")):
            self._present[name] = diff_id
            return
        first = content.read(tarfile.BLOCKSIZE)
        if _is_layer(name, first):
            try:
                self._unpacked[name] = self._layers.unpack(_Joined(first, content))
            except InvalidArgument as failure:
                self._broken[name] = failure  # Perhaps nobody needs it.
            else:
                yield self._unpacked[name]
        elif size <= LARGEST_DOCUMENT:
            self.documents[name] = first + content.read(size)

    def _layer(self, entry: str, diff_id: str, blob: str) -> Unpacked | str:
        if entry in self._broken:
            raise self._broken[entry]
        unpacked = self._unpacked.get(entry)
        found = unpacked.diff_id if unpacked else self._present.get(entry, "")
        if not found:
            raise InvalidArgument(f"image archive has no layer {entry}")
        if found != diff_id or (unpacked and blob not in ("", unpacked.blob)):
            raise InvalidArgument(f"image archive: layer {entry} is damaged: it is {found}, should be {diff_id}")
        return unpacked or found


def write(saved: Sequence[Saved], layers: Layers) -> Iterator[bytes]:
    """An archive of these images that is docker-archive and OCI layout in one, in chunks."""
    for name, data in layout.documents(saved).items():
        yield _header(name, len(data)) + data + _padding(len(data))
    written: set[str] = set()
    for item in saved:
        for diff_id in item.image.layers:
            if diff_id not in written:
                written.add(diff_id)
                yield _header(layout.blob_name(diff_id), item.sizes[diff_id])
                yield from layers.tar(diff_id)
                yield _padding(item.sizes[diff_id])
    yield bytes(2 * tarfile.BLOCKSIZE)


class _Member(tarfile.TarInfo):
    """A member whose name and attributes have to fit into a bounded header, since tarfile reads that as a whole."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size > LARGEST_HEADER and self.type in _HEADERS:
            raise tarfile.ReadError(f"a header of {self.size} bytes is too large")
        return super()._proc_member(archive)  # pyright: ignore


class _Finite:
    """A stream that may be read beyond its end a few times, but not for ever.

    tarfile skips a member by reading as often as its size says, whether or not anything comes; sizes go up to 2 ** 88.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._patience = 8

    def read(self, size: int, /) -> bytes:
        piece = self._stream.read(size)
        if not piece:
            self._patience -= 1
            if self._patience < 0:
                raise tarfile.ReadError("unexpected end of data")
        return piece


class _Joined:
    """What was read ahead, and the rest."""

    def __init__(self, first: bytes, rest: Stream) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        if not self._first:
            return self._rest.read(size)
        piece, self._first = self._first[:size], self._first[size:]
        return piece


def _is_layer(name: str, first: bytes) -> bool:
    return name.endswith(".tar") or first.startswith(_PACKED) or first[257:262] == b"ustar" or not first.strip(b"\0")


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
