"""One daemon per root: a lock on each of its directories, and the pid file that says who holds it.

The locks end with the process, however it ends, so that a stale file never stands in the way of the next start.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from netpy.errors import Conflict, KernelError
from netpy.faults import point

LOCK = "daemon.lock"
_ROOMS = ("containers", "runtime", "netns")


class Tenancy:
    """Holds the directories and the pid file until `close`."""

    def __init__(self, directories: Sequence[Path], pidfile: Path) -> None:
        self._pidfile = pidfile
        self._locks: list[int] = []
        try:
            for directory in directories:
                self._locks.append(_lock(directory))
            _write_pid(pidfile)
        except BaseException:
            self._unlock()
            raise

    def close(self) -> None:
        """Let go. The pid file is removed if it is still ours."""
        if _pid_in(self._pidfile) == os.getpid():
            self._pidfile.unlink(missing_ok=True)
        self._unlock()

    def _unlock(self) -> None:
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks.clear()


def _lock(directory: Path) -> int:
    """Lock a directory for this process. Conflict names the daemon that has it."""
    path = directory / LOCK
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KernelError(f"cannot use {directory}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise Conflict(f"another netpy daemon (pid {owner}) is already using {directory}") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _write_pid(path: Path) -> None:
    owner = _pid_in(path)
    if owner and owner != os.getpid() and _is_daemon(owner):
        raise Conflict(f"process with PID {owner} is still running: delete {path} if it is no netpy daemon")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        point("before writing the pid file")
        path.write_text(f"{os.getpid()}")
    except OSError as error:
        raise KernelError(f"cannot write the pid file {path}: {error.strerror}") from error


def _pid_in(path: Path) -> int:
    try:
        return int(path.read_text().strip() or 0)
    except (OSError, ValueError):
        return 0


def _is_daemon(pid: int) -> bool:
    """Whether a process of that number runs that could be a daemon of ours: numbers are used again after a reboot."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"netpy" in command or b"engine.daemon" in command


def close_to_others(data_root: Path, exec_root: Path) -> None:
    """Let nobody but root come to what containers are made of: secrets in configurations, set-user-id programs.

    The exec root itself may be passed through, since the API's socket lies there.
    """
    data_root.chmod(0o710)
    for name in _ROOMS:
        room = exec_root / name
        room.mkdir(mode=0o700, exist_ok=True)
        room.chmod(0o700)
