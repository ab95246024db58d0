"""Daemons that die at any moment, and those that take over, with a runtime that only pretends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netpy.errors import KernelError
from tests.unit.container_lab import ALWAYS, Lab, leftovers, network, status, until


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


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
    assert status(lab, "web") == "restarting"
    lab.agenda.elapse()
    assert status(lab, "web") == "running"


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
@pytest.mark.parametrize(("owner", "name"), [("runtime", "delete"), ("controller", "release"), ("mounter", "unmount")])
def test_a_crash_during_a_removal(lab: Lab, owner: str, name: str, after: bool) -> None:
    bundle = lab.parts.paths.bundle(lab.create("web"))
    bundle.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patched:
        crash_at(patched, getattr(lab, owner), name, after=after)
        with pytest.raises(Crash):
            lab.containers.remove("web")
    lab.reboot()
    assert lab.containers.all() == []
    assert leftovers(lab) == []


@pytest.mark.parametrize("kept", [False, True])
def test_what_a_run_could_not_give_back_goes_with_the_container(lab: Lab, kept: bool) -> None:
    lab.run("web")
    asked: list[Path] = []

    def refuse(target: Path) -> None:
        asked.append(target)
        if kept and len(asked) == 1:
            raise KernelError("busy")
        unmount(target)

    unmount = lab.mounter.unmount
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lab.mounter, "unmount", refuse)
        lab.containers.stop("web")
        lab.containers.remove("web")
    assert len(asked) == (2 if kept else 1)
    assert leftovers(lab) == []


def test_a_crash_during_a_create(lab: Lab) -> None:
    with pytest.MonkeyPatch.context() as patched:
        crash_at(patched, lab.containers.volumes, "create", after=True)
        patched.setattr("engine.containers.creation.undo", lambda parts, entry: None)
        with pytest.raises(Crash):
            lab.create("web", Binds=["vol:/data"])
    lab.reboot()
    assert lab.containers.all() == []
