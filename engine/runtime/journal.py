"""Output of containers in the system's journal: whether there is a journal, and reading a container's part of it.

conmon writes it, with the container's id in each entry. It is read by running `journalctl`, which is kept in step
with the journal's format. Starts that program and reads what it says; writes nothing.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack, cast

from engine.runtime.logs import Options, Record, frames_of
from engine.streams import STDERR, STDOUT, Frame
from netpy.errors import Unsupported

SOCKET = Path("/run/systemd/journal/socket")
_ERROR = "3"  # syslog's priority that conmon gives to standard error
_PATIENCE = 0.2  # seconds between two questions whether the container still lives


def is_there() -> bool:
    """Whether a journal takes messages on this host."""
    return SOCKET.exists()


class Output:
    """Frames of a container's entries, one by one. `close` ends a wait for more, from any thread."""

    def __init__(self, container: str, options: Options) -> None:
        self._program = _journalctl(container, options)
        self._frames = frames_of(self._records(), options)
        if options.get("follow"):
            stopped = options.get("stopped", lambda: True)
            threading.Thread(target=self._end_with, args=(stopped,), name="journal", daemon=True).start()

    def __iter__(self) -> Output:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    def close(self) -> None:
        """End the iteration. Idempotent; from any thread."""
        self._program.terminate()

    def _end_with(self, stopped: object) -> None:
        over = threading.Event()
        while self._program.poll() is None and not stopped():  # pyright: ignore
            over.wait(_PATIENCE)
        over.wait(_PATIENCE)  # what was said last is still on its way
        self.close()

    def _records(self) -> Iterator[Record]:
        assert self._program.stdout
        with self._program.stdout as lines:
            for line in lines:
                if record := parse(line):
                    yield record
        self._program.wait()


def read(container: str, **options: Unpack[Options]) -> Output:
    """The output of a container, oldest first, like `engine.runtime.logs.read`. Unsupported without journalctl."""
    return Output(container, options)


def _journalctl(container: str, options: Options) -> subprocess.Popen[bytes]:
    command = ["journalctl", "-q", "--no-pager", "-o", "json", f"CONTAINER_ID_FULL={container}"]
    tail, since, until = options.get("tail"), options.get("since"), options.get("until")
    command += ["-n", "all" if tail is None else str(tail)]
    command += [] if since is None else [f"--since=@{since:.6f}"]
    command += [] if until is None else [f"--until=@{until:.6f}"]
    command += ["-f"] if options.get("follow") else []
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError as error:
        raise Unsupported(f"the journal cannot be read: cannot run journalctl: {error.strerror}") from None


def parse(line: bytes) -> Record | None:
    """One entry as journalctl prints it; None for what is no entry. Text that is not UTF-8 comes as numbers."""
    try:
        entry = cast("dict[str, object]", json.loads(line))
        message = entry.get("MESSAGE") or ""
        text = message.encode() if isinstance(message, str) else bytes(cast("list[int]", message))
        moment = int(str(entry["__REALTIME_TIMESTAMP"])) * 1000
    except (ValueError, KeyError, TypeError):
        return None
    stream = STDERR if entry.get("PRIORITY") == _ERROR else STDOUT
    ends_line = entry.get("CONTAINER_PARTIAL_MESSAGE") != "true"
    # Some versions of conmon leave the line its end, others take it away.
    return Record(moment, stream, text.removesuffix(b"\n") + b"\n" * ends_line, ends_line)
