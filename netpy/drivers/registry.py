"""Finds drivers: built-in ones and installed plugins alike, by the entry points of `netpy.drivers`.

A driver is loaded when its name is first used. One that cannot be loaded is reported by name, as an error to
whoever asked for it and as a line in the log, and harms no other. No kernel I/O.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from netpy.drivers import Defaults, Driver
from netpy.drivers.bridge import BridgeDriver
from netpy.drivers.special import HostDriver, NullDriver
from netpy.errors import NotFound, Unsupported

GROUP = "netpy.drivers"
BUILT_IN: Mapping[str, Callable[[Defaults], Driver]] = {
    "bridge": BridgeDriver,
    "host": HostDriver,
    "null": NullDriver,
}
logger = logging.getLogger(__name__)


class Registry:
    """Drivers by name, each made once, with the daemon's defaults."""

    def __init__(self, defaults: Defaults, plugins: Iterable[EntryPoint] | None = None) -> None:
        self._defaults = defaults
        self._drivers: dict[str, Driver] = {}
        self._plugins = plugins

    def names(self) -> list[str]:
        """Every driver name that could be asked for, loaded or not, sorted."""
        return sorted({*BUILT_IN, *(point.name for point in self._points())})

    def get(self, name: str) -> Driver:
        """The driver of that name: NotFound where there is none, Unsupported where it does not load."""
        if name not in self._drivers:
            self._drivers[name] = self._load(name)
        return self._drivers[name]

    def _points(self) -> list[EntryPoint]:
        if self._plugins is None:
            self._plugins = entry_points(group=GROUP)
        return list(self._plugins)

    def _load(self, name: str) -> Driver:
        if name in BUILT_IN:
            return BUILT_IN[name](self._defaults)
        point = next((p for p in self._points() if p.name == name), None)
        if point is None:
            raise NotFound(f'could not find plugin {name} in the list of installed drivers: plugin "{name}" not found')
        try:
            made: Any = point.load()(self._defaults)
        except Exception as error:  # a plugin's code may raise anything
            logger.warning("driver %s (%s) cannot be loaded: %r", name, point.value, error)
            raise Unsupported(f"driver {name} ({point.value}) cannot be loaded: {error!r}") from error
        if not isinstance(made, Driver):
            raise Unsupported(f"driver {name} ({point.value}) lacks part of the Driver protocol")
        return made
