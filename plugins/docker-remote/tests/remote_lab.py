"""What the adapter's tests play with: a machine in memory whose drivers are plugins on sockets."""

from __future__ import annotations

from pathlib import Path

from netpy_docker_remote import DockerPlugins
from netpy_docker_remote.places import Places
from netpy_docker_remote.wire import Limits

from netpy.drivers import Defaults
from netpy.model import EndpointSpec, NetworkSpec
from netpy.objects import Device
from netpy.testing import Machine, machine

QUICK = Limits(answer=0.7, retry=0.3, farewell=0.0)
STEADY = Limits(answer=20, retry=0.3, farewell=0.0)
PATIENT = Limits(answer=20, retry=5, farewell=1)


def finder(directory: Path, limits: Limits = PATIENT) -> DockerPlugins:
    places = Places(sockets=(directory,), specs=(directory / "specs",))
    return DockerPlugins(Defaults(), places, limits)


def world(directory: Path, limits: Limits = PATIENT) -> Machine:
    """A machine whose drivers come from a finder over this directory."""
    found = finder(directory, limits)
    driver, ipam = found.driver("plug"), found.ipam("plug")
    assert driver and ipam
    made = machine()
    made.plugins = {"plug": lambda defaults: driver}
    made.ipam = {"plug": ipam}
    made.restart()
    source = Device(kind="dummy", name="src0", mark="")
    made.kernel.objects[source.key] = source
    return made


def connect(made: Machine, number: int = 1, **more: object) -> None:
    spec = EndpointSpec(name=f"c{number}", **more)  # pyright: ignore[reportArgumentType]
    made.controller.attach(made.sandbox(number), [("n", spec)])


def back(made: Machine, **more: object) -> None:
    made.controller.create_network(NetworkSpec(name="n", driver="plug", **more))  # pyright: ignore[reportArgumentType]


def limits(fault: str) -> Limits:
    """Short ones for faults that never answer."""
    return QUICK if fault in {"hang", "drip"} else STEADY
