"""What a machine can run out of, each as a context: inside of it the daemon lacks it, afterwards it is back.

Disk and descriptors are really used up, processes are limited by a control group. What cannot be used up without
hurting the rest of the machine is refused by strace: one system call of the daemon fails as the kernel would fail it.
"""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.tortures.crash_stage import Stage
from tests.e2e.world import eventually

Within = Callable[[Stage], AbstractContextManager[None]]
FILL = "fill"


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that is missing, in words, and how."""

    name: str
    within: Within


def disk(spare: int) -> Lack:
    """The file system of the data root has `spare` KiB left."""

    @contextmanager
    def within(stage: Stage) -> Iterator[None]:
        filler = stage.daemon.data_root / FILL
        with open(filler, "wb", buffering=0) as file:
            try:
                while file.write(bytes(1 << 16)):
                    pass
            except OSError:
                pass
            file.truncate(max(0, file.tell() - spare * 1024))
        try:
            yield
        finally:
            filler.unlink()

    return Lack(f"{spare} KiB of disk", within)


def descriptors(spare: int) -> Lack:
    """The daemon may open `spare` more files."""

    @contextmanager
    def within(stage: Stage) -> Iterator[None]:
        pid = _pid(stage)
        used = max(int(link.name) for link in Path(f"/proc/{pid}/fd").iterdir()) + 1
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + spare, hard))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

    return Lack(f"{spare} descriptors", within)


def processes(spare: int) -> Lack:
    """The daemon may have `spare` more threads and processes."""

    @contextmanager
    def within(stage: Stage) -> Iterator[None]:
        group = Path(f"/sys/fs/cgroup/pids/netpy-torture-{stage.world.root.name}")
        group.mkdir()
        pid = _pid(stage)
        home = Path("/sys/fs/cgroup/pids/cgroup.procs")
        try:
            (group / "cgroup.procs").write_text(str(pid))
            used = int((group / "pids.current").read_text())
            (group / "pids.max").write_text(str(used + spare))
            yield
        finally:
            (group / "pids.max").write_text("max")
            for left in (group / "cgroup.procs").read_text().split():
                try:
                    home.write_text(left)
                except ProcessLookupError:
                    continue
            eventually(lambda: not (group / "cgroup.procs").read_text(), "the control group is empty")
            group.rmdir()

    return Lack(f"{spare} processes", within)


def refusal(call: str, error: str, nth: int) -> Lack:
    """The nth of these system calls in a thread of the daemon fails."""

    @contextmanager
    def within(stage: Stage) -> Iterator[None]:
        inject = f"inject={call}:error={error}:when={nth}"
        command = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-p",
            str(_pid(stage)),
            "-e",
            f"trace={call}",
            "-e",
            inject,
        ]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        eventually(lambda: _traced(_pid(stage), tracer.pid), "strace is attached")
        try:
            yield
        finally:
            tracer.terminate()
            tracer.communicate(timeout=20)

    return Lack(f"{call} refused with {error}, call {nth}", within)


def _traced(pid: int, tracer: int) -> bool:
    """Whether every thread of the daemon has that tracer."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            if f"TracerPid:\t{tracer}\n" not in (task / "status").read_text():
                return False
        except FileNotFoundError:
            continue
    return True


def _pid(stage: Stage) -> int:
    """The daemon itself; what started it has become it."""
    assert stage.daemon.process
    return stage.daemon.process.pid


def lacks() -> Iterator[Lack]:
    """All that are tried with every operation, those that hit most first."""
    for spare in (0, 8, 64):
        yield disk(spare)
    for spare in (0, 2, 4, 8, 14):
        yield descriptors(spare)
    for spare in (0, 1, 2, 4):
        yield processes(spare)
    for nth in (1, 2, 4):
        yield refusal("pwrite64", "ENOSPC", nth)
    yield refusal("clone,clone3,vfork", "EAGAIN", 1)  # of what is started each has its own first: the container as well
    for call, error in (
        ("mkdir,mkdirat", "ENOSPC"),
        ("rename,renameat2", "ENOSPC"),
        ("unshare", "ENOSPC"),
        ("mount,fsopen,fsmount,move_mount", "ENOMEM"),
        ("socket", "EMFILE"),
        ("sendto,sendmsg", "ENOBUFS"),
        ("setns", "ENOMEM"),
    ):
        for nth in (1, 2):
            yield refusal(call, error, nth)
