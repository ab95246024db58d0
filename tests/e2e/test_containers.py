"""Containers through the command line: life, exit codes, streams, files and limits."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.world import NETPY, Daemon, eventually

pytestmark = pytest.mark.root


def test_exit_codes_are_dockers(netpy: Daemon) -> None:
    assert netpy.run("run", "--rm", "busybox", "sh", "-c", "exit 7", check=False).returncode == 7
    missing = netpy.run("run", "--rm", "busybox", "nosuchcmd", check=False)
    assert missing.returncode == 127 and "nosuchcmd" in missing.stderr
    forbidden = netpy.run("run", "--rm", "busybox", "/etc/passwd", check=False)
    assert forbidden.returncode == 126 and "permission denied" in forbidden.stderr
    assert netpy.run("run", "--nosuchflag", "busybox", check=False).returncode == 125
    assert netpy.run("run", "--rm", "--network", "nosuch", "busybox", "true", check=False).returncode == 125
    assert netpy.run("exec", "nosuch", "true", check=False).returncode == 1
    assert netpy("ps", "-aq") == ""


def test_streams_stay_apart_and_input_is_closed(netpy: Daemon) -> None:
    done = netpy.run("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo err >&2", stdin="out\n")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    big = "0123456789abcdef" * 65536
    assert netpy.run("run", "--rm", "-i", "busybox", "cat", stdin=big).stdout == big


def test_create_start_attach_wait_and_logs(netpy: Daemon) -> None:
    netpy("create", "--name", "cc", "busybox", "sh", "-c", "echo one; echo two >&2; exit 3")
    started = netpy.run("start", "-a", "cc", check=False)
    assert (started.stdout, started.stderr, started.returncode) == ("one\n", "two\n", 3)
    assert netpy("wait", "cc") == "3"
    logs = netpy.run("logs", "cc")
    assert (logs.stdout, logs.stderr) == ("one\n", "two\n")
    assert netpy("logs", "--tail", "0", "cc") == ""
    assert re.match(r"\d{4}-\d\d-\d\dT.*Z one\n", netpy.run("logs", "-t", "cc").stdout)
    assert "Exited (3)" in netpy("ps", "-a", "--format", "{{.Status}}")


def test_logs_are_followed_to_the_end(netpy: Daemon) -> None:
    netpy("run", "-d", "--name", "cc", "busybox", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    assert netpy("logs", "-f", "cc") == "1\n2\n3"


def test_exec_in_all_its_forms(netpy: Daemon) -> None:
    netpy("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
    assert netpy("exec", "-e", "K=V", "-w", "/tmp", "cc", "sh", "-c", "echo $K $PWD") == "V /tmp"
    assert netpy("exec", "-u", "nobody", "cc", "id", "-un") == "nobody"
    assert netpy("exec", "-i", "cc", "cat", stdin="fed") == "fed"
    assert netpy.run("exec", "cc", "sh", "-c", "exit 5", check=False).returncode == 5
    assert netpy.run("exec", "cc", "nosuch", check=False).returncode in (126, 127)
    netpy("exec", "-d", "cc", "touch", "/tmp/marked")
    eventually(lambda: netpy.run("exec", "cc", "ls", "/tmp/marked", check=False).returncode == 0)
    assert "/tmp/marked" in netpy("exec", "cc", "ls", "/tmp/marked")


def test_a_terminal_has_a_size_and_speaks_raw(netpy: Daemon) -> None:
    command = [
        "script",
        "-qec",
        f"stty rows 30 cols 100; {NETPY} run --rm -it busybox sh -c 'stty size; tty'",
        "/dev/null",
    ]
    done = subprocess.run(
        command, env=netpy.environment, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )
    assert "30 100" in done.stdout and "/dev/pts/0" in done.stdout, done.stdout


def test_stop_kill_restart_pause_and_rm(netpy: Daemon) -> None:
    netpy("run", "-d", "--name", "cc", "busybox", "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.1; done")
    assert netpy("stop", "cc") == "cc"
    assert "Exited (9)" in netpy("ps", "-a", "--format", "{{.Status}}")
    netpy("start", "cc")
    netpy("pause", "cc")
    assert "(Paused)" in netpy("ps", "--format", "{{.Status}}")
    netpy("unpause", "cc")
    netpy("kill", "-s", "KILL", "cc")
    assert netpy("wait", "cc") == "137"
    netpy("restart", "-t", "0", "cc")
    refused = netpy.fails("rm", "cc").stderr
    assert "cannot remove" in refused.lower() or "You cannot remove a running container" in refused
    assert netpy("rm", "-f", "cc") == "cc"
    assert "No such container: cc" in netpy.fails("inspect", "--type", "container", "cc").stderr


def test_names_conflict_and_can_change(netpy: Daemon) -> None:
    netpy("create", "--name", "one", "busybox")
    assert 'The container name "/one" is already in use' in netpy.fails("create", "--name", "one", "busybox").stderr
    netpy("rename", "one", "two")
    assert netpy("ps", "-a", "--format", "{{.Names}}") == "two"
    assert "Invalid container name" in netpy.fails("create", "--name", "a b", "busybox").stderr
    assert re.fullmatch(r"[a-z]+_[a-z0-9]+", netpy("inspect", "-f", "{{slice .Name 1}}", netpy("create", "busybox")))


def test_a_restart_policy_is_obeyed(netpy: Daemon) -> None:
    netpy("run", "-d", "--name", "cc", "--restart", "on-failure:2", "busybox", "false")
    eventually(lambda: netpy("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "cc") == "2 exited")
    netpy("run", "-d", "--name", "dd", "--restart", "always", "busybox", "sh", "-c", "sleep 0.3")
    eventually(lambda: int(netpy("inspect", "-f", "{{.RestartCount}}", "dd")) >= 2)
    netpy("stop", "dd")
    assert netpy("inspect", "-f", "{{.State.Running}}", "dd") == "false"


def test_files_names_and_resolution_inside(netpy: Daemon, tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("from the host")
    netpy("network", "create", "n")
    netpy(
        "run", "-d", "--name", "cc", "--network", "n", "--hostname", "hh", "--domainname", "example.test",
        "--add-host", "db:10.1.2.3", "--dns-search", "corp.test", "--dns-option", "timeout:1",
        "-v", f"{tmp_path}:/in:ro", "busybox", "sleep", "1000",
    )  # fmt: skip
    hosts = netpy("exec", "cc", "cat", "/etc/hosts")
    address = netpy("inspect", "-f", "{{.NetworkSettings.Networks.n.IPAddress}}", "cc")
    assert "10.1.2.3\tdb" in hosts and f"{address}\thh.example.test hh" in hosts and "127.0.0.1\tlocalhost" in hosts
    assert netpy("exec", "cc", "hostname") == "hh"
    resolv = netpy("exec", "cc", "cat", "/etc/resolv.conf")
    assert "nameserver 127.0.0.11" in resolv and "search corp.test" in resolv and "timeout:1" in resolv
    assert netpy("exec", "cc", "cat", "/in/hello") == "from the host"
    assert netpy.run("exec", "cc", "touch", "/in/x", check=False).returncode != 0


def test_limits_are_set_and_an_oom_is_told(netpy: Daemon) -> None:
    netpy("run", "-d", "--name", "cc", "-m", "64m", "--cpus", "0.5", "--pids-limit", "50", "busybox", "sleep", "1000")
    (found,) = netpy.json("inspect", "cc")
    config = found["HostConfig"]
    assert (config["Memory"], config["NanoCpus"], config["PidsLimit"]) == (64 << 20, 500_000_000, 50)
    stats = netpy("stats", "--no-stream", "--format", "{{.MemUsage}}", "cc")
    assert "64MiB" in stats
    assert "sleep 1000" in netpy("top", "cc")
    crowd = netpy.run("exec", "cc", "sh", "-c", "for i in $(seq 100); do sleep 5 & done", check=False)
    assert "can't fork" in crowd.stderr
    eaten = netpy.run(
        "run", "--name", "oo", "-m", "16m", "busybox", "sh", "-c", "x=a; while :; do x=$x$x; done", check=False
    )
    assert eaten.returncode == 137
    assert netpy("inspect", "-f", "{{.State.OOMKilled}}", "oo") == "true"


def test_the_default_confinement_is_dockers(netpy: Daemon) -> None:
    status = netpy("run", "--rm", "busybox", "grep", "-E", "CapEff|Seccomp:", "/proc/self/status")
    assert "00000000a80425fb" in status and "Seccomp:\t2" in status
    assert netpy.run("run", "--rm", "busybox", "mount", "-t", "tmpfs", "x", "/tmp", check=False).returncode != 0
    assert netpy("run", "--rm", "busybox", "cat", "/proc/keys") == ""


def test_images_travel(netpy: Daemon, tmp_path: Path) -> None:
    archive = str(tmp_path / "b.tar")
    image_id = netpy("image", "inspect", "-f", "{{.Id}}", "busybox")
    netpy("tag", "busybox", "mine/copy:v1")
    netpy("save", "-o", archive, "mine/copy:v1")
    assert "Untagged: mine/copy:v1" in netpy("rmi", "mine/copy:v1")
    assert "Loaded image: mine/copy:v1" in netpy("load", "-i", archive)
    assert netpy("image", "inspect", "-f", "{{.Id}}", "mine/copy:v1") == image_id
    assert netpy("run", "--rm", "mine/copy:v1", "echo", "alive") == "alive"
    listing = netpy("images").splitlines()
    assert listing[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    netpy("rmi", "mine/copy:v1")
    missing = netpy.fails("run", "--pull", "never", "nosuch:tag")
    assert "nosuch:tag" in missing.stderr and missing.returncode == 125
    assert "No such image" in netpy.fails("rmi", "nosuch").stderr


def test_version_and_info_speak_of_us(netpy: Daemon, backend: str) -> None:
    assert "netpy" in netpy("version").lower()
    assert netpy("version", "--format", "{{.Server.Version}}")
    info = netpy("info")
    assert backend in info and "Containers: 0" in info
