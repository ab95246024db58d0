"""`docker update`: what a change makes of a configuration, and how it reaches a container that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.containers.updating import merged
from engine.model import Json
from netpy.errors import Conflict, InvalidArgument, KernelError
from tests.unit.container_lab import ALWAYS, Lab, actions

MB = 1 << 20


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("present", "change", "after"),
    [
        ({"CpuShares": 2, "Memory": 9}, {"CpuShares": 512}, {"CpuShares": 512, "Memory": 9}),
        ({"CpuShares": 2}, {"CpuShares": 0, "CpusetCpus": ""}, {"CpuShares": 2}),
        ({"MemorySwap": 20 * MB}, {"Memory": 20 * MB}, {"Memory": 20 * MB, "MemorySwap": 20 * MB}),
        ({"Memory": 5, "MemorySwap": -1}, {"CpuShares": 1}, {"Memory": 5, "MemorySwap": -1, "CpuShares": 1}),
        ({}, {"Memory": 9, "MemorySwap": -1}, {"Memory": 9, "MemorySwap": -1}),
        ({"PidsLimit": 7}, {"PidsLimit": -1}, {"PidsLimit": 0}),
        ({"PidsLimit": 7}, {"PidsLimit": None}, {"PidsLimit": 7}),
        ({"RestartPolicy": ALWAYS}, {"RestartPolicy": {"Name": ""}}, {"RestartPolicy": ALWAYS}),
        (
            {"AutoRemove": True},
            {"RestartPolicy": {"Name": "no"}},
            {"AutoRemove": True, "RestartPolicy": {"Name": "no"}},
        ),
    ],
)
def test_what_is_not_named_stays(present: Json, change: Json, after: Json) -> None:
    assert merged(present, change) == after


@pytest.mark.parametrize(
    ("present", "change", "words"),
    [
        ({"MemorySwap": 20 * MB}, {"Memory": 21 * MB}, "Memory limit should be smaller than already set memoryswap"),
        ({"CpuPeriod": 1}, {"NanoCpus": 1}, "Nano CPUs cannot be updated as CPU Period has already been set"),
        ({"CpuQuota": 1}, {"NanoCpus": 1}, "Nano CPUs cannot be updated as CPU Quota has already been set"),
        ({"NanoCpus": 1}, {"CpuPeriod": 1}, "CPU Period cannot be updated as NanoCPUs has already been set"),
        ({"NanoCpus": 1}, {"CpuQuota": 1}, "CPU Quota cannot be updated as NanoCPUs has already been set"),
        ({"AutoRemove": True}, {"RestartPolicy": ALWAYS}, "Restart policy cannot be updated because AutoRemove is"),
    ],
)
def test_what_does_not_go_together(present: Json, change: Json, words: str) -> None:
    with pytest.raises(Conflict, match=words):
        merged(present, change)


def test_a_running_container_gets_its_limits_at_once(lab: Lab) -> None:
    lab.run("web", Memory=20 * MB)
    assert lab.containers.update("web", {"Memory": 30 * MB, "PidsLimit": 9}) == []
    assert lab.runtime.updates == [{"memory": {"limit": 30 * MB, "swap": 40 * MB}, "pids": {"limit": 9}}]
    assert lab.containers.get("web").host_config["Memory"] == 30 * MB
    assert actions(lab)[-1] == "update"
    lab.containers.update("web", {"RestartPolicy": ALWAYS})
    assert len(lab.runtime.updates) == 1, "a policy is no business of the runtime"
    lab.containers.update("web", {"PidsLimit": -1})
    assert lab.runtime.updates[-1]["pids"] == {"limit": -1}


def test_what_does_not_run_is_only_recorded(lab: Lab) -> None:
    lab.create("web")
    lab.containers.update("web", {"CpuShares": 7})
    assert lab.runtime.updates == []
    assert lab.containers.get("web").host_config["CpuShares"] == 7


def test_a_failure_changes_nothing(lab: Lab) -> None:
    identity = lab.run("web")
    before = lab.containers.get("web")
    lab.runtime.refuse = KernelError("device or resource busy")
    with pytest.raises(KernelError) as caught:
        lab.containers.update("web", {"CpuShares": 7})
    assert str(caught.value) == f"Cannot update container {identity}: device or resource busy"
    for wrong in ({"CpusetCpus": "0-9"}, {"CpusetCpus": "x"}, {"Memory": 5}, {"CpuPeriod": 5}, {"BlkioWeight": 5}):
        with pytest.raises(InvalidArgument):
            lab.containers.update("web", wrong)
    assert lab.containers.get("web") == before
