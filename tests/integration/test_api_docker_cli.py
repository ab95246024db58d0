"""Docker's own client against our API: what it negotiates, prints, streams and exits with. The daemon behind is a fake.

Needs the `docker` program, but neither root nor a Docker daemon.
"""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.fake_daemon import IMAGE, FakeDaemon, served

DOCKER = shutil.which("docker")
pytestmark = pytest.mark.skipif(DOCKER is None, reason="the docker client is not installed")
Docker = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def daemon(tmp_path: Path) -> FakeDaemon:
    daemon = FakeDaemon(tmp_path)
    config = {"Image": "busybox", "OpenStdin": True, "StdinOnce": True, "Cmd": ["sleep", "600"]}
    daemon.containers.create(name="web", config=config, host_config={}, networks={})
    daemon.containers.create(name="tty", config=config | {"Tty": True}, host_config={}, networks={})
    daemon.containers.start("web")
    daemon.containers.start("tty")
    return daemon


@pytest.fixture
def host(daemon: FakeDaemon, tmp_path: Path) -> Iterator[str]:
    with served(daemon, tmp_path / "s") as host:
        yield host


@pytest.fixture
def docker(host: str, tmp_path: Path) -> Docker:
    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "DOCKER_HOST": host, "HOME": str(tmp_path)}
        command = [DOCKER or "", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, env=environment, timeout=60, check=False)

    return run


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What it printed; it must have succeeded."""
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_it_agrees_on_a_version(docker: Docker) -> None:
    text = "{{.Client.APIVersion}} {{.Server.APIVersion}} {{.Server.MinAPIVersion}}"
    assert said(docker("version", "--format", text)).endswith(" 1.47 1.24")
    assert said(docker("info", "--format", "{{.DefaultRuntime}} {{.Containers}}")) == "runc 2"


def test_networks(docker: Docker) -> None:
    id = said(docker("network", "create", "--subnet", "10.9.0.0/24", "--label", "a=b", "-o", "x=y", "back"))
    assert len(id) == 64
    listed = said(docker("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}")).splitlines()
    assert listed == ["back bridge local", "bridge bridge local", "host host local", "none null local"]
    assert said(docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}} {{.Labels.a}}", "back")) == (
        "10.9.0.0/24 b"
    )
    said(docker("network", "connect", "--alias", "w", "back", "web"))
    assert said(docker("inspect", "-f", "{{.NetworkSettings.Networks.back.IPAddress}}", "web")) == "10.9.0.2"
    said(docker("network", "disconnect", "-f", "back", "web"))
    assert said(docker("network", "prune", "-f")).splitlines() == ["Deleted Networks:", "back"]
    refused = docker("network", "rm", "bridge")
    assert (refused.returncode, b"is a pre-defined network and cannot be removed" in refused.stderr) == (1, True)


def test_the_list_of_containers(docker: Docker) -> None:
    assert said(docker("ps", "--format", "{{.Names}} {{.Image}} {{.Command}}")).splitlines() == [
        'tty busybox "sleep 600"',
        'web busybox "sleep 600"',
    ]
    assert said(docker("ps", "-q", "-f", "name=web", "-f", "status=running", "--no-trunc")) == f"{1:064x}"


def test_running_detached_and_its_errors(docker: Docker) -> None:
    ports = ("-p", "127.0.0.1:8800:80")
    assert said(docker("run", "-d", "--name", "new", *ports, "busybox", "httpd")) == f"{3:064x}"
    assert said(docker("port", "new")) == "80/tcp -> 127.0.0.1:8800"
    taken = docker("run", "-d", "--name", "new", "busybox")
    assert taken.returncode == 125 and b"already in use" in taken.stderr
    missing = docker("run", "--pull", "never", "nope")
    assert missing.returncode == 125 and b"No such image: nope:latest" in missing.stderr
    pulled = docker("run", "nope")
    assert pulled.returncode == 125 and b"manifest unknown" in pulled.stderr


def test_lifecycle_commands(docker: Docker, daemon: FakeDaemon) -> None:
    assert said(docker("stop", "-t", "1", "web")) == "web"
    assert said(docker("stop", "web")) == "web"
    assert said(docker("wait", "web")) == "0"
    assert said(docker("start", "web")) == "web"
    assert said(docker("kill", "-s", "TERM", "web")) == "web"
    assert said(docker("rename", "web", "web2")) == ""
    assert said(docker("rm", "-f", "web2")) == "web2"
    assert docker("rm", "web2").returncode == 1
    assert ("kill", "web", "TERM") in daemon.containers.calls


def test_logs_keep_the_streams_apart(docker: Docker) -> None:
    done = docker("logs", "--tail", "5", "-t", "web")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")
    assert docker("logs", "tty").stdout == b"out\nerr\n"


def test_exec_without_input(docker: Docker, daemon: FakeDaemon) -> None:
    daemon.containers.ends_at_once = True
    done = docker("exec", "web", "true")
    assert (done.returncode, done.stdout) == (4, b"ready\n")
    assert docker("exec", "-d", "web", "true").returncode == 0


def test_exec_with_much_input(docker: Docker) -> None:
    """20 MB there and back on one connection: neither side may wait for the other."""
    content = bytes(range(256)) * 80_000
    done = docker("exec", "-i", "web", "cat", stdin=content)
    assert done.returncode == 4
    assert done.stdout == b"ready\n" + content
    assert done.stderr == b"bye\n"


def test_a_terminal_detaches(host: str, daemon: FakeDaemon, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "DOCKER_HOST": host, "HOME": str(tmp_path), "TERM": "xterm"}
    process = subprocess.Popen([DOCKER or "", "attach", "tty"], stdin=follower, stdout=follower, env=environment)
    os.close(follower)
    seen = b""
    while b"ready" not in seen:
        seen += os.read(leader, 1024)
    os.write(leader, b"x\x10\x11")
    assert process.wait(30) in (0, 1)  # the client of Docker 28 reports an error when it was detached
    os.close(leader)
    assert daemon.containers.session.closed.is_set()
    assert daemon.containers.get("tty").state.running


def test_top_and_stats(docker: Docker) -> None:
    assert "42" in said(docker("top", "web"))
    assert said(docker("stats", "--no-stream", "--format", "{{.Container}}", "web")) == "web"


def test_events(docker: Docker, daemon: FakeDaemon) -> None:
    daemon.events.publish("container", "start", "c" * 64, {"name": "web", "image": "busybox"})
    until = str(int(time.time()) + 1)  # the client counts in whole seconds
    told = said(docker("events", "--since", "1m", "--until", until, "--filter", "event=start"))
    assert f"container start {'c' * 64} (image=busybox, name=web)" in told


def test_images(docker: Docker, daemon: FakeDaemon) -> None:
    assert said(docker("images", "-q", "--no-trunc")) == IMAGE
    assert said(docker("import", "-c", 'CMD ["sh"]', "-", "mine:1", stdin=b"a tar")) == IMAGE
    assert daemon.images.imported == (b"a tar", "mine:1", "Imported from -", ['CMD ["sh"]'])
    assert said(docker("load", stdin=b"x" * 1_000_000)).endswith("Loaded image: busybox:latest")
    assert docker("load", stdin=b"bad").returncode == 1
    assert said(docker("save", "busybox")) == "tar of busybox;"
    assert "Status: Downloaded" in said(docker("pull", "busybox"))
    said(docker("tag", "busybox", "busybox:latest"))
    in_use = docker("rmi", "busybox")
    assert in_use.returncode == 1 and b"unable to remove repository reference" in in_use.stderr
    assert said(docker("rmi", "-f", "busybox")).splitlines()[0] == "Untagged: busybox:latest"


def test_volumes_and_disk_usage(docker: Docker) -> None:
    assert said(docker("volume", "create", "data")) == "data"
    assert said(docker("volume", "ls", "-q")) == "data"
    assert "Containers" in said(docker("system", "df"))
    assert said(docker("volume", "rm", "data")) == "data"
