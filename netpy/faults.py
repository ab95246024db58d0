"""Fault points: places where the process can be made to die, so that what a crash leaves can be looked at.

A point stands before and after whatever leaves something behind: a netlink request, a transaction of rules or records,
a mount, a file, a program that is run. Where nobody asks for faults it is an empty function. The environment variable
NETPY_FAULTS names the file that arms them, which may be written while the process runs: one line, the name of a point,
` #` and a number. The process is killed as it comes to that point for the nth time; `-` kills at none. Every point that
is reached is added to a file beside it, whose name ends in `.seen`. Without the file, or with an empty one, nothing is
counted.

`scripts/torture crash` is what this is for; docs/reliability.md says what it found.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable

VARIABLE = "NETPY_FAULTS"


def _unarmed(name: str) -> None:
    """Nothing is to happen at the point `name`."""
    del name


class Trial:
    """Dies at the point that a file names. Thread-safe; counts anew when the file says something else."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._wanted = ""
        self._reached: Counter[str] = Counter()

    def __call__(self, name: str) -> None:
        with self._lock:
            wanted = self._read()
            if wanted != self._wanted:
                self._wanted = wanted
                self._reached.clear()
            if not wanted:
                return
            self._reached[name] += 1
            place = f"{name} #{self._reached[name]}"
            with open(f"{self._path}.seen", "a") as seen:
                seen.write(f"{place}\n")
            if place == wanted:
                os.kill(os.getpid(), signal.SIGKILL)

    def _read(self) -> str:
        try:
            with open(self._path) as file:
                return file.read().strip()
        except OSError:
            return ""


point: Callable[[str], None] = Trial(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _unarmed
