"""The routes of drivers: which there are, and their options, so that no client need load them. No I/O of its own."""

from __future__ import annotations

from collections.abc import Mapping

from engine.api.backend import Daemon
from engine.api.reply import Reply, document
from engine.api.request import Request
from engine.api.router import Route
from engine.model import Json
from netpy.drivers import Option
from netpy.drivers.registry import BUILT_IN, BUILT_IN_IPAM
from netpy.errors import NetpyError


class Drivers:
    """Handlers over one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/netpy/drivers", self.list),
            Route("GET", "/netpy/drivers/{name}", self.driver),
            Route("GET", "/netpy/ipam/{name}", self.ipam),
        ]

    def list(self, request: Request) -> Reply:
        """Every network and IPAM driver: whether it is built in, where it is from, and what is wrong with it."""
        controller = self._daemon.controller
        rows = [_row("network", name, name in BUILT_IN) for name in controller.driver_names()]
        rows += [_row("ipam", name, name in BUILT_IN_IPAM) for name in controller.ipam_names()]
        return document([row if row["BuiltIn"] else row | self._found(row) for row in rows])

    def driver(self, request: Request) -> Reply:
        """The options of a network driver, those of its networks and those of endpoints."""
        driver = self._daemon.controller.driver(request.params["name"])
        return document(
            {
                "Name": driver.name,
                "Origin": getattr(driver, "origin", ""),
                "AnyOption": driver.traits.any_option,
                "Options": _options(driver.options),
                "EndpointOptions": _options(driver.endpoint_options),
            }
        )

    def ipam(self, request: Request) -> Reply:
        """The options of an IPAM driver."""
        driver = self._daemon.controller.ipam_driver(request.params["name"])
        return document(
            {"Name": driver.name, "AnyOption": driver.traits.any_option, "Options": _options(driver.options)}
        )

    def _found(self, row: Json) -> Json:
        controller = self._daemon.controller
        try:
            found = controller.driver(row["Name"]) if row["Kind"] == "network" else controller.ipam_driver(row["Name"])
        except NetpyError as error:
            return {"Problem": str(error)}
        return {"Origin": getattr(found, "origin", type(found).__module__)}


def _row(kind: str, name: str, built_in: bool) -> Json:
    return {"Kind": kind, "Name": name, "BuiltIn": built_in, "Origin": "", "Problem": ""}


def _options(options: Mapping[str, Option]) -> list[Json]:
    return [
        {"Name": name, "Type": option.kind, "Default": option.default, "Help": option.help}
        for name, option in options.items()
    ]
