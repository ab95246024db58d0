"""Docker's legacy network and IPAM plugins (libnetwork's remote drivers) as drivers of netpy.

`DockerPlugins` is a finder: it looks for a plugin's socket or specification under the name that somebody asks for,
shakes hands and offers what is there. Where to look:

* `places` knows the directories and the three kinds of files; `wire` carries one request; `plugin` is a plugin that
  was found: its handshake, its calls, their errors;
* `bodies` (pure) writes what Docker would write, `answers` (pure) reads what comes back and refuses what may not be;
* `driver` and `ipam` put these behind netpy's protocols.
"""

from __future__ import annotations

from collections.abc import Sequence

from netpy.drivers import Defaults
from netpy_docker_remote.driver import RemoteDriver, capabilities
from netpy_docker_remote.ipam import RemoteIpam, ipam_capabilities
from netpy_docker_remote.places import Places
from netpy_docker_remote.plugin import IPAM, NETWORK, Plugin
from netpy_docker_remote.wire import Limits

__all__ = ["DockerPlugins", "RemoteDriver", "RemoteIpam"]


class DockerPlugins:
    """The finder. `places` and `limits` come from the environment unless they are given."""

    def __init__(self, defaults: Defaults, places: Places | None = None, limits: Limits | None = None) -> None:
        self._defaults = defaults
        self._places = places or Places.of_environment()
        self._limits = limits or Limits.of_environment()
        self._others: set[str] = set()

    def names(self) -> Sequence[str]:
        """Every plugin there is a file for, apart from those that turned out to be no network drivers. Asks nobody."""
        return [name for name in self._places.names() if name not in self._others]

    def driver(self, name: str) -> RemoteDriver | None:
        """The network driver of that name, after the handshake; None where there is no such plugin."""
        plugin = self._plugin(name, NETWORK)
        if plugin is None:
            return None
        return RemoteDriver(plugin, capabilities(plugin), self._defaults)

    def ipam(self, name: str) -> RemoteIpam | None:
        """The same for IPAM drivers."""
        plugin = self._plugin(name, IPAM)
        return None if plugin is None else RemoteIpam(plugin, ipam_capabilities(plugin))

    def _plugin(self, name: str, kind: str) -> Plugin | None:
        if self._places.find(name) is None:
            return None
        plugin = Plugin(name, self._places, self._limits)
        implements = plugin.activate()
        if NETWORK not in implements:
            self._others.add(name)
        return plugin if kind in implements else None
