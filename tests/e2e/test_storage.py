"""Logs that are rotated, volumes, and what flags of `run` come to inside a container, through the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import NETPY, Daemon, World, eventually

pytestmark = pytest.mark.root
COUNT = "i=0; while [ $i -lt {} ]; do echo line $i; i=$((i+1)); [ $((i%20)) = 0 ] && usleep 2000; done; {}"


@pytest.fixture(scope="module")
def storage(world: World) -> Iterator[Daemon]:
    daemon = Daemon(world, name="storage")
    daemon.start()
    daemon.import_busybox()
    yield daemon
    daemon("volume", "prune", "-af")
    daemon.close()


@pytest.fixture
def netpy(storage: Daemon) -> Iterator[Daemon]:
    yield storage
    storage.clean()


def test_a_rotated_log_is_followed_without_a_gap_and_stays_small(netpy: Daemon) -> None:
    options = ("--log-opt", "max-size=5k", "--log-opt", "max-file=3")
    netpy("create", "--name", "talker", *options, "busybox", "sh", "-c", COUNT.format(2000, "echo end"))
    following = subprocess.Popen(
        [NETPY, "start", "-a", "talker"], env=netpy.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    eventually(lambda: netpy("inspect", "-f", "{{.State.Running}}", "talker") == "true", "it runs")
    followed = netpy("logs", "-f", "talker").splitlines()
    following.wait(30)
    assert followed[-1] == "end"
    numbers = [int(line.split()[1]) for line in followed[:-1]]
    assert numbers == list(range(numbers[0], 2000))
    kept = netpy("logs", "talker").splitlines()
    assert kept[-1] == "end" and len(kept) < 500 and kept == followed[-len(kept) :]
    assert netpy("logs", "-n", "3", "talker").splitlines() == ["line 1998", "line 1999", "end"]
    path = Path(netpy("inspect", "-f", "{{.LogPath}}", "talker"))
    files = list(path.parent.glob(f"{path.name}*"))
    assert len(files) <= 3 and all(file.stat().st_size < 6000 for file in files)


def test_rotation_outlives_the_daemon(netpy: Daemon) -> None:
    options = ("--log-opt", "max-size=2k", "--log-opt", "max-file=2")
    netpy("run", "-d", "--name", "talker", *options, "busybox", "sh", "-c", COUNT.format(100_000, "true"))
    path = Path(netpy("inspect", "-f", "{{.LogPath}}", "talker"))
    netpy.kill()
    size = path.stat().st_size
    eventually(lambda: path.stat().st_size > size + 20_000, "it goes on without a daemon")
    netpy.start()
    eventually(lambda: path.stat().st_size < 10_000 and Path(f"{path}.1").exists(), "the log is rotated again")


def test_log_drivers(netpy: Daemon) -> None:
    netpy("run", "--name", "quiet", "--log-driver", "none", "busybox", "echo", "hi")
    assert "configured logging driver does not support reading" in netpy.fails("logs", "quiet").stderr
    netpy("run", "--name", "local", "--log-driver", "local", "busybox", "echo", "hi")
    assert netpy("logs", "local") == "hi"
    assert "no log driver named 'x'" in netpy.fails("create", "--log-driver", "x", "busybox").stderr
    assert "unknown log opt 'x' for json-file" in netpy.fails("create", "--log-opt", "x=1", "busybox").stderr
    netpy("run", "--name", "told", "-l", "a=b", "--log-opt", "labels=a", "busybox", "echo", "hi")
    assert netpy("logs", "--details", "told") == "a=b hi"


def test_a_volume_is_filled_from_the_image_and_kept_while_it_is_used(netpy: Daemon) -> None:
    netpy("volume", "prune", "-a", "-f")  # of the tests before
    netpy("create", "--name", "maker", "busybox", "sh", "-c", "mkdir -m 700 /d; chown 7:8 /d; echo seed > /d/f")
    netpy("start", "-a", "maker")
    netpy("commit", "maker", "seeded")
    netpy("run", "-d", "--name", "user", "-v", "vol:/d", "-v", "/anonymous", "seeded", "sleep", "1000")
    assert netpy("exec", "user", "cat", "/d/f") == "seed"
    assert netpy("exec", "user", "stat", "-c", "%a %u %g", "/d") == "700 7 8"
    identity = netpy("inspect", "-f", "{{.Id}}", "user")
    assert f"remove vol: volume is in use - [{identity}]" in netpy.fails("volume", "rm", "vol").stderr
    assert netpy("run", "--rm", "-v", "empty:/d:nocopy", "seeded", "ls", "/d") == ""
    assert (
        netpy("run", "--rm", "--volumes-from", "user:ro", "seeded", "sh", "-c", "touch /d/x 2>/dev/null || echo ro")
        == "ro"
    )
    assert len(netpy("volume", "ls", "-q").split()) == 3
    netpy("rm", "-fv", "user")
    assert netpy("volume", "ls", "-q").split() == ["empty", "vol"]
    assert netpy("volume", "ls", "-q", "-f", "dangling=true").split() == ["empty", "vol"]


def test_a_file_system_of_its_own_is_mounted_while_it_is_used(netpy: Daemon) -> None:
    options = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=9")
    netpy("volume", "create", *options, "scratch")
    place = netpy("volume", "inspect", "-f", "{{.Mountpoint}}", "scratch")

    def mounted() -> bool:
        return f" {place} tmpfs " in Path("/proc/self/mounts").read_text()

    netpy("run", "-d", "--name", "one", "-v", "scratch:/s", "busybox", "sleep", "1000")
    netpy("exec", "one", "touch", "/s/x")
    netpy.kill()
    netpy.start()
    assert netpy("run", "--rm", "-v", "scratch:/s", "busybox", "ls", "/s") == "x"
    assert mounted()
    netpy("rm", "-f", "one")
    assert not mounted()
    netpy("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/nosuch", "broken")
    refused = netpy.fails("run", "--rm", "-v", "broken:/s", "busybox", "true").stderr
    assert "failed to mount local volume: mount /nosuch:" in refused and "no such file or directory" in refused


FLAGS = [
    ("--read-only --tmpfs /x:size=1m", "touch /x/a && ! touch /y 2>/dev/null && grep ' /x ' /proc/mounts | grep -o 'size=1024k'", "size=1024k"),
    ("--mount type=tmpfs,dst=/x,tmpfs-mode=700", "stat -c %a /x", "700"),
    ("--security-opt no-new-privileges", "grep -c 'NoNewPrivs:.1' /proc/self/status", "1"),
    ("--security-opt seccomp=unconfined", "grep -o 'Seccomp:.0' /proc/self/status | tr '\\t' ' '", "Seccomp: 0"),
    ("--cap-drop ALL --cap-add NET_BIND_SERVICE", "grep CapEff /proc/self/status | cut -f2", "0000000000000400"),
    ("--user 7:8 --group-add 9", "id -u; id -G", "7\n8 9"),
    ("--ulimit nofile=100:200", "ulimit -Sn; ulimit -Hn", "100\n200"),
    ("--sysctl net.ipv4.ip_forward=1", "cat /proc/sys/net/ipv4/ip_forward", "1"),
    ("--shm-size 1m", "grep ' /dev/shm ' /proc/mounts | grep -o 'size=1024k'", "size=1024k"),
    ("--ipc none", "ls -d /dev/shm 2>/dev/null | wc -l", "0"),
    ("--device /dev/null:/dev/hole:r", "cat /dev/hole; ls /dev/hole", "/dev/hole"),
    ("--oom-score-adj 500", "cat /proc/self/oom_score_adj", "500"),
    ("--hostname foo.bar", "hostname; grep foo /etc/hosts | cut -f2", "foo.bar\nfoo.bar foo"),
    ("--workdir /a/b -e A=1", "pwd; echo $A", "/a/b\n1"),
    ("--pid host", "cat /proc/2/comm", "kthreadd"),
    ("--privileged", "grep -o 'Seccomp:.0' /proc/self/status | wc -l", "1"),
]  # fmt: skip


def test_flags_of_run_are_seen_inside(netpy: Daemon) -> None:
    for flags, command, expected in FLAGS:
        assert netpy("run", "--rm", *flags.split(), "busybox", "sh", "-c", command) == expected, flags


def test_memory_is_shared_with_whom_it_is_shared(netpy: Daemon) -> None:
    netpy("run", "-d", "--name", "donor", "--ipc", "shareable", "busybox", "sleep", "1000")
    netpy("run", "--rm", "--ipc", "container:donor", "busybox", "touch", "/dev/shm/x")
    assert netpy("exec", "donor", "ls", "/dev/shm") == "x"
    netpy("run", "-d", "--name", "miser", "busybox", "sleep", "1000")
    assert "non-shareable IPC" in netpy.fails("run", "--rm", "--ipc", "container:miser", "busybox", "true").stderr


def test_disk_usage_and_everything_pruned(netpy: Daemon) -> None:
    netpy("run", "--name", "old", "-v", "/anonymous", "busybox", "sh", "-c", "head -c 100000 /dev/zero > /f")
    rows = {
        line.split("\t")[0]: line
        for line in netpy("system", "df", "--format", "{{.Type}}\t{{.TotalCount}}\t{{.Size}}").splitlines()
    }
    assert rows["Containers"].endswith("1\t100kB")
    assert "Local Volumes space usage:" in netpy("system", "df", "-v")
    told = netpy("system", "prune", "-f", "--volumes")
    assert told.startswith("Deleted Containers:\n") and "Deleted Volumes:\n" in told
    assert "Total reclaimed space: 100kB" in told
