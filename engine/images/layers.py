"""Layers on disk: each unpacked once, under its diff id, and shared by all images that have it.

`<root>/layers/<64 hex of the diff id>/diff` is an overlay lower directory. A layer is unpacked under `<root>/tmp` and
only moved to its place, by one rename, when it is whole and an image that needs it is being recorded; whatever a
crash leaves in `tmp` is removed at the next start. Which layers are still needed is the catalogue's knowledge. The
power may fail between write and write-back: as with Docker, nothing here waits for the disk.

The root is closed to all but root, because layers contain set-id programs and devices of strangers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from engine.images import recipe
from engine.images.unpacking import ZSTD, Stream, Unpacked, Unpacking
from engine.runtime import rootfs
from engine.trees import child
from netpy.errors import InvalidArgument

_MAGIC = len(ZSTD)
MERGED = "merged"
Hidden = Mapping[str, Sequence[int] | None]
OPAQUE = "trusted.overlay.opaque"


class Layers:
    """The layers below `root`, a directory of ours alone, which is made when it is missing."""

    def __init__(self, root: Path) -> None:
        self._layers = root / "layers"
        self._tmp = root / "tmp"
        self._nothing = root / "nothing"
        for directory in (root, self._layers, self._tmp):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def sweep(self, known: Iterable[str]) -> None:
        """At start: remove what a crash left, and every layer but the `known` ones."""
        for stale in self._tmp.iterdir():
            rootfs.unmount(stale / MERGED)
            shutil.rmtree(stale, ignore_errors=True)
        keep = {diff_id.removeprefix("sha256:") for diff_id in known}
        for directory in self._layers.iterdir():
            if directory.name not in keep:
                shutil.rmtree(directory, ignore_errors=True)

    @contextlib.contextmanager
    def scratch(self) -> Generator[Path]:
        """A private directory on the same file system, removed at the end with all that is in it."""
        directory = self._fresh("scratch")
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def has(self, diff_id: str) -> bool:
        return self._home(diff_id).is_dir()

    def diff(self, diff_id: str) -> Path:
        """The layer's tree, to be used as an overlay lower directory."""
        return self._home(diff_id) / "diff"

    @property
    def nothing(self) -> Path:
        """An empty lower directory, for what stands on no layer: overlayfs wants one."""
        self._nothing.mkdir(mode=0o755, exist_ok=True)
        return self._nothing

    def hides_all_below(self, diff_id: str) -> bool:
        """Whether the layer's root itself is opaque (`.wh..wh..opq` at the top of its tar)."""
        try:
            return os.getxattr(self.diff(diff_id), OPAQUE) == b"y"
        except OSError:
            return False

    def tar(self, diff_id: str) -> Iterator[bytes]:
        """The layer's tar, uncompressed, bit for bit."""
        return recipe.tar(self._home(diff_id), diff_id)

    def start(self, source: IO[bytes]) -> Unpacking:
        """Begin to unpack a freshly opened file; the caller may close it at once."""
        zstd = os.pread(source.fileno(), _MAGIC, 0) == ZSTD
        return Unpacking(self._fresh("layer"), source, zstd=zstd)

    def unpack(self, source: Stream) -> Unpacked:
        """Unpack a stream to its end. InvalidArgument when it is not a tar, plain or compressed."""
        first = b""
        while len(first) < _MAGIC and (more := source.read(_MAGIC - len(first))):
            first += more
        work = Unpacking(self._fresh("layer"), subprocess.PIPE, zstd=first == ZSTD)
        try:
            blob = work.feed(first, source)
        except BaseException:
            work.cancel()
            raise
        return work.result(blob)

    def snapshot(self, upper: Path, hidden: Hidden) -> Unpacked:
        """A layer of what was written into an overlay's `upper` directory, which is left as it is.

        What `hidden` knows (see engine/trees/placeholders.py) is left out.
        """
        with child.working({"verb": "layer", "root": str(upper), "hidden": hidden}) as packer:
            work = Unpacking(self._fresh("layer"), packer.source, zstd=False)
            packer.source.close()  # only the unpacker may hold this end, else the packer would not notice its death
            try:
                layer = work.result("")
            except InvalidArgument:
                child.check(packer, f"reading the files in {upper}")  # a tar that breaks off is the packer's fault
                raise
            try:
                child.check(packer, f"reading the files in {upper}")
            except BaseException:
                self.discard(layer)
                raise
        return layer

    def keep(self, unpacked: Unpacked) -> None:
        """Move a layer to its place; when it is there already, the new copy goes."""
        if self.has(unpacked.diff_id):
            self.discard(unpacked)
        else:
            unpacked.directory.rename(self._home(unpacked.diff_id))

    def discard(self, unpacked: Unpacked) -> None:
        """Remove a layer that was not kept; nothing happens when it was."""
        shutil.rmtree(unpacked.directory, ignore_errors=True)

    def retire(self, diff_id: str) -> Path:
        """Take a layer out of its place, at once. `dispose` of what this returns later: that may take long."""
        grave = self._fresh("trash")
        with contextlib.suppress(FileNotFoundError):
            self._home(diff_id).rename(grave / "layer")
        return grave

    def dispose(self, retired: Iterable[Path]) -> None:
        for grave in retired:
            shutil.rmtree(grave, ignore_errors=True)

    def _home(self, diff_id: str) -> Path:
        return self._layers / diff_id.removeprefix("sha256:")

    def _fresh(self, prefix: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self._tmp))
