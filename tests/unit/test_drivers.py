"""The built-in drivers pass the suites that every driver passes."""

from __future__ import annotations

from netpy.drivers import Defaults, Driver
from netpy.drivers.addressing import IpamDriver
from netpy.drivers.bridge import BridgeDriver
from netpy.drivers.builtin import DefaultIpam
from netpy.drivers.special import HostDriver, NullDriver
from netpy.model import NetworkSpec
from netpy.testing import DriverContract, IpamContract


class TestBridge(DriverContract):
    def driver(self) -> Driver:
        return BridgeDriver(Defaults())


class TestInternalBridge(DriverContract):
    def driver(self) -> Driver:
        return BridgeDriver(Defaults(icc=False, direct_routing=True))

    def spec(self) -> NetworkSpec:
        return NetworkSpec(name="contract", internal=True, options={"com.docker.network.bridge.name": "inside"})


class TestHost(DriverContract):
    def driver(self) -> Driver:
        return HostDriver(Defaults())


class TestNull(DriverContract):
    def driver(self) -> Driver:
        return NullDriver(Defaults())


class TestDefaultIpam(IpamContract):
    def driver(self) -> IpamDriver:
        return DefaultIpam()
