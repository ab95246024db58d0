"""Finds drivers: built-in ones, installed packages by entry points, and whatever finders find.

The groups are `netpy.drivers` and `netpy.ipam`, for drivers by name, and `netpy.finders`, for those whose names are not
known beforehand. Built-in names cannot be taken by a package, and a name that two packages offer is refused until one
of them is uninstalled: which of the two would have been meant nobody can tell, and it could change from start to start.

`seek` loads, which runs foreign code and may block; callers hold no lock and set a time limit. `get` never does for a
name that was sought before: it gives the driver, or the reason why there is none. What cannot be loaded is named in the
log and to whoever asks, is tried again when it is sought again, and harms no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from netpy.drivers import Defaults, Driver, Finder, Option, Traits
from netpy.drivers.addressing import IpamDriver, IpamTraits
from netpy.drivers.bridge import BridgeDriver
from netpy.drivers.guard import Guarded
from netpy.drivers.special import HostDriver, NullDriver
from netpy.errors import Conflict, NetpyError, NotFound, Unsupported

GROUP, IPAM_GROUP, FINDER_GROUP = "netpy.drivers", "netpy.ipam", "netpy.finders"
BUILT_IN: Mapping[str, Callable[[Defaults], Driver]] = {
    "bridge": BridgeDriver,
    "host": HostDriver,
    "null": NullDriver,
}
BUILT_IN_IPAM = ("default", "null")
T = TypeVar("T")
logger = logging.getLogger(__name__)


class Registry:
    """Drivers by name, each made once, with the daemon's defaults. `plugins` replaces all entry points, for tests."""

    def __init__(self, defaults: Defaults, plugins: Iterable[EntryPoint] | None = None) -> None:
        self._defaults = defaults
        self._drivers: dict[str, Driver] = {}
        self._ipam: dict[str, IpamDriver] = {}
        self._finders: dict[str, Finder] = {}
        self._failures: dict[tuple[str, str], NetpyError] = {}
        self._plugins = plugins

    # ---- names ---------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Every driver name that could be asked for, loaded or not, sorted. Finders are asked, and may block."""
        found = {name for _, finder in self._each_finder() for name in self._names_of(finder)}
        return sorted({*self.installed(), *found})

    def installed(self) -> list[str]:
        """Every driver name that is built in, an installed package or in use, sorted. Does not block."""
        return sorted({*BUILT_IN, *self._drivers, *(point.name for point in self._points(GROUP))})

    def ipam_names(self) -> list[str]:
        """Every IPAM driver that is built in or an installed package, sorted."""
        return sorted({*BUILT_IN_IPAM, *self._ipam, *(point.name for point in self._points(IPAM_GROUP))})

    # ---- network drivers -----------------------------------------------------------------------------------------

    def get(self, name: str) -> Driver:
        """The driver of that name: NotFound where there is none, Unsupported where it does not load. Quick."""
        if name in self._drivers:
            return self._drivers[name]
        if failure := self._failures.get((GROUP, name)):
            raise _again(failure)
        return self.seek(name)

    def has(self, name: str) -> bool:
        """Whether `seek` would have nothing to do."""
        return name in self._drivers

    def seek(self, name: str) -> Driver:
        """As `get`, but what failed before is tried again. Runs foreign code."""
        if name not in self._drivers:
            self._tried(GROUP, name, lambda: self._drivers.setdefault(name, self._load(name)))
        return self._drivers[name]

    def add(self, name: str, driver: Driver, origin: str = "given") -> None:
        """A driver that is at hand already, kept to the rules like any other that is not built in."""
        self._drivers[name] = Guarded(_checked(driver, name, origin), origin, self._defaults.instance)
        self._failures.pop((GROUP, name), None)

    # ---- IPAM drivers --------------------------------------------------------------------------------------------

    def ipam(self, name: str) -> IpamDriver:
        """The IPAM driver of that name, which is none of the built-in ones. As `get`."""
        if name in self._ipam:
            return self._ipam[name]
        if failure := self._failures.get((IPAM_GROUP, name)):
            raise _again(failure)
        return self.seek_ipam(name)

    def has_ipam(self, name: str) -> bool:
        """Whether `seek_ipam` would have nothing to do."""
        return name in self._ipam

    def seek_ipam(self, name: str) -> IpamDriver:
        """As `seek`."""
        if name not in self._ipam:
            self._tried(IPAM_GROUP, name, lambda: self._ipam.setdefault(name, self._load_ipam(name)))
        return self._ipam[name]

    def add_ipam(self, name: str, driver: IpamDriver) -> None:
        """An IPAM driver that is at hand already."""
        self._ipam[name] = _checked_ipam(driver, name, "given")

    # ---- loading -------------------------------------------------------------------------------------------------

    def _tried(self, group: str, name: str, load: Callable[[], object]) -> None:
        try:
            load()
        except NetpyError as error:
            if not isinstance(error, NotFound):
                logger.warning("%s", error)
            self._failures[group, name] = error
            raise
        self._failures.pop((group, name), None)

    def _points(self, group: str) -> list[EntryPoint]:
        if self._plugins is not None:
            return [point for point in self._plugins if point.group == group]
        return list(entry_points(group=group))

    def _load(self, name: str) -> Driver:
        if name in BUILT_IN:
            self._warn_of_impostors(name)
            return BUILT_IN[name](self._defaults)
        point = _only(name, [point for point in self._points(GROUP) if point.name == name], "driver")
        if point:
            made: Any = _made(point, self._defaults, f"driver {name}")
            return Guarded(_checked(made, name, _origin(point)), _origin(point), self._defaults.instance)
        for place, finder in self._each_finder():
            found: Any = _guarded(f"finder {place}: looking for driver {name}", lambda f=finder: f.driver(name))
            if found is not None:
                return Guarded(_checked(found, name, place), place, self._defaults.instance)
        raise NotFound(f'could not find plugin {name} in the list of installed drivers: plugin "{name}" not found')

    def _load_ipam(self, name: str) -> IpamDriver:
        point = _only(name, [point for point in self._points(IPAM_GROUP) if point.name == name], "ipam driver")
        if point:
            made: Any = _made(point, self._defaults, f"ipam driver {name}")
            return _checked_ipam(made, name, _origin(point))
        for place, finder in self._each_finder():
            found: Any = _guarded(f"finder {place}: looking for ipam driver {name}", lambda f=finder: f.ipam(name))
            if found is not None:
                return _checked_ipam(found, name, place)
        raise NotFound(f'could not find plugin {name} in ipam registry: plugin "{name}" not found')

    def _warn_of_impostors(self, name: str) -> None:
        for point in self._points(GROUP) if self._plugins is not None else ():
            if point.name == name:
                logger.warning("driver %s is built in: the one of %s is not used", name, _origin(point))

    # ---- finders -------------------------------------------------------------------------------------------------

    def _each_finder(self) -> Sequence[tuple[str, Finder]]:
        for point in self._points(FINDER_GROUP):
            place = _origin(point)
            if place in self._finders:
                continue
            try:
                made: Any = _made(point, self._defaults, f"finder {point.name}")
                if not isinstance(made, Finder):
                    raise Unsupported(f"finder {point.name} ({place}) lacks part of the Finder protocol")
            except NetpyError as error:
                logger.warning("%s", error)
                continue
            self._finders.setdefault(place, made)
        return list(self._finders.items())

    def _names_of(self, finder: Finder) -> list[str]:
        try:
            return [str(name) for name in finder.names()]
        except Exception as error:  # a plugin's code may raise anything
            logger.warning("finder %s: names failed: %r", type(finder).__name__, error)
            return []


def _only(name: str, points: Sequence[EntryPoint], what: str) -> EntryPoint | None:
    """The one entry point, or None; Conflict when two packages offer the name."""
    distinct = {_origin(point): point for point in points}
    if len(distinct) > 1:
        raise Conflict(f"{what} {name} is offered by {' and by '.join(sorted(distinct))}: uninstall all but one")
    return next(iter(distinct.values()), None)


def _made(point: EntryPoint, defaults: Defaults, what: str) -> object:
    try:
        return point.load()(defaults)
    except (Exception, SystemExit) as error:  # a plugin's code may raise anything
        raise Unsupported(f"{what} ({_origin(point)}) cannot be loaded: {error!r}") from error


def _guarded(what: str, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except NetpyError:
        raise
    except Exception as error:
        raise Unsupported(f"{what} failed: {error!r}") from error


def _checked(made: object, name: str, origin: str) -> Driver:
    if not isinstance(made, Driver):
        raise Unsupported(f"driver {name} ({origin}) lacks part of the Driver protocol: {_missing(made, Driver)}")
    if made.name != name:
        raise Unsupported(f"driver {name} ({origin}) calls itself {made.name!r}: name and entry point must agree")
    if not isinstance(made.traits, Traits):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise Unsupported(f"driver {name} ({origin}): traits is {made.traits!r}, not a Traits")
    _check_options(f"driver {name} ({origin})", made.options, made.endpoint_options)
    return made


def _checked_ipam(made: object, name: str, origin: str) -> IpamDriver:
    if not isinstance(made, IpamDriver):
        lacks = _missing(made, IpamDriver)
        raise Unsupported(f"ipam driver {name} ({origin}) lacks part of the IpamDriver protocol: {lacks}")
    if made.name != name or not isinstance(made.traits, IpamTraits):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise Unsupported(f"ipam driver {name} ({origin}): its name is {made.name!r}, its traits {made.traits!r}")
    _check_options(f"ipam driver {name} ({origin})", made.options)
    return made


def _check_options(who: str, *tables: object) -> None:
    for table in tables:
        if not isinstance(table, Mapping) or not all(isinstance(option, Option) for option in table.values()):  # pyright: ignore[reportUnknownVariableType]
            raise Unsupported(f"{who}: its options are {table!r}, not a mapping of names to Option")


def _missing(made: object, protocol: type) -> str:
    wanted = {*vars(protocol), *getattr(protocol, "__annotations__", {})}
    return ", ".join(sorted(name for name in wanted if not name.startswith("_") and not hasattr(made, name)))


def _origin(point: EntryPoint) -> str:
    """Which package an entry point is of: `netpy-macvlan 1.0, netpy_macvlan:MacvlanDriver`."""
    package = getattr(point, "dist", None)
    return f"{package.name} {package.version}, {point.value}" if package else point.value


def _again(failure: NetpyError) -> NetpyError:
    """The same error anew, without the traceback of the first time."""
    return type(failure)(str(failure))
