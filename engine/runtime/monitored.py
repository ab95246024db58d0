"""One more process in a container, held by conmon: for terminals, and for runtimes that do not hand on our pipes.

A directory of its own has what conmon wants and leaves: the description of the process, its socket and FIFO. It goes
with the process. Starts processes, reads and writes files.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

from engine.model import Json
from engine.runtime import attach, conmon
from engine.runtime.conmon import KILLED, Launch
from engine.streams import Session


class MonitoredProcess:
    """One more process in a container, with a monitor. `session` is None for a detached one; `wait` works once."""

    def __init__(self, pid: int, session: Session | None, directory: Path, sync: conmon.SyncPipe) -> None:
        self.pid = pid
        self.session = session
        self._directory = directory
        self._sync = sync

    def wait(self) -> int:
        """Block until the process has ended; its exit code. Output may still be waiting in the session."""
        report = self._sync.read()
        self._sync.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        if report is None:
            return KILLED  # the monitor was killed: nobody knows better
        return int(cast("int", report.get("exit_code", report.get("data", KILLED))))

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        conmon.resize(self._directory, rows, columns)


def start(launch: Launch, process: Json) -> MonitoredProcess:
    """Run `process`, as `launch` says, whose directory is made here. Raises RuntimeRefused with the runtime's words."""
    launch.directory.mkdir(parents=True)
    try:
        wish = launch.directory / "process.json"
        wish.write_text(json.dumps(process))
        return _started(replace(launch, process_spec=wish))
    except BaseException:
        shutil.rmtree(launch.directory, ignore_errors=True)
        raise


def _started(launch: Launch) -> MonitoredProcess:
    session: Session | None = None
    with conmon.start(launch) as pending:
        try:
            if launch.attach:
                pending.ready()
                session = attach.connect(launch.directory, tty=launch.tty, stdin=launch.stdin != "none")
            started = pending.go()
        except BaseException:
            if session is not None:
                session.close()
            raise
    return MonitoredProcess(started.pid, session, launch.directory, started.sync)
