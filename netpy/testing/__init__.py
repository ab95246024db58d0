"""For authors of drivers and of programs on top of netpy: suites to pass, and a world in memory to try things in.

* `DriverContract`: what every network driver has to do. Needs no root. `LinuxContract` tries it on the real kernel, in
  namespaces of its own, and is skipped without root.
* `IpamContract`: the same for address managers.
* `machine()`, `Machine`: a whole controller on an in-memory kernel that refuses what the real one refuses.

A driver's test module derives a class from a suite and says what the driver is; pytest does the rest, and so does
`netpy driver test MODULE` without pytest:

    class TestMyDriver(DriverContract):
        def driver(self) -> Driver:
            return MyDriver(Defaults())

When a rule is broken the failure says which one, and why it is there. Needs no pytest itself.
"""

from netpy.testing.drivers import DriverContract
from netpy.testing.ipam import IpamContract
from netpy.testing.linux import LinuxContract
from netpy.testing.rules import Broken, Outcome, run
from netpy.testing.world import Machine, RecordingNames, machine

__all__ = [
    "Broken",
    "DriverContract",
    "IpamContract",
    "LinuxContract",
    "Machine",
    "Outcome",
    "RecordingNames",
    "machine",
    "run",
]
