"""The daemon dies; containers, addresses, ports and names live on. And two daemons do not hurt each other."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.runtime import cgroups
from tests.e2e.world import HOST_ADDRESS, Daemon, World, eventually

pytestmark = pytest.mark.root

SERVER = "mkdir -p /w && hostname > /w/index.html && exec httpd -f -p 80 -h /w"


def answers(world: World, port: int) -> str:
    url = f"http://{HOST_ADDRESS}:{port}/"
    return world.at(world.outside, "curl", "-s", "--max-time", "2", url, check=False).stdout.strip()


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_everything_outlives_the_daemon(
    world: World, new_daemon: Callable[..., Daemon], backend: str, end: str
) -> None:
    netpy = new_daemon("outlive", "--firewall-backend", backend)
    netpy("network", "create", "n")
    netpy(
        "run",
        "-d",
        "--name",
        "ww",
        "--hostname",
        "ww",
        "--network",
        "n",
        "-p",
        "8810:80",
        "busybox",
        "sh",
        "-c",
        SERVER,
    )
    asker = "while :; do nslookup w 127.0.0.11 >/dev/null 2>&1 && echo yes || echo no; sleep 0.1; done"
    netpy("run", "-d", "--name", "asker", "--network", "n", "busybox", "sh", "-c", asker)
    netpy("run", "-d", "--name", "brief", "--network", "n", "busybox", "sleep", "1000")
    eventually(lambda: answers(world, 8810) == "ww")
    before = netpy.json("inspect", "ww")[0]["NetworkSettings"]["Networks"]
    pid = netpy("inspect", "-f", "{{.State.Pid}}", "ww")
    brief = int(netpy("inspect", "-f", "{{.State.Pid}}", "brief"))
    getattr(netpy, end)()
    assert answers(world, 8810) == "ww", "a published port needs no daemon"
    os.kill(brief, signal.SIGKILL)
    netpy.start()
    assert netpy("inspect", "-f", "{{.State.Pid}}", "ww") == pid
    assert netpy.json("inspect", "ww")[0]["NetworkSettings"]["Networks"] == before
    assert answers(world, 8810) == "ww"
    assert netpy("network", "check") == ""
    eventually(lambda: "Exited (137)" in netpy("ps", "-a", "--filter", "name=brief", "--format", "{{.Status}}"))
    assert "no" not in netpy("logs", "asker").split()[2:], "a name went unanswered"
    assert "8810" in netpy.fails("run", "--rm", "-p", "8810:80", "busybox", "true").stderr, "the port is held again"
    assert netpy("exec", "ww", "hostname") == "ww"
    netpy("stop", "-t", "0", "ww")
    assert answers(world, 8810) == ""


def test_two_daemons_side_by_side(
    world: World, running: Daemon, new_daemon: Callable[..., Daemon], backend: str
) -> None:
    other = new_daemon("second", "--firewall-backend", backend)
    try:
        running("network", "create", "n")
        other("network", "create", "n")
        running("run", "-d", "--hostname", "a", "--network", "n", "-p", "8811:80", "busybox", "sh", "-c", SERVER)
        other("run", "-d", "--hostname", "b", "--network", "n", "-p", "8812:80", "busybox", "sh", "-c", SERVER)
        eventually(lambda: answers(world, 8811) == "a" and answers(world, 8812) == "b")
        assert "8811" in other.fails("run", "--rm", "-p", "8811:80", "busybox", "true").stderr
        other.clean()
        assert answers(world, 8811) == "a"
        assert running("network", "check") == "" == other("network", "check")
    finally:
        running.clean()


def test_a_daemon_of_a_plain_shell_has_descriptors_for_more_ports_than_that_allows(
    new_daemon: Callable[..., Daemon], backend: str
) -> None:
    netpy = new_daemon("plain", "--firewall-backend", backend, within=("prlimit", "--nofile=1024:5000"))
    netpy("run", "-d", "--name", "many", "-p", "20000-21099:20000-21099", "busybox", "sleep", "1000")
    asked = ("sh", "-c", "ulimit -Sn; ulimit -Hn")
    assert netpy("exec", "many", *asked) == "1024\n5000", "what a shell allows is what a container is allowed"
    assert netpy("run", "--rm", "busybox", *asked) == "1024\n5000"
    assert netpy("run", "--rm", "--ulimit", "nofile=70:80", "busybox", *asked) == "70\n80"


def test_a_second_daemon_on_the_same_root_is_refused(running: Daemon) -> None:
    twin = running.fails("daemon", "--data-root", str(running.data_root), "--exec-root", str(running.exec_root))
    assert "another netpy daemon" in twin.stderr


def test_no_daemon_is_said_plainly(running: Daemon) -> None:
    done = running.fails("-H", "unix:///run/netpy-e2e/nowhere.sock", "ps")
    assert "Cannot connect to the netpy daemon at unix:///run/netpy-e2e/nowhere.sock" in done.stderr


SLOW = """\
#!/bin/sh
case " $* " in *" create "*) sleep 3;; esac
exec {runtime} "$@"
"""


def test_a_start_that_goes_on_without_its_daemon_is_undone(world: World, tmp_path: Path) -> None:
    """The monitor and the runtime live on: what they make after the next daemon has come must not stay."""
    slow = tmp_path / "runc"
    slow.write_text(SLOW.format(runtime=shutil.which("runc")))
    slow.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    netpy = Daemon(world, "midway", flags=("--runtime", "runc"), within=("env", f"PATH={path}"))
    try:
        netpy.start()
        netpy.import_busybox()
        identity = netpy("create", "--name", "slow", "busybox", "sleep", "1000")
        starting = subprocess.Popen([netpy.program, "start", "slow"], env=netpy.environment, stderr=subprocess.DEVNULL)
        eventually(lambda: processes_of(identity), "the monitor has been started")
        netpy.kill()
        starting.wait(timeout=30)
        netpy.start()
        assert netpy("inspect", "-f", "{{.State.Status}}", "slow") == "created"
        assert processes_of(identity) == [] and groups_of(identity) == []
        time.sleep(4)
        assert processes_of(identity) == [] and groups_of(identity) == []
        netpy("start", "slow")
        assert netpy("exec", "slow", "hostname") == identity[:12]
    finally:
        netpy.close()
    assert groups_of(identity) == []


def test_what_no_container_has_is_taken_away_and_what_another_daemon_has_is_not(
    world: World, new_daemon: Callable[..., Daemon]
) -> None:
    netpy = new_daemon("sweep")
    ended, forgotten, foreign = netpy("create", "busybox"), secrets.token_hex(32), secrets.token_hex(32)
    netpy.kill()
    for identity in (ended, forgotten, foreign):
        for tree in cgroups.detect().trees:
            (tree / f"netpy-{identity}").mkdir()
    bundle = netpy.exec_root / "containers" / forgotten
    bundle.mkdir(parents=True)
    try:
        netpy.start()
        assert groups_of(ended) == groups_of(forgotten) == []
        assert not bundle.exists()
        assert len(groups_of(foreign)) == len(cgroups.detect().trees)
    finally:
        for identity in (ended, forgotten, foreign):
            cgroups.remove(cgroups.detect(), cgroups.container_path(identity))


def groups_of(identity: str) -> list[str]:
    return [str(group) for tree in cgroups.detect().trees for group in tree.glob(f"*{identity}*")]


def processes_of(identity: str) -> list[str]:
    """Those that name the container, and are neither the daemon nor a command of ours."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if identity in (words := entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")):
                found.append(words)
    return found
