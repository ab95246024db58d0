"""Containers on the real kernel: runtime, images, networks and name server together, in a namespace of their own."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.client import ApiError
from engine.streams import Decoder
from netpy.kernel import netns
from tests.integration.daemon_lab import REPOSITORY, Machine, until

pytestmark = pytest.mark.root
SERVE = ("sh", "-c", "echo served > /data/x; exec httpd -f -p 80 -h /data")


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    path = f"/run/netpy-test/{secrets.token_hex(6)}"
    netns.create(path)
    machine = Machine(path)
    try:
        machine.start()
        machine.import_busybox()
        yield machine
    finally:
        machine.close()
        netns.delete(path)


@pytest.fixture
def machine(shared: Machine) -> Iterator[Machine]:
    """Empty before and, as is checked, after."""
    yield shared
    for container in shared.call("GET", "/containers/json", {"all": "1"}):
        shared.remove(container["Id"])
    shared.call("POST", "/networks/prune")
    shared.call("POST", "/volumes/prune", {"filters": {"all": ["true"]}})
    until(lambda: not shared.leftovers())
    assert shared.call("GET", "/netpy/check") == {"Drift": []}


def network(machine: Machine, name: str, subnet: str = "") -> None:
    ipam = {"Driver": "default", "Config": [{"Subnet": subnet}] if subnet else []}
    machine.call("POST", "/networks/create", body={"Name": name, "IPAM": ipam})


def test_output_and_exit_code(machine: Machine) -> None:
    identity = machine.create("web", "sh", "-c", "echo out; echo err >&2; exit 7")
    taken = machine.client.hijack(f"/containers/{identity}/attach", {"stream": 1, "stdout": 1, "stderr": 1})
    machine.call("POST", "/containers/web/start")
    decoder, frames = Decoder(), []
    with taken:
        while data := taken.recv(65536):
            frames += decoder.feed(data)
    assert {(f.stream, f.data) for f in frames} == {(1, b"out\n"), (2, b"err\n")}
    assert machine.wait("web") == 7
    until(lambda: machine.status("web") == "exited")
    assert sorted(machine.logs("web").split()) == ["err", "out"]


def test_names_files_and_ports(machine: Machine) -> None:
    network(machine, "front", "10.9.0.0/24")
    aliases = {"front": {"Aliases": ["search"]}}
    machine.run("one", "sleep", "1000", networks=aliases, NetworkMode="front")
    bound = {"80/tcp": [{"HostPort": "8800"}]}
    config = {"Hostname": "h1", "Domainname": "example.org"}
    machine.run("web", *SERVE, networks=aliases, config=config, NetworkMode="front", PortBindings=bound)
    until(lambda: machine.fetch("http://127.0.0.1:8800/x") == "served\n")
    _, found = machine.exec("one", "nslookup", "search")
    assert "10.9.0.2" in found and "10.9.0.3" in found
    assert "10.9.0.3\th1.example.org h1\n" in machine.exec("web", "cat", "/etc/hosts")[1]
    assert machine.exec("web", "cat", "/etc/hostname") == (0, "h1\n")
    assert "nameserver 127.0.0.11\n" in machine.exec("web", "cat", "/etc/resolv.conf")[1]
    with pytest.raises(ApiError, match=r"driver failed programming external connectivity on endpoint late .*8800"):
        machine.run("late", "sleep", "1000", PortBindings=bound)
    assert machine.status("late") == "created"
    machine.call("POST", "/containers/web/rename", {"name": "shop"})
    assert "10.9.0.3" in machine.exec("one", "nslookup", "shop")[1]


def test_networks_come_and_go_while_it_runs(machine: Machine) -> None:
    network(machine, "front", "10.9.0.0/24")
    machine.run("web", "sleep", "1000")
    settings = {"IPAMConfig": {"IPv4Address": "10.9.0.77"}}
    machine.call("POST", "/networks/front/connect", body={"Container": "web", "EndpointConfig": settings})
    assert "10.9.0.77/24" in machine.exec("web", "ip", "addr", "show", "eth1")[1]
    assert "10.9.0.77\t" in machine.exec("web", "cat", "/etc/hosts")[1]
    machine.call("POST", "/networks/front/disconnect", body={"Container": "web"})
    assert "eth1" not in machine.exec("web", "ip", "addr")[1]
    assert "10.9.0.77" not in machine.exec("web", "cat", "/etc/hosts")[1]


def test_sharing_a_network_and_the_hosts(machine: Machine) -> None:
    machine.run("web", "sleep", "1000", config={"Hostname": "h1"})
    address = machine.inspect("web")["NetworkSettings"]["IPAddress"]
    machine.run("side", "sleep", "1000", NetworkMode="container:web")
    assert address in machine.exec("side", "ip", "addr")[1]
    assert machine.exec("side", "hostname") == (0, "h1\n")
    machine.run("host", "sleep", "1000", NetworkMode="host")
    assert machine.exec("host", "ip", "link")[1].count("veth") == 1
    machine.run("none", "sleep", "1000", NetworkMode="none")
    assert "eth" not in machine.exec("none", "ip", "link")[1]


def test_volumes_and_binds(machine: Machine) -> None:
    source = machine.root / "shared"
    source.mkdir(exist_ok=True)
    (source / "f").write_text("from outside")
    binds = ["vol:/data", f"{source}:/in:ro"]
    machine.run("web", "sleep", "1000", config={"Volumes": {"/anon": {}}}, Binds=binds, Tmpfs={"/scratch": ""})
    assert machine.exec("web", "cat", "/data/seed", "/in/f") == (0, "seedfrom outside")
    assert machine.exec("web", "sh", "-c", "echo x > /in/f")[0] == 1
    assert machine.exec("web", "sh", "-c", "echo y > /data/new; echo z > /scratch/t")[0] == 0
    assert len(machine.call("GET", "/volumes")["Volumes"]) == 2
    machine.remove("web")
    assert [v["Name"] for v in machine.call("GET", "/volumes")["Volumes"]] == ["vol"]
    machine.run("again", "cat", "/data/new", Binds=["vol:/data"])
    assert machine.wait("again") == 0
    until(lambda: machine.logs("again") == "y\n")


def test_users_and_execs(machine: Machine) -> None:
    machine.run("web", "sleep", "1000", config={"User": "app", "Env": ["A=1"], "WorkingDir": "/data"})
    assert machine.exec("web", "id")[1].startswith("uid=7(app) gid=8")
    assert machine.exec("web", "id", User="root")[1].startswith("uid=0(root)")
    assert machine.exec("web", "sh", "-c", "echo $A $B $PWD; exit 5", Env=["B=2"]) == (5, "1 2 /data\n")
    code, text = machine.exec("web", "nosuch")
    assert code == 127 and "executable file not found" in text


@pytest.mark.parametrize(
    ("command", "code", "text"), [("nosuch", 127, "executable file not found"), ("/etc", 126, "denied")]
)
def test_a_command_that_cannot_run(machine: Machine, command: str, code: int, text: str) -> None:
    machine.create("web", command, PortBindings={"80/tcp": [{"HostPort": "8800"}]})
    with pytest.raises(ApiError, match=text):
        machine.call("POST", "/containers/web/start")
    state = machine.inspect("web")["State"]
    assert (state["Status"], state["ExitCode"]) == ("created", code)
    assert text in state["Error"]


def test_stopping_pausing_restarting(machine: Machine) -> None:
    machine.run("web", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in machine.logs("web"))
    machine.call("POST", "/containers/web/pause")
    assert machine.status("web") == "paused"
    machine.call("POST", "/containers/web/unpause")
    assert machine.call("GET", "/containers/web/top")["Processes"]
    assert machine.call("GET", "/containers/web/stats", {"stream": "0", "one-shot": "1"})["memory_stats"]["usage"] > 0
    machine.call("POST", "/containers/web/restart", {"t": 0})
    assert machine.status("web") == "running"
    machine.call("POST", "/containers/web/stop", {"t": 0})
    assert machine.inspect("web")["State"]["ExitCode"] == 137


def test_a_policy_restarts(machine: Machine) -> None:
    machine.run("web", "sh", "-c", "exit 3", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 2})
    until(lambda: machine.status("web") == "exited" and machine.inspect("web")["RestartCount"] == 2)
    assert machine.inspect("web")["State"]["ExitCode"] == 3


def test_rm(machine: Machine) -> None:
    machine.create("web", "sh", "-c", "exit 4", AutoRemove=True)
    with machine.client.request("POST", "/containers/web/wait", {"condition": "removed"}) as waiting:
        machine.call("POST", "/containers/web/start")
        assert waiting.json()["StatusCode"] == 4
    with pytest.raises(ApiError, match="No such container: web"):
        machine.inspect("web")


# ---- a daemon that goes ---------------------------------------------------------------------------------------------


def test_containers_outlive_the_daemon(machine: Machine) -> None:
    network(machine, "front", "10.9.0.0/24")
    bound = {"80/tcp": [{"HostPort": "8800"}]}
    machine.run("web", *SERVE, NetworkMode="front", PortBindings=bound)
    machine.run("one", "sleep", "1000", NetworkMode="front")
    until(lambda: machine.fetch("http://127.0.0.1:8800/x") == "served\n")
    before = machine.inspect("web")
    for number in (signal.SIGTERM, signal.SIGKILL):
        machine.end(number)
        assert machine.fetch("http://127.0.0.1:8800/x") == "served\n"
        machine.start()
        assert machine.inspect("web") == before
        assert machine.fetch("http://127.0.0.1:8800/x") == "served\n"
        assert "10.9.0.2" in machine.exec("one", "nslookup", "web")[1]


def test_an_end_that_nobody_saw(machine: Machine) -> None:
    fifo = machine.root / "gate"
    fifo.mkdir(exist_ok=True)
    machine.run("web", "sh", "-c", "while [ ! -e /gate/open ]; do sleep 0.05; done; exit 9", Binds=[f"{fifo}:/gate"])
    pid = machine.inspect("web")["State"]["Pid"]
    machine.kill()
    (fifo / "open").touch()
    until(lambda: not Path(f"/proc/{pid}").exists())
    machine.start()
    until(lambda: machine.status("web") == "exited")
    assert machine.inspect("web")["State"]["ExitCode"] == 9


def _bundle(machine: Machine, name: str, identity: str) -> Path:
    return machine.root / "run" / "containers" / identity / name


MOMENTS: dict[str, Callable[[Machine, str], bool]] = {
    "namespace": lambda m, i: (m.root / "run" / "netns" / i[:12]).exists(),
    "mounted": lambda m, i: _bundle(m, "rootfs/bin", i).exists(),
    "specified": lambda m, i: _bundle(m, "config.json", i).exists(),
    "made": lambda m, i: _bundle(m, "pidfile", i).exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_in_the_middle_of_a_start(machine: Machine, moment: str) -> None:
    bound = {"80/tcp": [{"HostPort": "8800"}]}
    identity = machine.create("web", "sleep", "1000", PortBindings=bound)
    path = f"/containers/{identity}/start"
    asking = subprocess.Popen(
        ["curl", "-s", "-X", "POST", "--unix-socket", f"{machine.root}/run/netpy.sock", f"http://x{path}"],
        stdout=subprocess.DEVNULL,
    )
    until(lambda: MOMENTS[moment](machine, identity))
    machine.kill()
    asking.wait(20)
    machine.start()
    state = machine.status("web")
    if state == "created":
        until(lambda: [x for x in machine.leftovers() if "/data/" not in x] == [])
        machine.call("POST", path)
    assert machine.status("web") == "running"
    assert machine.call("GET", "/netpy/check") == {"Drift": []}


def test_a_second_daemon_is_refused_by_name(machine: Machine) -> None:
    second = machine.spawn()
    assert second.wait(20) == 1
    assert machine.process is not None
    log = (machine.root / "log").read_text()
    assert f"netpy daemon: another netpy daemon (pid {machine.process.pid}) is already using {machine.root}/data" in log
    machine.call("GET", "/_ping")


def test_no_root() -> None:
    script = "import os; from engine import daemon; os.setuid(65534); raise SystemExit(daemon.main([]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 1
    assert done.stderr == "netpy daemon: the netpy daemon needs root: start it with sudo\n"


def test_reload(machine: Machine) -> None:
    assert machine.process is not None
    machine.process.send_signal(signal.SIGHUP)
    until(lambda: "configuration reloaded" in (machine.root / "log").read_text())
    machine.call("GET", "/_ping")
