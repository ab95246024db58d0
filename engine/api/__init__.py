"""The HTTP server of the Docker Engine API: `serve` a daemon on sockets until told to stop.

Who does what: `server` accepts, `connection` frames, `router` finds, the modules by noun (`networks`, `drivers`,
`containers`, `streaming`, `exec`, `images`, `build`, `registry`, `volumes`, `system`) decode and encode, `views` shape,
`errors` says how failures look.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

from engine.api.archive import Archive
from engine.api.backend import Daemon
from engine.api.build import Build
from engine.api.containers import Containers
from engine.api.drivers import Drivers
from engine.api.exec import Exec
from engine.api.images import Images
from engine.api.networks import Networks
from engine.api.registry import Registry
from engine.api.router import Router
from engine.api.server import Server
from engine.api.streaming import Streams
from engine.api.swarm import Swarm
from engine.api.system import System, banner
from engine.api.volumes import Volumes


def serve(daemon: Daemon, sockets: Sequence[socket.socket], stop: threading.Event) -> None:
    """Serve the API on listening sockets, one thread per connection, until `stop` is set.

    Then nothing new is accepted, idle connections and streams end, and requests under way get some seconds to finish.
    """
    grace = float(daemon.settings.shutdown_timeout)
    Server(sockets, router(daemon), banner=banner(experimental=daemon.settings.experimental), grace=grace).run(stop)


def router(daemon: Daemon) -> Router:
    """All routes of the API over that daemon."""
    nouns = (System, Networks, Drivers, Containers, Streams, Exec, Archive, Registry, Images, Build, Volumes, Swarm)
    return Router(route for noun in nouns for route in noun(daemon).routes())
