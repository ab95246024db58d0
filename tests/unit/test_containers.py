"""The life of containers, with a runtime that only pretends: states, waiting, restarts, networks, recovery."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.refusal import StartRefused
from engine.streams import Frame, Session
from netpy.errors import Conflict, InvalidArgument, NetpyError, NotFound
from netpy.model import NetworkSpec, SubnetSpec
from tests.unit.container_lab import Lab

ALWAYS = {"Name": "always"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def until(condition: Callable[[], object], patience: float = 5.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.005)


def status(lab: Lab, ref: str) -> str:
    return lab.containers.get(ref).state.status


def network(lab: Lab, name: str, subnet: str = "") -> str:
    subnets = (SubnetSpec(subnet=subnet),) if subnet else ()
    return lab.controller.create_network(NetworkSpec(name=name, subnets=subnets)).id


def actions(lab: Lab) -> list[str]:
    stream = lab.events.subscribe(since=0)
    found: list[str] = []
    while (event := stream.next(0)) is not None:
        if event["Type"] == "container":
            found.append(event["Action"])
    stream.close()
    return found


def leftovers(lab: Lab) -> list[object]:
    """What no container should have left on the machine."""
    return [*lab.mounter.mounted, *lab.runtime.processes, *(lab.kernel.namespaces - {""}), *lab.kernel.held]


# ---- making ---------------------------------------------------------------------------------------------------------


def test_create(lab: Lab) -> None:
    identity = lab.create("web", {"Cmd": ["sleep", "9"], "Labels": {"k": "v"}})
    container = lab.containers.get(identity)
    assert len(identity) == 64
    assert (container.name, container.image, container.path, container.args) == ("web", "busybox", "sleep", ("9",))
    assert container.config["Hostname"] == identity[:12]
    assert container.state.status == "created"
    assert [a.network for a in container.attachments] == ["bridge"]
    assert lab.containers.get("web") == lab.containers.get("/web") == lab.containers.get(identity[:5]) == container
    assert leftovers(lab) == []


def test_the_newest_comes_first(lab: Lab) -> None:
    ids = [lab.create() for _ in range(3)]
    assert [c.id for c in lab.containers.all()] == ids[::-1]
    assert len({c.name for c in lab.containers.all()}) == 3


@pytest.mark.parametrize(
    ("config", "host", "kind", "match"),
    [
        ({"Image": "nosuch"}, {}, NotFound, "No such image: nosuch:latest"),
        ({"Image": ""}, {}, InvalidArgument, "no image specified"),
        ({}, {"NetworkMode": "nosuch"}, NotFound, "network nosuch not found"),
        ({}, {"NetworkMode": "container:nosuch"}, NotFound, "No such container: nosuch"),
        ({}, {"PortBindings": {"x": [{}]}}, InvalidArgument, "invalid port"),
        ({}, {"Binds": ["bad name:/x"]}, InvalidArgument, "invalid characters for a local volume name"),
        ({}, {"Runtime": "kata"}, InvalidArgument, "unknown or invalid runtime name: kata"),
        ({}, {"Memory": 1024}, InvalidArgument, "Minimum memory limit allowed is 6MB"),
        ({}, {"VolumesFrom": ["nosuch"]}, NotFound, "No such container: nosuch"),
    ],
)
def test_a_refused_create_leaves_nothing(
    lab: Lab, config: dict[str, Any], host: dict[str, Any], kind: type[Exception], match: str
) -> None:
    with pytest.raises(kind, match=match):
        lab.create("web", config, **host)
    assert lab.containers.all() == []
    assert lab.store.all("container") == []
    assert lab.create("web")


def test_names_are_taken_once(lab: Lab) -> None:
    identity = lab.create("web")
    with pytest.raises(Conflict) as caught:
        lab.create("/web")
    assert str(caught.value) == (
        f'Conflict. The container name "/web" is already in use by container "{identity}". You have to remove (or '
        "rename) that container to be able to reuse that name."
    )


def test_unknown_and_ambiguous_references(lab: Lab) -> None:
    with pytest.raises(NotFound, match="No such container: nosuch"):
        lab.containers.get("nosuch")
    with pytest.raises(NotFound):
        lab.containers.get("")
    for _ in range(20):
        lab.create()
    prefixes = [c.id[0] for c in lab.containers.all()]
    double = next(p for p in prefixes if prefixes.count(p) > 1)
    with pytest.raises(InvalidArgument, match=f"Multiple IDs found with provided prefix: {double}"):
        lab.containers.get(double)


# ---- starting and ending --------------------------------------------------------------------------------------------


def test_start_and_end(lab: Lab) -> None:
    identity = lab.run("web")
    state = lab.containers.get("web").state
    assert state.status == "running" and state.pid and state.monitor_pid
    assert [e.ifname for e in lab.containers.endpoints(lab.containers.get("web"))] == ["eth0"]
    waiter = lab.containers.wait("web", "not-running")
    assert not waiter.done
    lab.runtime.end(identity, 3)
    assert waiter.result(5) == (3, "")
    state = lab.containers.get("web").state
    assert (state.status, state.exit_code, state.pid) == ("exited", 3, 0)
    assert leftovers(lab) == []
    assert lab.containers.wait("web", "not-running").result(0) == (3, "")
    assert actions(lab) == ["create", "start", "die"]


def test_starting_twice_is_nothing(lab: Lab) -> None:
    lab.run("web")
    before = lab.containers.get("web")
    lab.containers.start("web")
    assert lab.containers.get("web") == before


def test_it_can_be_started_again(lab: Lab) -> None:
    identity = lab.run("web")
    lab.containers.stop("web")
    lab.containers.start("web")
    assert status(lab, "web") == "running"
    lab.runtime.end(identity, 0)
    until(lambda: status(lab, "web") == "exited")


def test_the_files_say_who_it_is(lab: Lab) -> None:
    network(lab, "front", "10.9.0.0/24")
    identity = lab.run("web", {"Hostname": "h", "Domainname": "d"}, NetworkMode="front", ExtraHosts=["db:10.0.0.1"])
    home = lab.root / "containers" / identity
    hosts = (home / "hosts").read_text()
    assert "10.9.0.2\th.d h\n" in hosts and "10.0.0.1\tdb\n" in hosts
    assert (home / "hostname").read_text() == "h\n"
    assert "nameserver 127.0.0.11" in (home / "resolv.conf").read_text()
    plain = lab.run("plain")
    assert "nameserver 192.0.2.53" in (lab.root / "containers" / plain / "resolv.conf").read_text()


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (StartRefused('exec: "x": executable file not found in $PATH: unknown', 127), 127),
        (StartRefused('exec: "/": permission denied: unknown', 126), 126),
        (Conflict("no"), 128),
    ],
)
def test_a_failed_start_gives_back_everything(lab: Lab, failure: NetpyError, code: int) -> None:
    lab.create("web", PortBindings={"80/tcp": [{"HostPort": "8800"}]})
    lab.runtime.refuse = failure
    with pytest.raises(type(failure)):
        lab.containers.start("web")
    state = lab.containers.get("web").state
    assert (state.status, state.exit_code, state.error) == ("created", code, str(failure))
    assert leftovers(lab) == []
    lab.containers.start("web")
    assert status(lab, "web") == "running"


def test_a_busy_port_undoes_the_start(lab: Lab) -> None:
    bound = {"PortBindings": {"80/tcp": [{"HostPort": "8800"}]}}
    lab.run("first", **bound)
    lab.create("second", **bound)
    with pytest.raises(Conflict, match=r"driver failed programming external connectivity on endpoint second .*8800"):
        lab.containers.start("second")
    assert status(lab, "second") == "created"
    lab.containers.stop("first")
    lab.containers.start("second")


def test_every_kernel_failure_is_undone(lab: Lab) -> None:
    lab.create("web", PortBindings={"80/tcp": [{"HostPort": "8800"}]})
    for number in range(1, 50):
        lab.kernel.fail_at = number
        try:
            lab.containers.start("web")
        except NetpyError:
            assert leftovers(lab) == []
            assert status(lab, "web") == "created"
        else:
            break
    lab.kernel.fail_at = 0
    assert number > 3
    assert status(lab, "web") == "running"


def test_a_failed_start_with_rm_removes(lab: Lab) -> None:
    lab.create("web", AutoRemove=True)
    waiter = lab.containers.wait("web", "removed")
    lab.runtime.refuse = StartRefused("executable file not found", 127)
    with pytest.raises(StartRefused):
        lab.containers.start("web")
    assert waiter.result(5) == (127, "")
    assert lab.containers.all() == []


def test_rm_removes_at_the_end(lab: Lab) -> None:
    identity = lab.run("web", AutoRemove=True)
    waiter = lab.containers.wait("web", "removed")
    lab.runtime.end(identity, 5)
    assert waiter.result(5) == (5, "")
    with pytest.raises(NotFound):
        lab.containers.get(identity)
    assert actions(lab)[-2:] == ["die", "destroy"]


def test_out_of_memory_is_told(lab: Lab) -> None:
    identity = lab.run("web")
    lab.runtime.end(identity, 137, oom=True)
    until(lambda: status(lab, "web") == "exited")
    assert lab.containers.get("web").state.oom_killed
    assert "oom" in actions(lab)


def test_stop_asks_then_kills(lab: Lab) -> None:
    lab.run("polite", {"StopSignal": "SIGINT"})
    lab.containers.stop("polite")
    assert lab.runtime.signals == [2]
    lab.runtime.deaf = True
    lab.run("deaf")
    lab.containers.stop("deaf", timeout=0)
    assert lab.runtime.signals == [2, 15, 9]
    assert lab.containers.get("deaf").state.exit_code == 137
    lab.containers.stop("deaf")  # what does not run is stopped


def test_kill(lab: Lab) -> None:
    lab.run("web")
    lab.containers.kill("web", "HUP")
    assert status(lab, "web") == "running"
    lab.containers.kill("web")
    until(lambda: status(lab, "web") == "exited")
    with pytest.raises(Conflict, match="Cannot kill container"):
        lab.containers.kill("web")


def test_pause(lab: Lab) -> None:
    lab.run("web")
    lab.containers.pause("web")
    assert status(lab, "web") == "paused"
    with pytest.raises(Conflict, match="already paused"):
        lab.containers.pause("web")
    with pytest.raises(Conflict, match="cannot start a paused container"):
        lab.containers.start("web")
    lab.containers.unpause("web")
    lab.containers.pause("web")
    lab.containers.stop("web")
    assert status(lab, "web") == "exited"


def test_restart_keeps_a_container_that_removes_itself(lab: Lab) -> None:
    lab.run("web", AutoRemove=True)
    lab.containers.restart("web", timeout=0)
    assert status(lab, "web") == "running"
    assert lab.containers.get("web").host_config["AutoRemove"] is True
    assert actions(lab)[-1] == "restart"


# ---- restart policies -----------------------------------------------------------------------------------------------


def test_a_restart_policy_starts_it_again(lab: Lab) -> None:
    identity = lab.run("web", RestartPolicy=ALWAYS)
    waiter = lab.containers.wait("web", "next-exit")
    lab.runtime.end(identity, 1)
    assert waiter.result(5) == (1, "")
    until(lambda: status(lab, "web") == "running")
    assert lab.containers.get("web").restart_count == 1
    lab.containers.stop("web")
    assert status(lab, "web") == "exited"


def test_on_failure_gives_up(lab: Lab) -> None:
    identity = lab.run("web", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 1})
    lab.runtime.end(identity, 1)
    until(lambda: status(lab, "web") == "running" and lab.containers.get("web").restart_count == 1)
    lab.runtime.end(identity, 1)
    until(lambda: status(lab, "web") == "exited")


def test_stop_during_the_back_off(lab: Lab) -> None:
    identity = lab.run("web", RestartPolicy=ALWAYS)
    entry = lab.parts.records.find("web")
    with entry.lock:
        lab.parts.records.change(entry, facts=dict(entry.container.facts) | {"delay": "30"})
    lab.runtime.end(identity, 1)
    until(lambda: status(lab, "web") == "restarting")
    waiter = lab.containers.wait("web", "not-running")
    assert not waiter.done
    lab.containers.stop("web")
    assert status(lab, "web") == "exited"
    assert waiter.result(5) == (1, "")


def test_a_restart_that_cannot_be_made_ends_it(lab: Lab) -> None:
    identity = lab.run("web", RestartPolicy=ALWAYS)
    lab.runtime.refuse = StartRefused("executable file not found", 127)
    lab.runtime.end(identity, 1)
    until(lambda: status(lab, "web") == "exited")
    assert lab.containers.get("web").state.exit_code == 127


# ---- removing and renaming ------------------------------------------------------------------------------------------


def test_remove(lab: Lab) -> None:
    identity = lab.run("web")
    with pytest.raises(Conflict, match=f"You cannot remove a running container {identity}"):
        lab.containers.remove("web")
    lab.containers.remove("web", force=True)
    assert lab.containers.all() == []
    assert not (lab.root / "containers" / identity).exists()
    assert leftovers(lab) == []
    assert lab.create("web")


def test_a_removal_that_fails_can_be_repeated(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.create("web")

    def refuse(target: Path) -> None:
        raise OSError(16, "Device or resource busy")

    with monkeypatch.context() as patched:
        patched.setattr(lab.mounter, "unmount", refuse)
        with pytest.raises(NetpyError, match=r"removal is incomplete.*busy"):
            lab.containers.remove("web")
    assert status(lab, "web") == "dead"
    lab.containers.remove("web")
    assert lab.containers.all() == []


def test_rename(lab: Lab) -> None:
    network(lab, "front")
    identity = lab.run("web", NetworkMode="front")
    lab.create("other")
    lab.containers.rename("web", "shop")
    assert lab.containers.get("shop").id == identity
    assert [r.names[0] for r in lab.names.records.values()] == ["shop"]
    assert lab.containers.get("shop").attachments[0].spec.names[0] == "shop"
    with pytest.raises(NotFound):
        lab.containers.get("web")
    with pytest.raises(Conflict, match='The container name "/other" is already in use'):
        lab.containers.rename("shop", "other")
    with pytest.raises(InvalidArgument, match="same name as its current name"):
        lab.containers.rename("shop", "shop")
    with pytest.raises(InvalidArgument, match="Neither old nor new names may be empty"):
        lab.containers.rename("shop", "")
    assert lab.create("web")


def test_prune(lab: Lab) -> None:
    lab.run("runs")
    kept = lab.create("kept", {"Labels": {"keep": ""}})
    gone = lab.create("gone")
    assert lab.containers.prune({"label!": ["keep"]})["ContainersDeleted"] == [gone]
    assert {c.name for c in lab.containers.all()} == {"runs", "kept"}
    assert lab.containers.prune({"until": ["2000-01-01T00:00:00"]})["ContainersDeleted"] == []
    assert lab.containers.prune({})["ContainersDeleted"] == [kept]


# ---- volumes --------------------------------------------------------------------------------------------------------


def test_a_new_volume_gets_what_the_image_has(lab: Lab) -> None:
    lab.run("web", Binds=["vol:/data"])
    seed = lab.root / "volumes" / "vol" / "_data" / "seed"
    assert seed.read_text() == "from the image"
    lab.containers.remove("web", force=True, volumes=True)
    assert seed.exists()
    with pytest.raises(NotFound, match="get nosuch: no such volume"):
        lab.containers.volumes.remove("nosuch")
    lab.create("again", Binds=["vol:/data"])
    with pytest.raises(Conflict, match="volume is in use"):
        lab.containers.volumes.remove("vol")


def test_unnamed_volumes_go_with_v(lab: Lab) -> None:
    lab.run("web", {"Volumes": {"/data": {}}})
    (volume,) = lab.containers.volumes.all()
    lab.containers.stop("web")
    lab.containers.remove("web", volumes=True)
    assert lab.containers.volumes.all() == []
    assert not Path(volume["Mountpoint"]).exists()


def test_a_missing_source_is_made_for_v_alone(lab: Lab) -> None:
    source = lab.root / "host" / "dir"
    lab.run("one", Binds=[f"{source}:/in"])
    assert source.is_dir()
    lab.create("two", Mounts=[{"Type": "bind", "Source": f"{source}2", "Target": "/in"}])
    with pytest.raises(InvalidArgument, match=f"bind source path does not exist: {source}2"):
        lab.containers.start("two")


# ---- networks -------------------------------------------------------------------------------------------------------


def test_connect_and_disconnect_while_it_runs(lab: Lab) -> None:
    network(lab, "front", "10.9.0.0/24")
    identity = lab.run("web")
    hosts = lab.root / "containers" / identity / "hosts"
    inode = hosts.stat().st_ino
    lab.containers.connect("front", "web", {"Aliases": ["search"], "IPAMConfig": {"IPv4Address": "10.9.0.77"}})
    assert [e.ifname for e in lab.containers.endpoints(lab.containers.get("web"))] == ["eth0", "eth1"]
    assert f"10.9.0.77\t{identity[:12]}\n" in hosts.read_text()
    assert "127.0.0.11" in (hosts.parent / "resolv.conf").read_text()
    with pytest.raises(NetpyError, match="already exists in network front"):
        lab.containers.connect("front", "web", {})
    lab.containers.disconnect("front", "web", force=False)
    assert "10.9.0.77" not in hosts.read_text()
    assert "127.0.0.11" not in (hosts.parent / "resolv.conf").read_text()
    assert hosts.stat().st_ino == inode
    with pytest.raises(NetpyError, match=f"container {identity} is not connected to network front"):
        lab.containers.disconnect("front", "web", force=False)


def test_connect_before_it_runs(lab: Lab) -> None:
    network(lab, "front", "10.9.0.0/24")
    lab.create("web")
    lab.containers.connect("front", "web", {"IPAMConfig": {"IPv4Address": "10.9.0.77"}})
    lab.create("rival", NetworkMode="front", networks={"front": {}})
    with pytest.raises(NetpyError, match=r"10\.9\.0\.77"):
        lab.containers.connect("front", "rival2", {}) if False else lab.run(
            "thief", NetworkMode="front", networks={"front": {"IPAMConfig": {"IPv4Address": "10.9.0.77"}}}
        )
    lab.containers.start("web")
    assert [e.address_of(4) for e in lab.containers.endpoints(lab.containers.get("web"))][1] == "10.9.0.77"
    lab.containers.stop("web")
    lab.containers.disconnect("bridge", "web", force=False)
    lab.containers.start("web")
    assert [e.ifname for e in lab.containers.endpoints(lab.containers.get("web"))] == ["eth0"]


def test_an_edited_resolv_conf_is_left_alone(lab: Lab) -> None:
    network(lab, "front")
    identity = lab.run("web")
    home = lab.root / "containers" / identity
    (home / "resolv.conf").write_text("nameserver 9.9.9.9\n")
    (home / "hosts").write_text((home / "hosts").read_text() + "1.2.3.4 mine\n")
    lab.containers.connect("front", "web", {})
    lab.containers.disconnect("front", "web", force=False)
    assert (home / "resolv.conf").read_text() == "nameserver 9.9.9.9\n"
    assert "1.2.3.4 mine\n" in (home / "hosts").read_text()


def test_modes_without_a_network_of_their_own(lab: Lab) -> None:
    network(lab, "front")
    lab.run("host", NetworkMode="host")
    assert (lab.root / "containers" / lab.containers.get("host").id / "hosts").read_text() == "192.0.2.1 machine\n"
    lab.run("none", NetworkMode="none")
    for name, text in [("host", "connected to host network"), ("none", "private \\(none\\) mode")]:
        with pytest.raises(InvalidArgument, match=text):
            lab.containers.connect("front", name, {})
    with pytest.raises(InvalidArgument, match="disconnected from host network"):
        lab.containers.disconnect("host", "host", force=False)


def test_sharing_anothers_network(lab: Lab) -> None:
    network(lab, "front")
    lab.run("web", {"Hostname": "h"}, NetworkMode="front")
    lab.run("side", NetworkMode="container:web")
    side = lab.containers.get("side")
    assert side.host_config["NetworkMode"] == f"container:{lab.containers.get('web').id}"
    assert side.config["Hostname"] == "h"
    assert lab.containers.endpoints(side) == []
    with pytest.raises(InvalidArgument, match="sharing network namespace"):
        lab.containers.connect("front", "side", {})
    lab.containers.stop("side")
    lab.containers.stop("web")
    with pytest.raises(Conflict, match="cannot join network of a non running container"):
        lab.containers.start("side")


def test_a_dry_run_changes_nothing(lab: Lab) -> None:
    network(lab, "front")
    lab.run("web")
    before = dict(lab.kernel.objects), lab.store.all("container"), lab.store.all("endpoint")
    request: dict[str, Any] = {"config": {"Image": "busybox"}, "host_config": {"NetworkMode": "front"}}
    assert "eth0" in lab.containers.plan(name="new", networks={}, **request)
    assert "eth1" in lab.containers.plan_connect("front", "web", {})
    assert (dict(lab.kernel.objects), lab.store.all("container"), lab.store.all("endpoint")) == before


# ---- streams and execs ----------------------------------------------------------------------------------------------


def read_all(session: Session) -> list[bytes]:
    found: list[bytes] = []
    while (frame := session.read()) is not None:
        found.append(frame.data)
    return found


def test_attaching_before_the_start_loses_nothing(lab: Lab) -> None:
    lab.create("web", {"OpenStdin": True})
    session = lab.containers.attach("web", stdin=True, stdout=True, stderr=False, logs=False, stream=True)
    session.write(b"early ")
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.extend(read_all(session)))
    reader.start()
    lab.containers.start("web")
    session.write(b"late")
    session.close_input()
    reader.join(5)
    assert seen == [b"out\n"]
    assert lab.runtime.sessions[0].written == [b"early ", b"late", b"<end>"]


def test_a_start_that_fails_ends_the_sessions(lab: Lab) -> None:
    lab.create("web")
    session = lab.containers.attach("web", stdin=False, stdout=True, stderr=True, logs=False, stream=True)
    lab.runtime.refuse = StartRefused("executable file not found", 127)
    with pytest.raises(StartRefused):
        lab.containers.start("web")
    assert session.read() is None


def test_exec(lab: Lab) -> None:
    lab.run("web")
    identity = lab.containers.exec_create("web", {"Cmd": ["sh", "-c", "x"], "AttachStdout": True})
    assert lab.containers.exec_inspect(identity)["Running"] is False
    session = lab.containers.exec_start(identity, tty=False, detach=False)
    assert session is not None
    assert session.read() == Frame(1, b"out\n")
    assert lab.containers.exec_inspect(identity)["Running"] is True
    assert lab.containers.exec_ids(lab.containers.get("web")) == [identity]
    lab.containers.exec_resize(identity, 30, 100)
    assert lab.runtime.execs[0].size == (30, 100)
    lab.runtime.execs[0].finish.set()
    assert read_all(session) == [b"err\n"]
    assert lab.containers.exec_inspect(identity)["ExitCode"] == 4
    assert lab.containers.exec_inspect(identity)["ProcessConfig"]["arguments"] == ["-c", "x"]
    with pytest.raises(Conflict):
        lab.containers.exec_start(identity, tty=False, detach=False)
    with pytest.raises(NotFound, match="No such exec instance: nosuch"):
        lab.containers.exec_inspect("nosuch")


def test_exec_failures(lab: Lab) -> None:
    lab.create("web")
    with pytest.raises(Conflict, match="is not running"):
        lab.containers.exec_create("web", {"Cmd": ["x"]})
    lab.containers.start("web")
    with pytest.raises(InvalidArgument, match="No exec command specified"):
        lab.containers.exec_create("web", {})
    identity = lab.containers.exec_create("web", {"Cmd": ["nosuch"]})
    with pytest.raises(StartRefused):
        lab.containers.exec_start(identity, tty=False, detach=False)
    assert lab.containers.exec_inspect(identity)["ExitCode"] == 127


# ---- recovery -------------------------------------------------------------------------------------------------------


def test_running_containers_outlive_the_daemon(lab: Lab) -> None:
    network(lab, "front")
    identity = lab.run("web", NetworkMode="front", PortBindings={"80/tcp": [{"HostPort": "8800"}]})
    before, endpoints = lab.containers.get("web"), lab.containers.endpoints(lab.containers.get("web"))
    lab.reboot()
    assert lab.containers.get("web") == before
    assert lab.containers.endpoints(before) == endpoints
    assert {port for _, _, port in lab.kernel.held} == {8800}
    waiter = lab.containers.wait("web", "not-running")
    lab.runtime.end(identity, 6)
    assert waiter.result(5) == (6, "")


def test_what_ended_meanwhile_is_finished(lab: Lab) -> None:
    identity = lab.run("web")
    lab.crash()
    lab.runtime.end(identity, 7)
    lab.boot()
    lab.containers.recover()
    until(lambda: status(lab, "web") == "exited")
    assert lab.containers.get("web").state.exit_code == 7
    until(lambda: leftovers(lab) == [])


def test_policies_count_at_the_start_of_the_daemon(lab: Lab) -> None:
    for name, policy in [("always", "always"), ("unless", "unless-stopped"), ("no", "no")]:
        lab.run(name, RestartPolicy={"Name": policy})
        lab.containers.stop(name)
    lab.create("never-started", RestartPolicy=ALWAYS)
    lab.reboot()
    found = {c.name: c.state.status for c in lab.containers.all()}
    assert found == {"always": "running", "unless": "exited", "no": "exited", "never-started": "created"}


def test_a_back_off_goes_on_after_a_crash(lab: Lab) -> None:
    identity = lab.run("web", RestartPolicy=ALWAYS)
    entry = lab.parts.records.find("web")
    with entry.lock:
        lab.parts.records.change(entry, facts=dict(entry.container.facts) | {"delay": "30"})
    lab.runtime.end(identity, 1)
    until(lambda: status(lab, "web") == "restarting")
    lab.reboot()
    until(lambda: status(lab, "web") == "running")


class Crash(BaseException):
    """The daemon dies here."""


def crash_at(patched: pytest.MonkeyPatch, owner: object, name: str, *, after: bool) -> None:
    original = getattr(owner, name)

    def dies(*args: Any, **kwargs: Any) -> None:
        if after:
            original(*args, **kwargs)
        raise Crash

    patched.setattr(owner, name, dies)


PLACES = [
    ("kernel", "create_netns"),
    ("mounter", "mount"),
    ("controller", "attach"),
    ("runtime", "create"),
    ("runtime", "start"),
    ("runtime", "watch"),
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name"), PLACES)
def test_a_crash_during_a_start(lab: Lab, owner: str, name: str, after: bool) -> None:
    lab.create("web", PortBindings={"80/tcp": [{"HostPort": "8800"}]})
    with pytest.MonkeyPatch.context() as patched:
        crash_at(patched, getattr(lab, owner), name, after=after)
        with pytest.raises(Crash):
            lab.containers.start("web")
    lab.reboot()
    if lab.runtime.processes:
        assert status(lab, "web") == "running"
        assert lab.containers.endpoints(lab.containers.get("web"))
    else:
        assert status(lab, "web") == "created"
        assert leftovers(lab) == []
        lab.containers.start("web")
    lab.containers.stop("web")
    assert leftovers(lab) == []


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name"), [("runtime", "delete"), ("controller", "detach"), ("mounter", "unmount")])
def test_a_crash_during_a_removal(lab: Lab, owner: str, name: str, after: bool) -> None:
    lab.run("web")
    lab.containers.stop("web")
    bundle = lab.parts.paths.bundle(lab.containers.get("web").id)
    bundle.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patched:
        crash_at(patched, getattr(lab, owner), name, after=after)
        with pytest.raises(Crash):
            lab.containers.remove("web")
    lab.reboot()
    assert lab.containers.all() == []
    assert leftovers(lab) == []


def test_a_crash_during_a_create(lab: Lab) -> None:
    with pytest.MonkeyPatch.context() as patched:
        crash_at(patched, lab.containers.volumes, "create", after=True)
        patched.setattr("engine.containers.creation.undo", lambda parts, entry: None)
        with pytest.raises(Crash):
            lab.create("web", Binds=["v:/data"])
    lab.reboot()
    assert lab.containers.all() == []
