"""Kills a process at one of its system calls: `python -m scripts.tortures.crash_tracer FILE PLACE < ID`.

Follows all threads of the process, not its children, by ptrace. Every call that leaves something behind
(`scripts.tortures.crash_calls`) is added to FILE before it is made: its name, ` #` and a number. The process is killed
instead of making the one that PLACE tells; `-` kills at none. Says `ready` on standard output as soon as it follows.
When it is ended, by SIGTERM, the process goes on by itself.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from scripts.tortures.crash_calls import NAMES, Process, name_of

_CONT_SYSCALL, _SEIZE, _INTERRUPT, _SYSCALL_INFO = 24, 0x4206, 0x4207, 0x420E
_OPTIONS = 0x1 | 0x8  # system call stops can be told from signals, and new threads are followed from their beginning
_ENTERING = 1
_AT_CALL = signal.SIGTRAP | 0x80
_WALL = 0x40000000
_INFO = struct.Struct("=B3xI2Q7Q")  # what kind of stop, machine, instruction, stack, number and arguments

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, task: int, address: int = 0, data: object = 0) -> int:
    """The result, or -1: a task may have ended meanwhile."""
    return int(_libc.ptrace(request, task, address, data))


@functools.cache
def _name(number: int) -> str:
    """The name of a system call, as libseccomp knows it for this machine."""
    resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_num_arch
    resolve.restype = ctypes.c_char_p
    found: bytes | None = resolve(0, number)
    return found.decode() if found else ""


def follow(pid: int) -> set[int]:
    """Begin to trace every thread there is, and those that it makes; the threads that are yet to stop."""
    followed: set[int] = set()
    while new := {int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()} - followed:
        for task in new:
            if _ptrace(_SEIZE, task, 0, _OPTIONS) == 0:
                _ptrace(_INTERRUPT, task)
        followed |= new
    return followed


def calls(pid: int, unstopped: set[int]) -> Iterator[str]:
    """The name of each call that leaves something behind, before it is made; until the process has ended."""
    process = Process(pid)
    buffer = ctypes.create_string_buffer(_INFO.size)
    while True:
        try:
            task, status = os.waitpid(-1, _WALL)
        except ChildProcessError:
            return
        if task in unstopped:
            unstopped.discard(task)
            if not unstopped:
                print("ready", flush=True)
        if os.WIFSTOPPED(status):
            if status >> 8 == _AT_CALL and (name := _entered(process, task, buffer)):
                yield name
            _ptrace(_CONT_SYSCALL, task, 0, _signal(status))


def _signal(status: int) -> int:
    """The signal that a thread was stopped by, and is to get; 0 where it was stopped by us."""
    return 0 if status >> 16 or status >> 8 in (_AT_CALL, signal.SIGTRAP) else os.WSTOPSIG(status)


def _entered(process: Process, task: int, buffer: ctypes.Array[ctypes.c_char]) -> str:
    if _ptrace(_SYSCALL_INFO, task, _INFO.size, ctypes.addressof(buffer)) <= 0:
        return ""
    kind, _, _, _, number, *arguments = _INFO.unpack(buffer.raw)
    if kind != _ENTERING or (call := _name(number)) not in NAMES:
        return ""
    return name_of(process, call, arguments)


def main() -> None:
    passed, wanted = Path(sys.argv[1]), sys.argv[2]
    pid = int(sys.stdin.readline())
    reached: Counter[str] = Counter()
    with open(passed, "a", buffering=1) as seen:
        for name in calls(pid, follow(pid)):
            reached[name] += 1
            place = f"{name} #{reached[name]}"
            seen.write(f"{place}\n")
            if place == wanted:
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
