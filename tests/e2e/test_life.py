"""What the engine does for containers that nobody looks at: probes their health, starts them again, limits them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import Daemon, World, eventually

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def life(world: World) -> Iterator[Daemon]:
    """A daemon for all of this: nothing of it depends on the firewall, so once is enough."""
    daemon = Daemon(world, name="life")
    daemon.start()
    daemon.import_busybox()
    yield daemon
    daemon.close()


@pytest.fixture
def netpy(life: Daemon) -> Iterator[Daemon]:
    yield life
    life.clean()


def shown(netpy: Daemon, name: str, template: str) -> str:
    return netpy("inspect", "-f", template, name)


def test_health_is_what_the_probe_says(netpy: Daemon) -> None:
    probe = "echo looked; test -e /ok"
    times = ("--health-interval", "100ms", "--health-retries", "2", "--health-timeout", "10s")
    netpy("run", "-d", "--name", "ill", "--health-cmd", probe, *times, "busybox", "sleep", "1000")
    eventually(lambda: "(unhealthy)" in netpy("ps", "--format", "{{.Status}}"), "two failures make it unhealthy")
    assert netpy("ps", "-q", "--filter", "health=healthy") == ""
    netpy("exec", "ill", "touch", "/ok")
    eventually(lambda: "(healthy)" in netpy("ps", "--format", "{{.Status}}"), "one success makes it healthy")
    health = netpy.json("inspect", "-f", "{{json .State.Health}}", "ill")
    assert health["FailingStreak"] == 0
    assert (health["Log"][-1]["ExitCode"], health["Log"][-1]["Output"]) == (0, "looked\n")
    netpy("pause", "ill")
    assert netpy("ps", "--format", "{{.Status}}").endswith("(Paused)")
    netpy("unpause", "ill")
    netpy("kill", "ill")
    events = netpy("events", "--since", "60s", "--until", "0s", "--filter", "container=ill", "--format", "{{.Action}}")
    assert "health_status: unhealthy" in events
    assert "health_status: healthy" in events


def test_a_probe_that_hangs_is_killed_with_what_it_started(netpy: Daemon) -> None:
    times = ("--health-interval", "100ms", "--health-retries", "1", "--health-timeout", "300ms")
    netpy("run", "-d", "--name", "hung", "--health-cmd", "sleep 77; true", *times, "busybox", "sleep", "1000")
    eventually(lambda: shown(netpy, "hung", "{{.State.Health.Status}}") == "unhealthy")
    assert "Health check exceeded timeout (300ms)" in shown(netpy, "hung", "{{json .State.Health.Log}}")
    netpy("pause", "hung")
    netpy("unpause", "hung")
    eventually(lambda: netpy("top", "hung").count("sleep 77") <= 1, "no probe outlives its time")


def test_restart_policies_survive_the_daemon(netpy: Daemon) -> None:
    run = ("run", "-d", "--restart")
    netpy(*run, "always", "--name", "always", "busybox", "sleep", "1000")
    netpy(*run, "unless-stopped", "--name", "stopped", "busybox", "sleep", "1000")
    netpy(*run, "on-failure:2", "--name", "failing", "busybox", "sh", "-c", "exit 3")
    netpy("create", "--restart", "always", "--name", "new", "busybox", "sleep", "1000")
    checked = ("--health-cmd", "true", "--health-interval", "100ms")
    netpy("run", "-d", "--name", "well", *checked, "busybox", "sleep", "1000")
    netpy("stop", "-t", "0", "stopped")
    eventually(lambda: shown(netpy, "failing", "{{.RestartCount}} {{.State.Status}}") == "2 exited")
    eventually(lambda: shown(netpy, "well", "{{.State.Health.Status}}") == "healthy")
    pid = int(shown(netpy, "always", "{{.State.Pid}}"))
    netpy.kill()
    os.kill(pid, signal.SIGKILL)
    netpy.start()
    eventually(lambda: shown(netpy, "always", "{{.State.Running}}") == "true", "it is started again")
    assert int(shown(netpy, "always", "{{.State.Pid}}")) != pid
    assert shown(netpy, "stopped", "{{.State.Status}}") == "exited"
    assert shown(netpy, "failing", "{{.State.Status}} {{.State.ExitCode}}") == "exited 3"
    assert shown(netpy, "new", "{{.State.Status}}") == "created"
    assert shown(netpy, "well", "{{.State.Health.Status}}") == "healthy"
    last = shown(netpy, "well", "{{json .State.Health.Log}}")
    eventually(lambda: shown(netpy, "well", "{{json .State.Health.Log}}") != last, "probing goes on")


def test_an_update_reaches_the_control_group(netpy: Daemon) -> None:
    identity = netpy("run", "-d", "--name", "fat", "-m", "64m", "--restart", "always", "busybox", "sleep", "1000")
    assert netpy("update", "-m", "32m", "--pids-limit", "50", "--restart", "no", "fat") == "fat"
    groups = [Path(path) for path in Path("/sys/fs/cgroup").glob(f"**/netpy-{identity}")]
    limits = {file.name: file.read_text().strip() for group in groups for file in group.glob("*") if file.is_file()
              and file.name in ("memory.limit_in_bytes", "memory.max", "pids.max")}  # fmt: skip
    assert set(limits.values()) == {str(32 << 20), "50"}, limits
    assert shown(netpy, "fat", "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}") == f"{32 << 20} no"
    assert "already set memoryswap limit" in netpy.fails("update", "-m", "1g", "fat").stderr
    netpy("kill", "fat")
    assert shown(netpy, "fat", "{{.State.Status}}") == "exited"
