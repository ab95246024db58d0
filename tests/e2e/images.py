"""Images for tests, made of this machine's own programs: each comes with the libraries that ldd names. Reads files only."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.e2e.world import busybox_rootfs


def rootfs_with(*programs: str, files: dict[str, str] | None = None) -> bytes:
    """The busybox root file system, as a tar, with these programs of ours and these files (path → text) in it."""
    out = io.BytesIO(busybox_rootfs())
    with tarfile.open(fileobj=out, mode="a") as tar:
        wanted: dict[str, Path] = {}
        for program in programs:
            path = Path(shutil.which(program) or program)
            wanted[f"bin/{path.name}"] = path.resolve()
            wanted |= {str(library)[1:]: library.resolve() for library in _libraries(path)}
        for name, path in wanted.items():
            entry = tar.gettarinfo(str(path), name)
            with path.open("rb") as stream:
                tar.addfile(entry, stream)
        for name, text in (files or {}).items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o755
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def _libraries(program: Path) -> list[Path]:
    done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    return [Path(word) for word in done.stdout.split() if word.startswith("/")]
