"""Pushing an image: its layers compressed into a directory, which skopeo then copies to the registry.

A layer whose compressed form a registry has had before is not compressed again: a named pipe stands for it. skopeo
asks the registry first and opens a blob only when it has to send it. So when somebody opens such a pipe, the layer is
needed after all: skopeo is stopped, the layer is compressed, and it begins anew, with all that was sent by then
passed over. How far the others are is told by the positions of the files that skopeo has open.

The events are those of Docker's POST /images/{name}/push. Recording the digest is done by the exchange, afterwards.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from engine.images import packing, records
from engine.images.endpoints import Endpoint
from engine.images.layers import Layers
from engine.images.packing import Packed, Packing
from engine.images.progress import Cancellation, event
from engine.images.records import ImageRecord
from engine.images.references import Reference
from engine.images.transports import Copying, Skopeo
from netpy.errors import KernelError

Json = dict[str, Any]
INTERVAL = 50  # milliseconds between two looks at what skopeo has open
SILENCE = 300.0  # seconds in which a registry may be busy with what it was sent
AT_ONCE = 5  # layers that Docker sends at a time; the others are told to wait


class Push:
    """One image on its way to one name. After `events` has ended, `manifest` is what the name points to."""

    def __init__(
        self, image: ImageRecord, name: Reference, layers: Layers, known: Mapping[str, Mapping[str, int]]
    ) -> None:
        """`known` are the digests and sizes of layers in compressed form, by diff id, the newest last."""
        self.manifest = b""
        self.packed: dict[str, Packed] = {}
        self._image = image
        self._name = name
        self._layers = layers
        self._known = known
        self._order = tuple(dict.fromkeys(reversed(image.layers)))

    @property
    def digest(self) -> str:
        return records.digest_of(self.manifest)

    def events(
        self, skopeo: Skopeo, endpoint: Endpoint, auth: Json | None, cancellation: Cancellation
    ) -> Generator[Json]:
        """Compress and send; yields progress. Nothing is left of it when it is ended early."""
        for layer in self._order:
            yield event("Preparing", layer)
        for layer in self._order[AT_ONCE:]:
            yield event("Waiting", layer)
        with ExitStack() as stack:
            directory = stack.enter_context(self._layers.scratch())
            access = stack.enter_context(skopeo.access(endpoint, auth))
            (directory / self._image.id[7:]).write_bytes(self._image.raw)
            needed = {layer for layer in self._order if not self._known.get(layer)}
            yield from self._prepare(directory, needed, cancellation)
            sent: set[str] = set()
            while True:
                self._describe(directory)
                sending = Sending(directory, skopeo.send(directory, self._name, access), self._files(directory))
                with contextlib.closing(sending):
                    for status, layer, position in sending.steps(cancellation):
                        sent |= {layer} if status == "Pushed" else set()
                        yield event(status, layer, *([] if position is None else [position, self._size(layer)]))
                if not sending.wanted:
                    break
                yield from self._prepare(directory, sending.wanted, cancellation)
            for layer in reversed(self._order):
                if layer not in sent:
                    regular = (directory / self.packed[layer].digest[7:]).is_file()
                    yield event("Pushed" if regular else "Layer already exists", layer)
        yield {"status": f"{self._name.tag}: digest: {self.digest} size: {len(self.manifest)}"}
        aux = {"Tag": self._name.tag, "Digest": self.digest, "Size": len(self.manifest)}
        yield {"progressDetail": {}, "aux": aux}

    def _prepare(self, directory: Path, needed: set[str], cancellation: Cancellation) -> Iterator[Json]:
        """Compress what is needed; put a pipe in the place of every layer that is not there."""
        for layer in self._order:
            if layer in needed:
                yield from self._compress(directory, layer, cancellation)
            elif layer not in self.packed:
                digest, size = list(self._known[layer].items())[-1]
                self.packed[layer] = Packed(digest=digest, size=size)
                with contextlib.suppress(FileExistsError):
                    os.mkfifo(directory / digest[7:], 0o600)

    def _compress(self, directory: Path, layer: str, cancellation: Cancellation) -> Iterator[Json]:
        target, shown = directory / "packing", time.monotonic()
        work = Packing(self._layers.tar(layer), target)
        for done in work:
            cancellation.check()
            if time.monotonic() - shown > 0.1:
                shown = time.monotonic()
                yield event("Preparing", layer, done)
        target.rename(directory / work.packed.digest[7:])
        self.packed[layer] = work.packed

    def _describe(self, directory: Path) -> None:
        config = Packed(digest=self._image.id, size=len(self._image.raw))
        self.manifest = packing.manifest(config, [self.packed[layer] for layer in self._image.layers])
        (directory / "manifest.json").write_bytes(self.manifest)

    def _files(self, directory: Path) -> dict[str, str]:
        return {self.packed[layer].digest[7:]: layer for layer in self._order}

    def _size(self, layer: str) -> int:
        return self.packed[layer].size


class Sending:
    """skopeo at work on a directory: which blobs it reads, and how far. `files` gives the layer of each blob's name."""

    def __init__(self, directory: Path, copying: Copying, files: Mapping[str, str]) -> None:
        self.wanted: set[str] = set()
        self._directory = directory.resolve()
        self._copying: Copying | None = copying
        self._files = files
        self._open: dict[str, int] = {}
        self._moved = time.monotonic()

    def steps(self, cancellation: Cancellation) -> Iterator[tuple[str, str, int | None]]:
        """Status, layer and position until skopeo ends, or until it opens a pipe: then `wanted` has the layer."""
        assert self._copying
        poll = select.poll()
        poll.register(self._copying, select.POLLIN)
        poll.register(cancellation, select.POLLIN)
        while not any(fd == self._copying.fileno() for fd, _ in poll.poll(INTERVAL)):
            cancellation.check()
            self._look_at_pipes()
            if self.wanted:
                return
            yield from self._movements(self._copying.pid)
            if time.monotonic() - self._moved > SILENCE:
                raise KernelError(f"the registry has taken nothing for {SILENCE:g} seconds")
        finished, self._copying = self._copying, None
        finished.result()

    def close(self) -> None:
        """Stop skopeo, if it still runs."""
        if self._copying:
            self._copying.cancel()
            self._copying = None

    def _look_at_pipes(self) -> None:
        for name, layer in self._files.items():
            path = self._directory / name
            if path.is_fifo() and _has_reader(path):
                self.wanted.add(layer)
                self.close()
                path.unlink()

    def _movements(self, pid: int) -> Iterator[tuple[str, str, int | None]]:
        found = {self._files[name]: at for name, at in positions(pid, self._directory).items() if name in self._files}
        for layer, position in found.items():
            if self._open.get(layer) != position:
                self._moved = time.monotonic()
                yield "Pushing", layer, position
        for layer in self._open.keys() - found.keys():
            yield "Pushed", layer, None
        self._open = found


def positions(pid: int, directory: Path) -> dict[str, int]:
    """How far a process has read the files of a directory that it has open, by name."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError, ValueError):
                path = descriptor.readlink()
                if path.parent == directory:
                    found[path.name] = int(Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text().split()[1])
    return found


def _has_reader(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # ENXIO: nobody has it open for reading
        return False
    return True
