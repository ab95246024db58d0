"""Starting conmon, the monitor that stands between the engine and one container process.

conmon runs the OCI runtime, keeps the process's standard streams, its log and its exit code, and lives on when the
daemon dies. The protocol, as this module speaks it:

* Two pipes are handed over by number in the environment. conmon waits for a byte on _OCI_STARTPIPE before it does
  anything, and reports on _OCI_SYNCPIPE: one JSON line with the process id, or with a negative number and the
  runtime's error text. For an exec a second line follows, with the exit code. An exec that is to be attached to has
  a third pipe, _OCI_ATTACHPIPE, which speaks when the attach socket is there, before the process starts; a second
  byte on the start pipe lets it go on.
* Files in the bundle directory: `attach` (a SOCK_SEQPACKET socket; `engine.runtime.attach`), `ctl` (a FIFO: `1 ROWS
  COLUMNS` resizes the terminal, `2 0 0` begins a new log file), `pidfile`, `conmon.pid`, `oom`, and after the end a
  file named after the container that holds the exit code. `--full-attach` puts the socket into the bundle; elsewhere
  its path would have to fit in the 108 bytes of a socket address.
* conmon forks away at once: the process we start ends when the monitor runs.

Starts processes (vfork, never fork) and reads files; decides nothing about containers.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from netpy.errors import KernelError
from netpy.faults import point

ATTACH_SOCKET, CONTROL, PIDFILE, MONITOR_PIDFILE, OOM = "attach", "ctl", "pidfile", "conmon.pid", "oom"
KILLED = 128 + signal.SIGKILL  # the exit code where only that is known
START_TIMEOUT = 120.0  # seconds; what a runtime may take at most on a machine that swaps


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where the output of a container goes besides its clients: a file, or with `journal` the system's journal.

    conmon starts the file over when it has `bound` bytes; 0 for never. `name` and `tag` are how the journal names the
    container and marks its lines.
    """

    path: Path | None = None
    bound: int = 0
    journal: bool = False
    name: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One start of conmon. `directory` is where its files are kept; `runtime` the OCI runtime's path, and
    `runtime_args` what stands before its command, such as `--root`. `log` None keeps no log.

    `stdin`: none (/dev/null), open (stays open when a client leaves), or once (the first client's end is the end).
    `process_spec` makes it an exec of the file's process; `attach` then prepares the socket before the process starts.
    """

    conmon: str
    runtime: str
    runtime_args: Sequence[str]
    id: str
    name: str
    directory: Path
    bundle: Path
    log: Sink | None
    tty: bool
    stdin: str
    process_spec: Path | None = None
    attach: bool = False


class RuntimeRefused(KernelError):
    """The OCI runtime did not make the process; the text is its own."""


@dataclass(slots=True)
class Started:
    """What conmon told us. `sync` stays open for an exec, to bring the exit code; the owner closes it."""

    pid: int
    monitor_pid: int
    sync: SyncPipe


class SyncPipe:
    """The lines conmon writes on _OCI_SYNCPIPE."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = b""

    def read(self, timeout: float | None = None) -> Mapping[str, object] | None:
        """The next report, or None when conmon has gone (or said nothing for `timeout` seconds)."""
        while b"\n" not in self._buffer:
            if timeout is not None and not self._ready(timeout):
                return None
            chunk = os.read(self._fd, 65536)
            if not chunk:
                break
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        with suppress(ValueError):
            return cast("Mapping[str, object]", json.loads(line))
        return None

    def _ready(self, timeout: float) -> bool:
        poll = select.poll()  # select.select takes no descriptor above 1023
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def arguments(launch: Launch) -> list[str]:
    """The command line of conmon. Pure."""
    directory = str(launch.directory)
    command = [launch.conmon, "--api-version", "1", "-c", launch.id, "-u", launch.id, "-n", launch.name]
    command += ["-r", launch.runtime, "-b", directory if launch.process_spec else str(launch.bundle)]
    command += ["-p", f"{directory}/{PIDFILE}", "-P", f"{directory}/{MONITOR_PIDFILE}"]
    command += ["--exit-dir", directory, "--persist-dir", directory, "--full-attach"]
    # The log is ours to lose: syncing it to disk would delay every exit by a flush.
    command += [*_log_arguments(launch.log), "--no-sync-log", "--log-level", "error"]
    command += [f"--runtime-arg={argument}" for argument in launch.runtime_args]
    if launch.tty:
        command.append("-t")
    if launch.stdin != "none":
        command.append("-i")
    if launch.stdin == "open":
        command.append("--leave-stdin-open")
    if launch.process_spec:
        command += ["-e", "--exec-process-spec", str(launch.process_spec)]
        command += ["--exec-attach"] if launch.attach else []
    return command


def _log_arguments(sink: Sink | None) -> list[str]:
    if sink and sink.journal:
        return ["-l", "journald:", *(["--log-tag", sink.tag] if sink.tag else [])]
    if sink is None or sink.path is None:
        return ["-l", "none"]
    return ["-l", f"k8s-file:{sink.path}", *(["--log-size-max", str(sink.bound)] if sink.bound else [])]


@contextmanager
def start(launch: Launch) -> Generator[Pending]:
    """Start conmon; in the body of the `with`, attach if wished, then call `Pending.go`. Pipes are closed at its end,
    but for the one that `go` hands over. Raises KernelError."""
    pipes = [_Pipe(), _Pipe(), _Pipe()]
    sync, begin, attach = pipes
    environment = {
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "_OCI_SYNCPIPE": str(sync.writer),
        "_OCI_STARTPIPE": str(begin.reader),
    }
    if launch.attach:
        environment["_OCI_ATTACHPIPE"] = str(attach.writer)
    try:
        point("before starting the monitor")
        try:
            process = subprocess.Popen(
                arguments(launch),
                pass_fds=(sync.writer, begin.reader, attach.writer),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=launch.directory,
                start_new_session=True,
            )
        except OSError as error:
            raise KernelError(f"cannot start {launch.conmon}: {error.strerror}") from None
        for end in (sync, begin, attach):
            end.close(end.child_end(begin))
        pending = Pending(launch, process, pipes)
        yield pending
    finally:
        for pipe in pipes:
            pipe.close_all()


class _Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def child_end(self, begin: _Pipe) -> str:
        return "reader" if self is begin else "writer"

    def close(self, end: str) -> None:
        fd = self.take(end)
        if fd >= 0:
            os.close(fd)

    def take(self, end: str) -> int:
        fd = cast("int", getattr(self, end))
        setattr(self, end, -1)
        return fd

    def close_all(self) -> None:
        self.close("reader")
        self.close("writer")


class Pending:
    """A conmon that waits for the word. Made by `start`."""

    def __init__(self, launch: Launch, process: subprocess.Popen[bytes], pipes: Sequence[_Pipe]) -> None:
        self._launch = launch
        self._process = process
        self._sync, self._begin, self._attach = pipes
        point("before the monitor begins")
        os.write(self._begin.writer, b"\0")
        point("after the monitor begins")
        # The process we started forks the monitor and ends; nothing is left to reap later.
        if process.wait() != 0:
            raise KernelError(f"conmon of {launch.name} ended with code {process.returncode} before it began")

    def ready(self) -> None:
        """Wait until the attach socket of an exec is there. Raises KernelError if conmon gave up."""
        pipe = SyncPipe(self._attach.take("reader"))
        try:
            if pipe.read(START_TIMEOUT) is None:
                raise KernelError(f"conmon of {self._launch.name} made no attach socket")
        finally:
            pipe.close()

    def go(self) -> Started:
        """Let the runtime make the process; wait for its id. Raises RuntimeRefused with the runtime's words."""
        if self._launch.attach:
            os.write(self._begin.writer, b"\0")
        sync = SyncPipe(self._sync.take("reader"))
        try:
            return self._started(sync)
        except BaseException:
            sync.close()
            raise

    def _started(self, sync: SyncPipe) -> Started:
        point("before the monitor reports")
        report = sync.read(START_TIMEOUT)
        point("after the monitor reports")
        if report is None:
            raise KernelError(f"conmon of {self._launch.name} ended without a report")
        number = int(cast("int", report.get("pid", report.get("data", -1))))
        if number <= 0:
            raise RuntimeRefused(str(report.get("message") or f"the OCI runtime failed with code {-number}"))
        return Started(number, read_number(self._launch.directory / MONITOR_PIDFILE) or 0, sync)


def read_number(path: Path) -> int | None:
    """The number in a file, or None where there is none (yet)."""
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def clear(directory: Path, container_id: str) -> None:
    """Remove what an earlier run left in a bundle directory, so that nothing stale can be taken for news."""
    for name in (ATTACH_SOCKET, CONTROL, PIDFILE, MONITOR_PIDFILE, OOM, "winsz", container_id):
        (directory / name).unlink(missing_ok=True)


def resize(directory: Path, rows: int, columns: int) -> None:
    """Tell the terminal its size. Does nothing once the monitor has gone."""
    _control(directory, b"1 %d %d\n" % (rows, columns))


def reopen_log(directory: Path, done: Callable[[], bool], patience: float, step: float) -> bool:
    """Have the monitor begin a new log file in the place of the old one; whether it has, by `done`, in time (seconds).

    False at once when the monitor has gone.
    """
    if not _control(directory, b"2 0 0\n"):
        return False
    end = time.monotonic() + patience
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(step)
    return True


def _control(directory: Path, line: bytes) -> bool:
    """A line for the monitor; whether there was one to read it."""
    try:
        # Without a reader the open fails at once, instead of waiting for one.
        fd = os.open(directory / CONTROL, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with suppress(OSError):
            return os.write(fd, line) == len(line)
    finally:
        os.close(fd)
    return False
