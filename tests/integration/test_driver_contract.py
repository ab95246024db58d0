"""The built-in drivers, and the one that plugins/README.md shows, on the real kernel."""

from __future__ import annotations

import pytest

from netpy.drivers import Defaults, Driver
from netpy.drivers.bridge import BridgeDriver
from netpy.drivers.special import HostDriver, NullDriver
from netpy.testing import LinuxContract
from tests.unit.test_plugin_readme import example

pytestmark = pytest.mark.root


class TestBridge(LinuxContract):
    def driver(self) -> Driver:
        return BridgeDriver(Defaults())


class TestHost(LinuxContract):
    def driver(self) -> Driver:
        return HostDriver(Defaults())


class TestNull(LinuxContract):
    def driver(self) -> Driver:
        return NullDriver(Defaults())


class TestRouted(LinuxContract):
    def driver(self) -> Driver:
        return example()["RoutedDriver"](Defaults())
