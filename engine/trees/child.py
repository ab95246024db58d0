"""The process that works on a tree, as seen from the daemon: started, fed or read, waited for, its report understood.

Starts processes (subprocess, no fork of our own); program.py is what they run. What an error means to a user is said
by who ordered the work.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from netpy.errors import KernelError

Json = dict[str, Any]
_PROGRAM = [sys.executable, "-I", "-S", "-X", "utf8", str(Path(__file__).with_name("program.py"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why the work failed: the text, and the number of the system error, 0 where it was none."""

    text: str
    errno: int = 0


class Child:
    """A process at work. `source` and `sink` are our ends of its output and input, where they are pipes."""

    def __init__(self, order: Json, *, stdin: int | IO[bytes] = subprocess.DEVNULL, fds: tuple[int, ...] = ()) -> None:
        self._process = subprocess.Popen(
            [*_PROGRAM, json.dumps(order)], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=fds
        )

    @property
    def source(self) -> IO[bytes]:
        """The tar that it writes."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def sink(self) -> IO[bytes]:
        """Where it reads a tar from."""
        assert self._process.stdin is not None
        return self._process.stdin

    def report(self) -> Json | Failure:
        """Wait for its end; what it said. All its output must have been read, or our end of it closed."""
        assert self._process.stderr is not None
        text = self._process.stderr.read()
        self._process.wait()
        try:
            report: Json = json.loads(text)
        except ValueError:
            last = text.decode(errors="replace").strip().rpartition("\n")[2]
            return Failure(text=f"the process was killed: {last}" if last else "the process was killed")
        return Failure(text=report["error"], errno=report["errno"]) if "error" in report else report

    def close(self) -> None:
        """End it if it still runs, and let go of everything."""
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()


@contextlib.contextmanager
def layer(upper: Path) -> Generator[Child]:
    """Have an overlay's writable directory written as an OCI layer; `source` is the tar."""
    child = Child({"verb": "layer", "root": str(upper)})
    try:
        yield child
    finally:
        child.close()


def check(child: Child, doing: str) -> None:
    """Wait for the end of the work. KernelError says what was being done, and why it failed."""
    report = child.report()
    if isinstance(report, Failure):
        raise KernelError(f"{doing}: {report.text}")
