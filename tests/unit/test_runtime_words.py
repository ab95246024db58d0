"""What runtimes and conmon say and are told, without running them: messages, arguments, control groups, statistics."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from engine.runtime import cgroups, stats
from engine.runtime.cgroups import Hierarchy
from engine.runtime.conmon import Launch, Sink, SyncPipe, arguments, read_number
from engine.runtime.host import is_static, support
from engine.runtime.refusal import Action, StartFailed, StartRefused, explain
from engine.runtime.watcher import Watcher, open_pidfd
from netpy.errors import InvalidArgument

CREATE = "failed to create task for container: failed to create shim task: OCI runtime create failed: "


@pytest.mark.parametrize(
    ("runtime", "action", "said", "executable", "message", "code"),
    [
        (
            "runc",
            "create",
            'time="2026-11-21T12:35:51Z" level=warning msg="odd"\n'
            'time="2026-11-21T12:35:51Z" level=error msg="runc create failed: unable to start container process: '
            'exec: \\"nosuch\\": executable file not found in $PATH"\n',
            "nosuch",
            CREATE + "runc create failed: unable to start container process: "
            'exec: "nosuch": executable file not found in $PATH: unknown',
            127,
        ),
        (
            "crun",
            "create",
            "executable file `nosuch` not found in $PATH: No such file or directory",
            "nosuch",
            CREATE + "crun create failed: unable to start container process: "
            'exec: "nosuch": executable file not found in $PATH: unknown',
            127,
        ),
        (
            "crun",
            "create",
            "2026-11-21T12:35:51.123Z: executable file `/x/y` not found in $PATH: No such file or directory",
            "/x/y",
            CREATE + "crun create failed: unable to start container process: "
            'exec: "/x/y": stat /x/y: no such file or directory: unknown',
            127,
        ),
        (
            "crun",
            "exec",
            "open executable: Permission denied",
            "/etc/passwd",
            'OCI runtime exec failed: exec failed: unable to start container process: exec: "/etc/passwd": '
            "permission denied: unknown",
            126,
        ),
        ("crun", "create", "setrlimit: no", "sh", CREATE + "setrlimit: no: unknown", 128),
        ("crun", "create", "", "sh", CREATE + "the OCI runtime gave no reason: unknown", 128),
    ],
)
def test_refusals(runtime: str, action: Action, said: str, executable: str, message: str, code: int) -> None:
    refusal = explain(said, runtime=runtime, action=action, executable=executable)
    assert (refusal.message, refusal.exit_code) == (message, code)
    error = refusal.error()
    assert isinstance(error, StartFailed if code == 128 else StartRefused)
    assert isinstance(error, InvalidArgument) == (code != 128)


def test_the_command_line_of_conmon(tmp_path: Path) -> None:
    launch = Launch(
        conmon="/usr/bin/conmon",
        runtime="/usr/bin/crun",
        runtime_args=("--root", "/run/x"),
        id="ab",
        name="a",
        directory=tmp_path,
        bundle=tmp_path,
        log=Sink(path=tmp_path / "log", bound=7),
        tty=True,
        stdin="open",
    )
    command = arguments(launch)
    assert {"-t", "-i", "--leave-stdin-open", "--runtime-arg=--root", "--full-attach"} <= set(command)
    assert f"k8s-file:{tmp_path}/log" in command
    assert command[command.index("--log-size-max") + 1] == "7"
    assert "-e" not in command


def test_reports_on_the_sync_pipe() -> None:
    reader, writer = os.pipe()
    pipe = SyncPipe(reader)
    try:
        os.write(writer, b'{"pid": 7}\n{"exit_')
        assert pipe.read(5) == {"pid": 7}
        assert pipe.read(0) is None
        os.write(writer, b'code": 3}\n')
        assert pipe.read(5) == {"exit_code": 3}
        os.write(writer, b"rubbish\n")
        assert pipe.read(5) is None
        os.close(writer)
        assert pipe.read(5) is None
    finally:
        pipe.close()
        pipe.close()


def test_a_number_that_is_not_there(tmp_path: Path) -> None:
    assert read_number(tmp_path / "none") is None
    (tmp_path / "empty").write_text("")
    assert read_number(tmp_path / "empty") is None


V1 = """\
30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
"""
UNIFIED = "34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V2 = "31 20 0:27 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_hierarchies() -> None:
    old = cgroups.hierarchy_of(V1, "")
    assert old.version == "v1"
    assert old.directories["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert len(old.trees) == 3
    mixed = cgroups.hierarchy_of(V1 + UNIFIED, "hugetlb\n")
    assert mixed.version == "hybrid"
    assert mixed.is_v2("hugetlb")
    assert not mixed.is_v2("memory")
    new = cgroups.hierarchy_of(V2, "cpu io memory pids\n")
    assert new.version == "v2"
    assert new.file("memory", "/netpy-x", "memory.max") == Path("/sys/fs/cgroup/netpy-x/memory.max")
    assert new.file("freezer", "/netpy-x", "f") is None
    assert support(new).memory
    assert not support(old).pids


def test_paths_of_groups() -> None:
    assert cgroups.container_path("ab") == "/netpy-ab"
    assert cgroups.container_path("ab", "/my/parent/") == "/my/parent/netpy-ab"


def fake(tmp_path: Path, files: dict[str, str], *, v2: bool) -> stats.Subject:
    """A control group as plain files: the format is the kernel's, the place is ours."""
    for name, text in files.items():
        path = tmp_path / "g" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    names = frozenset(["cpu", "cpuacct", "memory", "pids", "io", "blkio", "freezer"])
    hierarchy = Hierarchy(
        version="v2" if v2 else "v1",
        directories=dict.fromkeys(names, tmp_path),
        trees=(tmp_path,),
        unified=names if v2 else frozenset(),
    )
    return stats.Subject(id="ab", name="web", cgroup="/g", hierarchy=hierarchy, pid=os.getpid())


def test_statistics_of_v2(tmp_path: Path) -> None:
    files = {
        "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 1\nthrottled_usec 5\n",
        "memory.current": "4096\n",
        "memory.max": "max\n",
        "memory.stat": "anon 7\ninactive_file 100\n",
        "memory.events": "oom 2\noom_kill 1\n",
        "pids.current": "3\n",
        "pids.max": "max\n",
        "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16\n",
        "cgroup.freeze": "1\n",
        "cgroup.procs": "12\n7\n",
    }
    subject = fake(tmp_path, files, v2=True)
    document = stats.sample(subject)
    assert document["cpu_stats"]["cpu_usage"]["total_usage"] == 30_000
    assert document["cpu_stats"]["throttling_data"]["throttled_time"] == 5_000
    assert document["cpu_stats"]["system_cpu_usage"] > 0
    assert document["memory_stats"]["usage"] == 4096
    assert document["memory_stats"]["stats"]["inactive_file"] == 100
    assert document["memory_stats"]["limit"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert "max_usage" not in document["memory_stats"]
    assert document["pids_stats"] == {"current": 3}
    assert document["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 0, "op": "read", "value": 10},
        {"major": 8, "minor": 0, "op": "write", "value": 20},
    ]
    assert "lo" not in document["networks"]
    later = stats.sample(subject, document)
    assert (later["preread"], later["precpu_stats"]) == (document["read"], document["cpu_stats"])
    assert cgroups.oom_kills(subject.hierarchy, "/g") == 1
    assert cgroups.frozen(subject.hierarchy, "/g")
    assert cgroups.pids(subject.hierarchy, "/g") == [7, 12]


def test_statistics_of_v1(tmp_path: Path) -> None:
    files = {
        "cpuacct.usage": "92130047\n",
        "cpuacct.usage_percpu": "1 2 \n",
        "cpuacct.stat": "user 3\nsystem 5\n",
        "cpu.stat": "nr_periods 30\nnr_throttled 2\nthrottled_time 9\n",
        "memory.usage_in_bytes": "100\n",
        "memory.max_usage_in_bytes": "200\n",
        "memory.limit_in_bytes": "1024\n",
        "memory.stat": "cache 1\ntotal_inactive_file 2\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
        "pids.current": "2\n",
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 5\n8:0 Total 5\nTotal 5\n",
        "freezer.state": "THAWED\n",
    }
    subject = fake(tmp_path, files, v2=False)
    document = stats.sample(subject)
    usage = document["cpu_stats"]["cpu_usage"]
    assert (usage["total_usage"], usage["percpu_usage"]) == (92130047, [1, 2])
    assert usage["usage_in_kernelmode"] == 5 * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert document["memory_stats"]["limit"] == 1024
    assert document["memory_stats"]["max_usage"] == 200
    assert len(document["blkio_stats"]["io_service_bytes_recursive"]) == 2
    assert cgroups.oom_kills(subject.hierarchy, "/g") == 0
    assert not cgroups.frozen(subject.hierarchy, "/g")


def test_statistics_of_what_has_gone(tmp_path: Path) -> None:
    document = stats.sample(fake(tmp_path, {}, v2=True))
    assert document["memory_stats"] == {}
    assert document["pids_stats"] == {}
    assert document["cpu_stats"]["cpu_usage"]["total_usage"] == 0


def test_counters_of_interfaces() -> None:
    header = "Inter-|   Receive\n face |bytes\n"
    line = "  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
    found = stats.networks(header + "    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n" + line)
    assert found == {
        "eth0": {
            "rx_bytes": 1,
            "rx_packets": 2,
            "rx_errors": 3,
            "rx_dropped": 4,
            "tx_bytes": 9,
            "tx_packets": 10,
            "tx_errors": 11,
            "tx_dropped": 12,
        }
    }


def test_only_a_static_program_can_be_init_anywhere(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n" + "x" * 100)
    assert not is_static(script)
    assert not is_static(tmp_path / "none")
    assert not is_static(Path("/bin/sh").resolve())


def test_the_watcher_tells_each_end_once() -> None:
    watcher = Watcher()
    told: list[int] = []
    both = threading.Event()
    lock = threading.Lock()

    def ended(number: int) -> None:
        with lock:
            told.append(number)
            if len(told) == 2:
                both.set()

    children: list[int] = []
    gates: list[int] = []
    try:
        for number in range(2):
            reader, writer = os.pipe()
            pid = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)])
            os.close(reader)
            children.append(pid)
            gates.append(writer)
            pidfd = open_pidfd(pid, lambda: True)
            assert pidfd is not None
            watcher.add(pidfd, lambda number=number: ended(number))
        assert told == []
        for writer in gates:
            os.close(writer)
        assert both.wait(10)
        assert sorted(told) == [0, 1]
    finally:
        for pid in children:
            os.waitpid(pid, 0)
        watcher.close()


def test_a_reused_number_is_not_believed() -> None:
    assert open_pidfd(os.getpid(), lambda: False) is None
    assert open_pidfd(2**22 + 1, lambda: True) is None
