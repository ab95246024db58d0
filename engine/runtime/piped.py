"""One more process in a container, held by crun alone: its standard streams are pipes of ours, no monitor between.

crun hands the pipes on to the process, stays as our child while it runs, and ends as it ended. Compared with an exec
under conmon that saves the start of one more program and half of the time. What it gives up is a life beyond ours: when
the daemon ends the process goes on, but nobody reads what it writes (SIGPIPE). No terminal can be had this way, and
runc copies streams through pipes of its own, which it reads to their end, whoever holds them: those need the monitor.

One more pipe is both crun's log and its file of process ids, so that the first bytes say how the start went: a number,
or crun's complaint. The description of the process is a file in memory. Both are named by way of /proc/self/fd.

Starts processes (vfork, never fork), reads and writes pipes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from engine.model import Json
from engine.runtime.conmon import START_TIMEOUT, RuntimeRefused
from engine.runtime.pipes import CAPACITY, PipeSession
from netpy.errors import KernelError
from netpy.faults import point


class PipedProcess:
    """A process under crun. `session` is None for a detached one."""

    def __init__(self, runtime: subprocess.Popen[bytes], pid: int, session: PipeSession | None, report: int) -> None:
        self.pid = pid
        self.session = session
        self._runtime = runtime
        self._report = report

    def wait(self) -> int:
        """Block until the process has ended; its exit code. Output may still be waiting in the session."""
        code = self._runtime.wait()
        os.close(self._report)  # not earlier: crun may have more to say, and would die of it
        return code if code >= 0 else 128 - code

    def resize(self, rows: int, columns: int) -> None:
        """It has no terminal."""


def start(runtime: Sequence[str], id: str, process: Json, *, stdin: bool, detach: bool) -> PipedProcess:
    """Run `process` in the container; `runtime` is crun and its global options.

    Raises RuntimeRefused with crun's words, KernelError when crun cannot be run.
    """
    with ExitStack() as ours, ExitStack() as theirs:
        report, told = _pipe(ours, theirs)
        wish = os.memfd_create("process", os.MFD_CLOEXEC)
        theirs.callback(os.close, wish)
        os.write(wish, json.dumps(process).encode())
        read, feed = _pipe(theirs, ours) if stdin else (subprocess.DEVNULL, None)
        outputs = [] if detach else [_pipe(ours, theirs), _pipe(ours, theirs)]
        told_at = f"/proc/self/fd/{told}"
        command = [*runtime, "--log", told_at, "exec", "--pid-file", told_at, "-p", f"/proc/self/fd/{wish}", id]
        point("before an exec")
        child = _spawned(command, (told, wish), [read, *(theirs for _, theirs in outputs)])
        theirs.close()
        pid = _started(report, child)
        point("after an exec")
        session = None
        if outputs:
            session = PipeSession(os.pidfd_open(child.pid), feed, *(our for our, _ in outputs))
        ours.pop_all()
    return PipedProcess(child, pid, session, report)


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """A pipe, whose ends are closed with what is given for each."""
    ends = os.pipe()
    for stack, fd in zip((reader, writer), ends, strict=True):
        stack.callback(os.close, fd)
    return ends


def _spawned(command: Sequence[str], passed: tuple[int, int], streams: Sequence[int]) -> subprocess.Popen[bytes]:
    stdin, stdout, stderr = streams if len(streams) > 1 else [*streams, subprocess.DEVNULL, subprocess.DEVNULL]
    try:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=passed,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            # Its group is the process's, too: a `kill 0` in the container reaches no further.
            start_new_session=True,
        )
    except OSError as error:
        raise KernelError(f"cannot start {command[0]}: {error.strerror}") from None


def _started(report: int, child: subprocess.Popen[bytes]) -> int:
    """The number of the process. Raises RuntimeRefused."""
    text = b""
    heard = select.poll()
    heard.register(report, select.POLLIN)
    while heard.poll(START_TIMEOUT * 1000) and (piece := os.read(report, CAPACITY)):
        text += piece
        if text.isdigit():
            return int(text)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # it has ended, or hangs
    child.wait()
    raise RuntimeRefused(text.decode(errors="replace") or f"the OCI runtime failed with code {child.returncode}")
