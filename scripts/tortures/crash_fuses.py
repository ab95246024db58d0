"""Two ways to have the daemon die in the midst of something, each at a place that is told by its name.

`Points` are those that the code itself names (`netpy.faults`). `Calls` know nothing of the code: they are the system
calls that leave something behind, seen from outside, and the daemon dies instead of making one. What the code does
between two points it does by such calls, so that nothing can be forgotten.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from scripts.tortures.crash_stage import Stage, settled

NONE = "-"  # only note which places are passed
_TREE = Path(__file__).resolve().parents[2]


class Fuse(Protocol):
    """One of the ways."""

    places: str  # what its places are called

    def light(self, stage: Stage, place: str) -> None:
        """From now on the daemon, or the one that is started next, dies at that place."""
        ...

    def put_out(self, stage: Stage) -> None:
        """It does not, any more."""
        ...

    def passed(self, stage: Stage) -> list[str]:
        """The places that were passed since it was lit."""
        ...


class Points:
    """The fault points of the code."""

    places = "points"

    def light(self, stage: Stage, place: str) -> None:
        stage.arm(place)

    def put_out(self, stage: Stage) -> None:
        stage.arm("")

    def passed(self, stage: Stage) -> list[str]:
        return stage.seen()


class Calls:
    """The system calls of the daemon that leave something behind."""

    places = "system calls"

    def __init__(self) -> None:
        self._tracer: subprocess.Popen[str] | None = None

    def light(self, stage: Stage, place: str) -> None:
        self._noted(stage).unlink(missing_ok=True)
        command = [sys.executable, "-m", "scripts.tortures.crash_tracer", str(self._noted(stage)), place]
        self._tracer = subprocess.Popen(
            command, cwd=_TREE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        if stage.dead():
            stage.at_launch = self._follow
        else:
            assert stage.daemon.process
            self._follow(stage.daemon.process.pid)

    def _follow(self, pid: int) -> None:
        assert self._tracer and self._tracer.stdin and self._tracer.stdout
        self._tracer.stdin.write(f"{pid}\n")
        said = self._tracer.stdout.readline()
        assert said == "ready\n", f"the daemon is traced: {said}"

    def put_out(self, stage: Stage) -> None:
        stage.at_launch = None
        tracer, self._tracer = self._tracer, None
        if tracer:
            tracer.terminate()
            tracer.communicate()
            assert tracer.returncode in (0, -signal.SIGTERM), f"the tracer failed: {tracer.returncode}"

    def passed(self, stage: Stage) -> list[str]:
        with suppress(FileNotFoundError):
            return self._noted(stage).read_text().splitlines()
        return []

    def _noted(self, stage: Stage) -> Path:
        return stage.world.root / "calls"


def quiet(stage: Stage, fuse: Fuse) -> list[str]:
    """The places passed, when for a while no more have been: what an answer does not wait for is done after it."""
    passed: list[list[str]] = [fuse.passed(stage)]

    def ended() -> bool:
        passed.append(fuse.passed(stage))
        return len(passed) > _LULL and passed[-1] == passed[-_LULL]

    settled(ended, 5)
    return passed[-1]


_LULL = 25  # looks of twenty milliseconds each
