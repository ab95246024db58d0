"""A daemon that dies in the middle of a request: the next one finds it wholly done, or has it wholly undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netpy.errors import KernelError
from tests.unit.container_lab import Lab, leftovers, network, status, until
from tests.unit.test_containers_recovery import Crash, crash_at


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    network(made, "front")
    network(made, "back")
    yield made
    made.close()


def crash(lab: Lab, owner: object, name: str, act: Callable[[], Any], *, after: bool) -> None:
    """Die in a call, and have another daemon take over."""
    with pytest.MonkeyPatch.context() as patched:
        crash_at(patched, owner, name, after=after)
        patched.setattr("engine.containers.creation.undo", lambda parts, entry: None)  # the dead undo nothing
        patched.setattr("engine.containers.ending.Endings._given_up", lambda self, entry: None)
        if name == "kill":  # nor do they see the end of anything
            for process in lab.runtime.processes.values():
                process.watchers.clear()
        with pytest.raises(Crash):
            act()
    lab.reboot()


def plugged(lab: Lab) -> tuple[list[str], list[str], int]:
    """The networks of the container by its record and by the controller, and how many addresses its hosts file has."""
    container = lab.containers.get("web")
    live = [lab.controller.network(e.network_id).name for e in lab.containers.endpoints(container)]
    hosts = lab.parts.files.paths(container.id)["/etc/hosts"].read_text()
    return [a.network for a in container.attachments], live, hosts.count(f"\t{container.config['Hostname']}\n")


BOTH, ONE = (["front", "back"], ["front", "back"], 2), (["front"], ["front"], 1)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("place", ["controller.attach", "files.plugged", "records.change"])
def test_a_connect_is_whole_or_not_at_all(lab: Lab, place: str, after: bool) -> None:
    lab.run("web", NetworkMode="front")
    owner, _, name = place.partition(".")
    settings = {"IPAMConfig": {"IPv4Address": "172.19.0.9"}}
    crash(lab, getattr(lab.parts, owner), name, lambda: lab.containers.connect("back", "web", settings), after=after)
    done = place == "records.change" and after
    assert plugged(lab) == (BOTH if done else ONE)
    assert bool(lab.controller.reservations(lab.containers.get("web").id)) == done
    if not done:
        lab.containers.connect("back", "web", settings)
        assert plugged(lab) == BOTH


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("place", ["records.change", "controller.detach", "files.unplugged"])
def test_a_disconnect_is_whole_or_not_at_all(lab: Lab, place: str, after: bool) -> None:
    lab.run("web", NetworkMode="front")
    lab.containers.connect("back", "web", {})
    owner, _, name = place.partition(".")
    crash(lab, getattr(lab.parts, owner), name, lambda: lab.containers.disconnect("back", "web"), after=after)
    assert plugged(lab) == (BOTH if place == "records.change" and not after else ONE)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("place", "volumes"),
    [
        ("runtime.kill", False),
        ("runtime.kill", True),
        ("records.drop", False),
        ("records.drop", True),
        ("volumes.remove", True),
    ],
)
def test_a_forced_removal_is_finished(lab: Lab, place: str, volumes: bool, after: bool) -> None:
    lab.run("web", {"Volumes": {"/data": {}}}, Binds=["named:/named"])
    owner, _, name = place.partition(".")
    place_of = {"runtime": lab.runtime}.get(owner) or getattr(lab.parts, owner)
    crash(lab, place_of, name, lambda: lab.containers.remove("web", force=True, volumes=volumes), after=after)
    until(lambda: lab.containers.all() == [])
    assert leftovers(lab) == []
    assert len(lab.containers.volumes.all()) == (1 if volumes else 2)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("place", ["runtime.kill", "runtime.delete"])
def test_a_stop_is_finished(lab: Lab, place: str, after: bool) -> None:
    lab.run("web", RestartPolicy={"Name": "unless-stopped"})
    if place == "runtime.kill":
        crash(lab, lab.runtime, "kill", lambda: lab.containers.stop("web"), after=after)
    else:
        entry = lab.parts.records.find("web")
        lab.parts.records.change(entry, stopped_by_user=True, facts=dict(entry.container.facts) | {"phase": "stopping"})
        lab.crash()
        lab.runtime.end(entry.id, 143)
        lab.boot()
        lab.containers.recover()
    until(lambda: status(lab, "web") == "exited")
    lab.reboot()
    assert status(lab, "web") == "exited"
    lab.containers.start("web")
    assert "phase" not in lab.containers.get("web").facts


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("place", ["runtime.kill", "kernel.create_netns", "runtime.create", "runtime.start"])
def test_a_restart_is_finished(lab: Lab, place: str, after: bool) -> None:
    identity = lab.run("web", AutoRemove=True)
    before = lab.containers.get("web").state.pid
    owner, _, name = place.partition(".")
    crash(lab, getattr(lab, owner), name, lambda: lab.containers.restart("web"), after=after)
    until(lambda: status(lab, "web") == "running" and lab.containers.get("web").state.pid != before)
    container = lab.containers.get("web")
    assert "phase" not in container.facts
    assert container.host_config["AutoRemove"] is True
    lab.runtime.end(identity, 0)
    until(lambda: lab.containers.all() == [])


@pytest.mark.parametrize("stage", ["created", "running", "exited"])
def test_what_a_build_was_at_goes_with_its_daemon(lab: Lab, stage: str) -> None:
    identity = lab.containers.intermediate(config={"Image": "busybox", "Volumes": {"/data": {}}}, host_config={})
    if stage != "created":
        lab.containers.start(identity)
    if stage == "exited":
        lab.runtime.end(identity, 0)
        until(lambda: status(lab, identity) == "exited")
    lab.reboot()
    assert lab.containers.all() == []
    assert lab.containers.volumes.all() == []
    assert leftovers(lab) == []


def test_what_a_build_leaves_to_be_looked_at_stays(lab: Lab) -> None:
    identity = lab.containers.intermediate(config={"Image": "busybox"}, host_config={})
    lab.containers.keep(identity)
    lab.reboot()
    assert status(lab, identity) == "created"


def test_one_that_removes_itself_does_so_although_nobody_saw_its_end(lab: Lab) -> None:
    lab.create("unborn", AutoRemove=True)
    lab.run("web", AutoRemove=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("engine.containers.ending.Endings.remove_quietly", lambda self, entry: None)
        lab.containers.stop("web")
    lab.reboot()
    assert [container.name for container in lab.containers.all()] == ["unborn"]


@pytest.mark.parametrize("after", [False, True])
def test_a_half_made_container_takes_its_volumes_with_it(lab: Lab, after: bool) -> None:
    lab.containers.volumes.create("old")
    options = {"Binds": ["old:/old", "fresh:/fresh"]}
    act = lambda: lab.create("web", {"Volumes": {"/data": {}}}, **options)  # noqa: E731
    crash(lab, lab.containers.volumes, "create", act, after=after)
    assert [volume["Name"] for volume in lab.containers.volumes.all()] == ["old"]
    act()
    lab.containers.remove("web", volumes=True)
    assert sorted(volume["Name"] for volume in lab.containers.volumes.all()) == ["fresh", "old"]


@pytest.mark.parametrize("after", [False, True])
def test_a_volume_is_removed_with_its_files_or_not_at_all(lab: Lab, after: bool) -> None:
    lab.containers.volumes.create("data")
    kept = lab.containers.volumes.path("data") / "file"
    kept.write_text("kept")
    crash(lab, lab.store, "delete", lambda: lab.containers.volumes.remove("data"), after=after)
    assert kept.exists() is not after
    assert lab.containers.volumes.exists("data") is not after
    assert [path.name for path in (lab.root / "volumes").iterdir()] == ([] if after else ["data"])


def test_an_end_that_could_not_be_recorded_is_recorded_later(lab: Lab) -> None:
    """The disk is full while a container ends: afterwards it has ended, and is not in anybody's way."""
    identity = lab.run("web", PortBindings={"80/tcp": [{"HostPort": "8800"}]})
    waiter = lab.containers.wait("web")

    def full(*args: Any, **kwargs: Any) -> None:
        raise KernelError("using the store: database or disk is full")

    with pytest.MonkeyPatch.context() as patched:
        for write in ("put", "set"):
            patched.setattr(lab.store, write, full)
        lab.runtime.end(identity, 7)
        until(lab.agenda.due)
        assert status(lab, "web") == "running"
    lab.agenda.elapse()
    assert waiter.result(5) == (7, "")
    assert status(lab, "web") == "exited"
    assert leftovers(lab) == []
    lab.containers.remove("web")


def test_what_could_not_be_given_back_at_the_end_is_given_back_later(lab: Lab) -> None:
    identity = lab.run("web", PortBindings={"80/tcp": [{"HostPort": "8800"}]})

    def full(*args: Any) -> None:
        raise KernelError("writing the store: database or disk is full")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lab.parts.controller, "release", full)
        lab.runtime.end(identity, 7)
        until(lambda: status(lab, "web") == "exited" and lab.agenda.due())
        lab.agenda.elapse()
        assert leftovers(lab) != [], "it is still too early"
    lab.agenda.elapse()
    assert leftovers(lab) == []
    assert lab.agenda.due() == []


@pytest.mark.parametrize("place", ["volumes.remove", "records.drop", "store.delete"])
def test_a_removal_that_met_a_full_disk_can_be_asked_for_again(lab: Lab, place: str) -> None:
    lab.create("web", {"Volumes": {"/data": {}}})
    owner, _, name = place.partition(".")

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device") if owner == "volumes" else KernelError("disk is full")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lab.store if owner == "store" else getattr(lab.parts, owner), name, full)
        with pytest.raises((OSError, KernelError), match=r"No space|full"):
            lab.containers.remove("web", volumes=True)
    assert status(lab, "web") == "dead"
    assert [path.name for path in (lab.root / "volumes").iterdir() if path.name.startswith(".")] == []
    lab.containers.remove("web", volumes=True)
    assert lab.containers.all() == []
    assert lab.containers.volumes.all() == []
