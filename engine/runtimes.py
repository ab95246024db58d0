"""The OCI runtimes of a daemon: the one that new containers get, and those that old ones were made with.

Which runtime works is found out at each start, and may come out differently: a package is installed, a cgroup hierarchy
mounted. What one runtime has made, another does not know, so a container stays with its own as long as it lives.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from engine.runtime.probe import CANDIDATES, probe
from engine.runtime.runtime import Runtime
from netpy.errors import InvalidArgument, Unsupported


class Runtimes:
    """Runtimes by name, made when first asked for. `requested` empty means: the first that works here.

    Unsupported names what is missing. Thread-safe.
    """

    def __init__(self, exec_root: Path, requested: str = "") -> None:
        choice = probe(exec_root / "probe", requested)
        self.default = choice.name
        self._exec_root = exec_root
        self._conmon = choice.conmon
        self._lock = threading.Lock()
        self._made = {choice.name: self._runtime(choice.name, choice.binary)}

    def find(self, name: str) -> Runtime:
        """InvalidArgument for an unknown name, Unsupported where the program is not installed."""
        with self._lock:
            if name not in self._made:
                if name not in CANDIDATES:
                    raise InvalidArgument(f"unknown or invalid runtime name: {name}")
                binary = shutil.which(name)
                if binary is None:
                    raise Unsupported(f"{name} is not installed: install the package {name}")
                self._made[name] = self._runtime(name, binary)
            return self._made[name]

    def close(self) -> None:
        """Stop watching. Containers go on."""
        with self._lock:
            for runtime in self._made.values():
                runtime.close()

    def _runtime(self, name: str, binary: str) -> Runtime:
        return Runtime(exec_root=self._exec_root, conmon=self._conmon, binary=binary, name=name)
