"""How much a directory tree holds. Reads the file system."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def usage(root: Path) -> int:
    """Bytes in the regular files below `root`, hard links once, as `docker ps -s` counts a container's own layer."""
    total = 0
    seen: set[tuple[int, int]] = set()
    pending = [str(root)]
    while pending:
        # Containers write while we look: what vanishes meanwhile does not count.
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    found = entry.stat(follow_symlinks=False)
                    if found.st_nlink == 1 or (found.st_dev, found.st_ino) not in seen:
                        total += found.st_size
                    seen.add((found.st_dev, found.st_ino))
    return total
