"""The life of containers, with a runtime that only pretends: making, starting, ending, restarts, removal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.runtime.refusal import StartRefused
from netpy.errors import Conflict, InvalidArgument, NetpyError, NotFound
from tests.unit.container_lab import ALWAYS, Lab, actions, leftovers, network, status, until


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


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
        ({}, {"NetworkMode": "nosuch"}, InvalidArgument, "network nosuch not found"),
        ({}, {"NetworkMode": "container:nosuch"}, InvalidArgument, "No such container: nosuch"),
        ({}, {"PortBindings": {"x": [{}]}}, InvalidArgument, "invalid port"),
        ({}, {"Binds": ["bad name:/x"]}, InvalidArgument, "invalid characters for a local volume name"),
        ({}, {"Runtime": "kata"}, InvalidArgument, "unknown or invalid runtime name: kata"),
        ({}, {"Memory": 1024}, InvalidArgument, "Minimum memory limit allowed is 6MB"),
        ({}, {"VolumesFrom": ["nosuch"]}, InvalidArgument, "No such container: nosuch"),
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
    assert lab.agenda.elapse() == [0.1]
    assert status(lab, "web") == "running"
    assert lab.containers.get("web").restart_count == 1
    lab.containers.stop("web")
    assert status(lab, "web") == "exited"


def test_on_failure_gives_up(lab: Lab) -> None:
    identity = lab.run("web", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 1})
    lab.runtime.end(identity, 1)
    assert lab.agenda.elapse() == [0.1]
    assert (status(lab, "web"), lab.containers.get("web").restart_count) == ("running", 1)
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
    lab.agenda.elapse()
    assert status(lab, "web") == "exited"
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
