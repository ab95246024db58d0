"""Real containers: what goes in, what comes out, how they end, and what is left when they have."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.model import Json
from engine.oci import spec
from engine.runtime import attach, cgroups, logs, rootfs, stats
from engine.runtime.probe import probe
from engine.runtime.refusal import StartRefused
from engine.runtime.runtime import KILLED
from engine.streams import STDERR, STDOUT, Frame
from netpy.errors import Conflict, KernelError, NotFound, Unsupported
from netpy.faults import VARIABLE
from tests.integration.runtime_lab import PATIENCE, Lab, busybox, choice, lab

__all__ = ("busybox", "choice", "lab")
pytestmark = pytest.mark.root


def test_exit_codes_and_streams(lab: Lab) -> None:
    container = lab.start("sh", "-c", "echo out; echo err >&2; exit 7")
    frames = container.frames()
    assert sorted(frames, key=lambda frame: frame.stream) == [Frame(STDOUT, b"out\n"), Frame(STDERR, b"err\n")]
    assert container.wait() == 7
    assert container.results == [(7, False)]
    assert sorted(logs.read(container.log), key=lambda frame: frame.stream) == frames or len(frames) == 2


def test_the_program_waits_for_start(lab: Lab) -> None:
    container = lab.create("sh", "-c", "echo now")
    state = lab.runtime.state(container.id)
    assert state is not None
    assert state["status"] == "created"
    assert lab.runtime.alive(container.id)
    assert lab.runtime.pid(container.id) == state["pid"] == container.process.pid
    assert not container.log.exists() or container.log.read_bytes() == b""
    lab.runtime.start(container.id)
    assert container.output() == "now\n"
    assert container.wait() == 0
    lab.runtime.delete(container.id)
    assert lab.runtime.state(container.id) is None
    lab.runtime.delete(container.id)


def test_who_attaches_before_the_start_hears_the_first_word(lab: Lab) -> None:
    """A monitor that is slow to take us in would let a program that says one thing and ends say it to nobody."""
    container = lab.create("echo", "one word")
    monitor = container.process.monitor_pid
    sessions: list[Any] = []
    os.kill(monitor, signal.SIGSTOP)
    try:
        attaching = threading.Thread(
            target=lambda: sessions.append(lab.runtime.attach(container.id, tty=False, stdin=False))
        )
        attaching.start()
        attaching.join(0.3)
        assert attaching.is_alive(), "attached before the monitor knew of it"
    finally:
        os.kill(monitor, signal.SIGCONT)
    attaching.join(PATIENCE)
    lab.runtime.start(container.id)
    assert sessions[0].read() == Frame(STDOUT, b"one word\n")
    sessions[0].close()
    container.wait()


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH: unknown'),
        ("/no/such", 127, 'exec: "/no/such": stat /no/such: no such file or directory: unknown'),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied: unknown'),
        ("/etc", 126, 'exec: "/etc": '),
    ],
)
def test_a_program_that_cannot_run(lab: Lab, program: str, code: int, words: str) -> None:
    with pytest.raises(StartRefused) as caught:
        lab.create(program)
    assert caught.value.exit_code == code
    assert words in str(caught.value)
    assert str(caught.value).startswith("failed to create task for container: failed to create shim task: OCI runtime")


def test_standard_input_reaches_the_program_whole(lab: Lab) -> None:
    data = os.urandom(3_000_000)
    container = lab.start("sha256sum", config={"OpenStdin": True, "StdinOnce": True})
    session = container.session
    assert session is not None
    session.write(data)
    session.close_input()
    assert container.output().split()[0] == hashlib.sha256(data).hexdigest()
    assert container.wait() == 0


def test_without_standard_input_there_is_an_end_at_once(lab: Lab) -> None:
    assert lab.run("cat") == (0, "")


def test_an_open_input_outlives_its_clients(lab: Lab) -> None:
    container = lab.start("cat", config={"OpenStdin": True})
    container.say("one\n")
    assert container.until(b"\n") == b"one\n"
    assert container.session is not None
    container.session.close()
    container.session = lab.runtime.attach(container.id, tty=False, stdin=True)
    container.say("two\n")
    assert container.until(b"\n") == b"two\n"
    assert not container.ended.is_set()


def test_closing_a_session_wakes_its_reader(lab: Lab) -> None:
    container = lab.start("sleep", "600")
    found: list[Frame | None] = []
    session = container.session
    assert session is not None
    reader = threading.Thread(target=lambda: found.append(session.read()))
    reader.start()
    session.close()
    reader.join(PATIENCE)
    assert found == [None]


def test_a_terminal_and_its_size(lab: Lab) -> None:
    size = {"ConsoleSize": [30, 100]}
    container = lab.start("sh", config={"Tty": True, "OpenStdin": True, "StdinOnce": True}, host=size)
    container.say("stty size; echo is-$((1+1))\n")
    assert b"30 100" in container.until(b"is-2")
    lab.runtime.resize(container.id, 41, 113)
    # The new size arrives by way of the monitor: the shell says when.
    container.say("until stty size | grep -q '41 113'; do sleep 0.02; done; echo now-$((1+1))\n")
    container.until(b"now-2")
    container.say("exit 5\n")
    assert container.wait() == 5
    lab.runtime.resize(container.id, 1, 1)


def test_exec(lab: Lab) -> None:
    container = lab.start("sleep", "600", host={"CapDrop": ["NET_RAW"]})

    def run(command: list[str], *, stdin: bytes | None = None, **options: Any) -> tuple[int, list[Frame]]:
        body: Json = {"Cmd": command, **options}
        wish = spec.ExecRequest(options=body, container={}, host_config={}, hostname="h", facts=lab.facts)
        tty = bool(options.get("Tty"))
        done = lab.runtime.exec(container.id, spec.exec_process(wish), tty=tty, stdin=stdin is not None)
        assert done.session is not None
        assert done.pid > 0
        if stdin is not None:
            done.session.write(stdin)
            done.session.close_input()
        frames = list(iter(done.session.read, None))
        done.session.close()
        return done.wait(), frames

    code, frames = run(["sh", "-c", "echo $A; echo err >&2; exit 4"], Env=["A=1"])
    assert code == 4
    assert sorted(frames, key=lambda frame: frame.stream) == [Frame(STDOUT, b"1\n"), Frame(STDERR, b"err\n")]
    assert run(["cat"], stdin=b"x" * 100_000)[0] == 0
    code, frames = run(["tty"], Tty=True)
    assert (code, b"".join(frame.data for frame in frames)) == (0, b"/dev/pts/0\r\n")
    with pytest.raises(StartRefused, match=r'^OCI runtime exec failed: exec failed: .*exec: "nosuch": executable'):
        run(["nosuch"])
    wish = spec.ExecRequest(options={"Cmd": ["sh", "-c", "exit 9"]}, container={}, host_config={}, hostname="h")
    wish = replace(wish, facts=lab.facts)
    detached = lab.runtime.exec(container.id, spec.exec_process(wish), tty=False, stdin=False, detach=True)
    assert detached.session is None
    assert detached.wait() == 9
    assert list((container.bundle / "exec").iterdir()) == []
    # Whoever else holds the output does not hold us, and nothing of ours is open in there.
    assert run(["sh", "-c", "echo x; sleep 600 & exit 3"]) == (3, [Frame(STDOUT, b"x\n")])
    look = "for n in $(seq 3 999); do [ ! -e /proc/$$/fd/$n ] || echo $n; done"
    assert run(["sh", "-c", look]) == (0, [])


def test_an_exec_is_ended_with_what_it_started(lab: Lab) -> None:
    container = lab.start("sleep", "600")
    wish = spec.ExecRequest(
        options={"Cmd": ["sh", "-c", "sleep 601 & sleep 602 & echo ready; wait"]},
        container={},
        host_config={},
        hostname="h",
        facts=lab.facts,
    )
    made = lab.runtime.exec(container.id, spec.exec_process(wish), tty=False, stdin=False)
    assert made.session is not None
    assert made.session.read() == Frame(STDOUT, b"ready\n")
    assert len(cgroups.pids(cgroups.detect(), lab.runtime.cgroup(container.id))) == 4
    lab.runtime.kill_exec(container.id, made.pid)
    assert made.wait() == KILLED
    assert made.session.read() is None
    made.session.close()
    deadline = time.monotonic() + PATIENCE
    while len(cgroups.pids(cgroups.detect(), lab.runtime.cgroup(container.id))) > 1:
        assert time.monotonic() < deadline


def test_signals(lab: Lab) -> None:
    container = lab.start("sh", "-c", "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    container.until(b"ready\n")
    with pytest.raises(Conflict, match="is running"):
        lab.runtime.delete(container.id)
    lab.runtime.kill(container.id, signal.SIGTERM)
    assert container.wait() == 3
    with pytest.raises(NotFound, match="is not running"):
        lab.runtime.kill(container.id, signal.SIGTERM)


def test_kill_all(lab: Lab) -> None:
    container = lab.start("sh", "-c", "sleep 600 & sleep 600 & echo ready; wait")
    container.until(b"ready\n")
    assert len(cgroups.pids(lab.hierarchy, lab.runtime.cgroup(container.id))) == 3
    lab.runtime.kill(container.id, signal.SIGKILL, all=True)
    assert container.wait() == KILLED


def test_pause(lab: Lab) -> None:
    container = lab.start("sh", "-c", "while :; do echo tick; sleep 0.01; done")
    container.until(b"tick")
    lab.runtime.pause(container.id)
    assert cgroups.frozen(lab.hierarchy, lab.runtime.cgroup(container.id))
    state = lab.runtime.state(container.id)
    assert state is not None
    assert state["status"] == "paused"
    lab.runtime.resume(container.id)
    assert not cgroups.frozen(lab.hierarchy, lab.runtime.cgroup(container.id))
    container.until(b"tick")
    with pytest.raises(NotFound, match="is not running"):
        lab.runtime.pause("ff" * 32)


def test_logs_are_followed_to_the_end(lab: Lab) -> None:
    container = lab.start("sh", "-c", "echo one; read line; echo two", config={"OpenStdin": True, "StdinOnce": True})
    frames = logs.read(container.log, follow=True, stopped=container.ended.is_set)
    assert next(frames) == Frame(STDOUT, b"one\n")
    container.say("go\n")
    assert list(frames) == [Frame(STDOUT, b"two\n")]
    assert list(logs.read(container.log, tail=1)) == [Frame(STDOUT, b"two\n")]


def test_too_much_memory(lab: Lab) -> None:
    if not lab.facts.support.memory:
        pytest.skip("no memory controller")
    limit = {"Memory": 16 << 20, "MemorySwap": 16 << 20}
    container = lab.start("sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M", host=limit)
    assert container.wait() != 0
    assert container.results[0][1], "the kernel's kill was not noticed"


def test_limits_are_in_force(lab: Lab) -> None:
    container = lab.start("sleep", "600", host={"Memory": 64 << 20, "PidsLimit": 17, "NanoCpus": 500_000_000})
    group = lab.runtime.cgroup(container.id)

    def value(controller: str, v1: str, v2: str) -> str:
        name = v2 if lab.hierarchy.is_v2(controller) else v1
        return cgroups.read(lab.hierarchy.file(controller, group, name)).strip()

    assert value("memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert value("pids", "pids.max", "pids.max") == "17"
    assert value("cpu", "cpu.cfs_quota_us", "cpu.max") in ("50000", "50000 100000")
    subject = stats.Subject(id=container.id, name="x", cgroup=group, hierarchy=lab.hierarchy, pid=container.process.pid)
    document = stats.sample(subject)
    assert document["memory_stats"]["limit"] == 64 << 20
    assert document["pids_stats"]["limit"] == 17
    assert document["pids_stats"]["current"] >= 1


def test_a_container_that_an_earlier_daemon_started(lab: Lab) -> None:
    container = lab.start("sh", "-c", "read line; exit 8", config={"OpenStdin": True})
    lab.runtime.close()
    lab.runtime = lab.open()
    again, late = threading.Event(), threading.Event()
    codes: list[int] = []

    def report(event: threading.Event) -> Callable[[int, bool], None]:
        def told(code: int, oom: bool) -> None:
            codes.append(code)
            event.set()

        return told

    lab.runtime.watch(container.id, container.process.monitor_pid, report(again))
    session = lab.runtime.attach(container.id, tty=False, stdin=True)
    session.write(b"x\n")
    assert again.wait(PATIENCE)
    session.close()
    # And one that ended while nobody looked.
    lab.runtime.watch(container.id, container.process.monitor_pid, report(late))
    assert late.wait(PATIENCE)
    assert codes == [8, 8]
    with pytest.raises(NotFound, match="its monitor has gone"):
        attach.connect(container.bundle, tty=False, stdin=False)


def test_a_killed_monitor_takes_its_container_along(lab: Lab) -> None:
    container = lab.start("sleep", "600")
    os.kill(container.process.monitor_pid, signal.SIGKILL)
    assert container.wait() == KILLED
    assert not lab.runtime.alive(container.id)


def test_many_at_once(lab: Lab) -> None:
    results: dict[int, int] = {}
    lock = threading.Lock()

    def one(number: int) -> None:
        code, _ = lab.run("sh", "-c", f"exit {number}")
        with lock:
            results[number] = code

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {number: number for number in range(8)}


def test_nothing_is_left_open(lab: Lab) -> None:
    """Descriptors neither pile up here nor leak into containers."""
    lab.run("true")
    before = len(os.listdir("/proc/self/fd"))
    container = lab.start("ls", "/proc/self/fd")
    assert container.output().split() == ["0", "1", "2", "3"], "3 is the directory that ls reads"
    assert container.wait() == 0
    assert container.session is not None
    container.session.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_probe_finds_what_works(tmp_path: Path) -> None:
    folder = tmp_path / "probe"
    assert probe(folder).name in ("crun", "runc")
    with pytest.raises(Unsupported, match="nosuch is not installed: install the package nosuch"):
        probe(folder, "nosuch")
    with pytest.raises(Unsupported, match="/bin/true does not work on this host"):
        probe(folder, "/bin/true")
    assert not folder.exists()


def test_a_probe_clears_away_what_one_that_was_cut_off_has_left(tmp_path: Path) -> None:
    folder = tmp_path / "probe"
    killed = f"from pathlib import Path; from engine.runtime.probe import probe; probe(Path({str(folder)!r}))"
    armed = tmp_path / "faults"
    armed.write_text("before trying a runtime #1")
    ended = subprocess.run([sys.executable, "-c", killed], env={**os.environ, VARIABLE: str(armed)}, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert folder.exists()
    assert probe(folder).name in ("crun", "runc")
    assert not folder.exists()


def test_overlays(tmp_path: Path) -> None:
    layers = [tmp_path / f"layer{number}" / ("x" * 80) for number in range(60)]
    for number, layer in enumerate(layers):
        layer.mkdir(parents=True)
        (layer / f"f{number}").write_text("")
        (layer / "same").write_text(str(number))
    upper, work, target = tmp_path / "upper", tmp_path / "work", tmp_path / "target"
    try:
        rootfs.mount(layers, upper, work, target)
        rootfs.mount(layers, upper, work, target)
        assert len(list(target.iterdir())) == 61
        assert (target / "same").read_text() == "0", "the first layer is the topmost"
        (target / "new").write_text("x")
        assert (upper / "new").exists()
        with (target / "new").open():
            rootfs.unmount(target)
    finally:
        rootfs.unmount(target)
    assert not target.is_mount()
    with pytest.raises(KernelError, match="cannot mount an overlay on"):
        rootfs.mount([tmp_path / "nosuch"], upper, work, target)
