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
from typing import IO, Any, Protocol

from netpy.errors import KernelError

Json = dict[str, Any]
CHUNK = 1 << 18
_PROGRAM = [sys.executable, "-I", "-S", "-X", "utf8", str(Path(__file__).with_name("program.py"))]


class Stream(Protocol):
    """Anything that is read to its end, such as a request's body."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why the work failed.

    `kind` is `system` (then `errno` tells more), `archive` (what we were given is bad), `place` or `read-only` (the
    destination is), or `fault`.
    """

    text: str
    kind: str = "fault"
    errno: int = 0


class Child:
    """A process at work; `source` and `sink` are our ends of its output and input. To be closed."""

    def __init__(self, order: Json, *, fed: bool = False, descriptors: tuple[int, ...] = ()) -> None:
        """Start on an order. `fed` children read their standard input from `sink`."""
        self._process = subprocess.Popen(
            [*_PROGRAM, json.dumps(order)],
            stdin=subprocess.PIPE if fed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
        )

    @property
    def source(self) -> IO[bytes]:
        """What it writes."""
        assert self._process.stdout is not None
        return self._process.stdout

    def feed(self, stream: Stream) -> None:
        """Give it all of a stream. One that stops reading stops the feeding: its report says why."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as sink:
            while piece := stream.read(CHUNK):
                sink.write(piece)

    def report(self) -> Json | Failure:
        """Wait for its end; what it said. All its output must have been read, or our end of it closed."""
        assert self._process.stderr is not None
        text = self._process.stderr.read().decode(errors="replace").strip()
        self._process.wait()
        try:
            report: Json = json.loads(text)
        except ValueError:
            last = text.rpartition("\n")[2]
            return Failure(text=f"the process at work was killed: {last}" if last else "the process at work was killed")
        if "error" in report:
            return Failure(text=report["error"], kind=report["kind"], errno=report.get("errno", 0))
        return report

    def close(self) -> None:
        """End it if it still runs, and let go of everything."""
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()


@contextlib.contextmanager
def working(order: Json, *, fed: bool = False, descriptors: tuple[int, ...] = ()) -> Generator[Child]:
    """A child for the time of a block."""
    child = Child(order, fed=fed, descriptors=descriptors)
    try:
        yield child
    finally:
        child.close()


def check(child: Child, doing: str) -> None:
    """Wait for the end of the work. KernelError says what was being done, and why it failed."""
    report = child.report()
    if isinstance(report, Failure):
        raise KernelError(f"{doing}: {report.text}")


def carry_out(order: Json, *, descriptors: tuple[int, ...] = ()) -> Failure | None:
    """Have an order carried out that neither takes nor gives a stream through us; what went wrong, if anything."""
    with working(order, descriptors=descriptors) as child:
        report = child.report()
        return report if isinstance(report, Failure) else None
