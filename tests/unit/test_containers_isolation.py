"""What a container may ask for at its border, and the complaints about what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from engine.containers import isolation
from netpy.errors import InvalidArgument, NotFound


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"OomScoreAdj": 2000}, "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
        ({"ShmSize": -1}, "SHM size can not be less than 0"),
        ({"IpcMode": "foo"}, "Invalid IPC mode: foo"),
        ({"CgroupnsMode": "foo"}, "invalid cgroup namespace mode: foo"),
        ({"Isolation": "hyperv"}, "Invalid isolation: \"hyperv\" - linux only supports 'default'"),
        ({"VolumesFrom": [""]}, "volumes-from specification cannot be an empty string"),
        ({"StorageOpt": {"foo": "bar"}}, "Unknown option foo"),
        ({"StorageOpt": {"size": "1g"}}, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"),
        ({"CapAdd": ["FOO"]}, 'invalid CapAdd: unknown capability: "CAP_FOO"'),
        ({"SecurityOpt": ["foo=bar"]}, 'invalid --security-opt 2: "foo=bar"'),
        ({"ExtraHosts": ["foo"]}, "bad format for add-host: 'foo'"),
    ],
)  # fmt: skip
def test_what_cannot_be(asked: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        isolation.check(asked)
    assert str(refused.value) == complaint


@pytest.mark.parametrize("mode", ["", "none", "host", "private", "shareable", "container:x"])
def test_modes_of_shared_memory(mode: str) -> None:
    isolation.check({"IpcMode": mode})


def test_who_is_named_must_be_there() -> None:
    def find(name: str) -> object:
        raise NotFound(f"No such container: {name}")

    with pytest.raises(NotFound, match="No such container: x"):
        isolation.check_references({"PidMode": "container:x"}, find, [])
    with pytest.raises(NotFound, match="could not get container for db: No such container: db"):
        isolation.check_references({"NetworkMode": "bridge"}, find, [("db", "alias")])
    isolation.check_references({"NetworkMode": "front", "PidMode": "host"}, find, [("db", "alias")])


def test_an_image_for_another_machine() -> None:
    image = {"os": "linux", "architecture": "amd64"}
    assert not any(
        isolation.platform_refusal("x", wanted, image) for wanted in ("", "linux", "linux/amd64", "linux/x86_64")
    )
    assert isolation.platform_refusal("x", "linux/arm64", image) == (
        "image with reference x was found but does not match the specified platform: "
        "wanted linux/arm64, actual: linux/amd64"
    )


def test_devices_by_what_they_can_do() -> None:
    assert isolation.gpu_refusal({}) == ""
    asked = {"DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"], ["a", "b"]]}]}
    assert isolation.gpu_refusal(asked) == 'could not select device driver "" with capabilities: [[gpu] [a b]]'
