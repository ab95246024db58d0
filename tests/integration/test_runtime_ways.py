"""What of an OCI runtime is not run as a program: letting go, forgetting, compiling a filter that is known."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from engine.runtime import cgroups
from engine.runtime.filters import ANNOTATION, PROGRAM
from engine.runtime.probe import Choice
from tests.integration.runtime_lab import Lab, busybox, choice, lab

__all__ = ("busybox", "choice", "lab")
pytestmark = pytest.mark.root

# unshare(CLONE_NEWUSER), by the number it has for 32-bit programs; exits with its error number.
UNSHARE_32 = bytes.fromhex("b836010000 bb00000010 cd80 f7d8 89c3 b801000000 cd80")


def program_32(code: bytes) -> bytes:
    """A 32-bit executable of x86 with this code and nothing else."""
    base, size = 0x08048000, 52 + 32 + len(code)
    header = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 3, 1, base + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return header + struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 4096) + code


def spied(lab: Lab, choice: Choice, folder: Path) -> Path:
    """Have the lab's runtime note what it is run for; the file of notes."""
    notes, script = folder / "notes", folder / choice.name
    script.write_text(f'#!/bin/sh\necho "$*" >> {notes}\nexec {choice.binary} "$@"\n')
    script.chmod(0o755)
    lab.runtime.close()
    lab.choice = replace(choice, binary=str(script))
    lab.runtime = lab.open()
    return notes


def test_a_life_takes_one_run_of_the_runtime(lab: Lab, choice: Choice, tmp_path: Path) -> None:
    notes = spied(lab, choice, tmp_path)
    container = lab.start("sh", "-c", "echo here; exit 3")
    assert container.output() == "here\n"
    assert container.wait() == 3
    lab.runtime.delete(container.id)
    assert [line.split()[2] for line in notes.read_text().splitlines()] == ["create"]
    assert lab.runtime.state(container.id) is None
    group = cgroups.container_path(container.id).lstrip("/")
    assert not any((tree / group).exists() for tree in lab.hierarchy.trees)


def test_what_outlives_the_first_process_ends_with_the_container(lab: Lab) -> None:
    """Without a process namespace of its own the kernel ends nobody for it."""
    container = lab.start("sh", "-c", "sleep 600 & echo $!", host={"PidMode": "host"})
    assert container.session is not None
    pid = int(container.until(b"\n"))
    container.session.close()
    container.wait()
    assert Path(f"/proc/{pid}").exists()
    lab.runtime.delete(container.id, force=True)
    left = Path(f"/proc/{pid}/stat")
    assert not left.exists() or left.read_text().rsplit(")", 1)[1].split()[0] in "ZX"


def test_a_filter_is_the_same_whether_compiled_now_or_before(lab: Lab, choice: Choice) -> None:
    (lab.layer / "bin" / "unshare32").write_bytes(program_32(UNSHARE_32))
    (lab.layer / "bin" / "unshare32").chmod(0o755)
    found: list[tuple[int, str]] = []
    programs: list[bytes] = []
    for _ in range(2):
        container = lab.start(
            "sh", "-c", "grep Seccomp: /proc/self/status; unshare32; echo $? end; read x", config={"OpenStdin": True}
        )
        output = container.until(b"end\n")
        records = lab.folder / "runtime" / container.id
        programs += [(records / PROGRAM).read_bytes()] if (records / PROGRAM).exists() else []
        config = (container.bundle / "config.json").read_text()
        found.append((config.count(ANNOTATION), output.decode()))
        container.say("\n")
        container.wait()
    ready = 1 if choice.name == "crun" else 0
    assert found == [(0, "Seccomp:\t2\n1 end\n"), (ready, "Seccomp:\t2\n1 end\n")]
    assert len(programs) == 2 * ready
    assert len(set(programs)) == ready
