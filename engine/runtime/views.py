"""Root file systems that are mounted, and those that are looked at: never two mounts of one writable layer.

To read or write a container's files without it, its overlay is mounted once more, attached nowhere: it is known by
a descriptor alone, and gone with it, whatever becomes of us. But an overlay must not be mounted twice, since what
one of them writes the other may not see. So whoever wants a file system that is there already, whether attached for
a container or held open by a viewer, gets a copy of that mount, of the very same file system.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.runtime import rootfs
from netpy.errors import KernelError


@dataclass(slots=True)
class _Open:
    """A file system that is held open, and by how many."""

    descriptor: int
    viewers: int = 0


class Views:
    """Mounts and unmounts root file systems, as `rootfs` does, and lets them be viewed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Path, _Open] = {}

    def mount(self, layers: Sequence[Path], upper: Path, work: Path, target: Path) -> None:
        """As `rootfs.mount`; a file system that is being viewed is attached instead of mounted again."""
        with self._lock:
            viewed = self._open.get(upper)
            if viewed is None:
                _mount(layers, upper, work, target)
                return
            target.mkdir(parents=True, exist_ok=True)
            if not target.is_mount():
                _attach_copy(viewed.descriptor, target)

    def unmount(self, target: Path) -> None:
        """As `rootfs.unmount`. Viewers keep their sight."""
        rootfs.unmount(target)

    @contextlib.contextmanager
    def view(self, layers: Sequence[Path], upper: Path, work: Path, target: Path) -> Generator[int]:
        """The file system of a container as the descriptor of a mount that is attached nowhere, fit to be attached
        once. `target` is where it is mounted while the container runs. Raises KernelError."""
        with self._lock:
            held = self._open.get(upper)
            if held is None:
                held = self._open[upper] = _Open(_opened(layers, upper, work, target))
            held.viewers += 1
        try:
            copy = rootfs.copy(Path(f"/proc/self/fd/{held.descriptor}"))
            try:
                yield copy
            finally:
                os.close(copy)
        finally:
            with self._lock:
                held.viewers -= 1
                if not held.viewers:
                    del self._open[upper]
                    os.close(held.descriptor)


def _mount(layers: Sequence[Path], upper: Path, work: Path, target: Path) -> None:
    """The first time, the writable layer gets /.dockerenv, by which programs tell that they are in a container."""
    if not (work / "work").exists():  # which overlay makes; later on the mark stays gone if it was removed
        upper.mkdir(parents=True, exist_ok=True)
        (upper / ".dockerenv").touch(0o755)
    rootfs.mount(layers, upper, work, target)


def _opened(layers: Sequence[Path], upper: Path, work: Path, target: Path) -> int:
    try:
        if target.is_mount():
            return rootfs.copy(target)
        return mounted_once(layers, upper, work)
    except OSError as error:
        raise KernelError(f"cannot look at the files in {upper}: {error.strerror}") from None


def mounted_once(layers: Sequence[Path], upper: Path, work: Path) -> int:
    """An overlay that is attached nowhere: its descriptor. Raises KernelError or OSError."""
    upper.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="view-", dir=upper.parent) as place:
        target = Path(place)
        _mount(layers, upper, work, target)
        try:
            return rootfs.copy(target)
        finally:
            rootfs.unmount(target)


def _attach_copy(descriptor: int, target: Path) -> None:
    try:
        copy = rootfs.copy(Path(f"/proc/self/fd/{descriptor}"))
        try:
            rootfs.attach(copy, target)
        finally:
            os.close(copy)
    except OSError as error:
        raise KernelError(f"cannot mount an overlay on {target}: {error.strerror}") from None
