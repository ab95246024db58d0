"""A daemon without a kernel, for tests of the API: it keeps values and obeys the signatures of `engine.api.backend`."""

from __future__ import annotations

import grp
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import listening
from engine.api import serve
from engine.events import Events
from engine.settings import Settings

from .fake_containers import FakeContainers
from .fake_images import IMAGE, FakeImages
from .fake_networks import FakeController

__all__ = ["IMAGE", "FakeDaemon", "served"]


class FakeDaemon:
    runtime_name = "runc"
    firewall_name = "nftables"
    driver_names = ("bridge", "host", "null")

    def __init__(self, root: Path) -> None:
        self.settings = Settings(data_root=root / "data", exec_root=root / "run", shutdown_timeout=2)
        self.events = Events()
        self.images = FakeImages()
        self.containers = FakeContainers(self)
        self.controller = FakeController(self)


def own_group() -> str:
    """The name of the group that we run as: without root, a socket can be given to no other."""
    return grp.getgrgid(os.getegid()).gr_name


@contextmanager
def served(daemon: FakeDaemon, path: Path) -> Iterator[str]:
    """Serve the daemon at a Unix socket; gives its host string. Fails if the server does not end."""
    host, stop = f"unix://{path}", threading.Event()
    thread = threading.Thread(target=serve, args=(daemon, [listening.listen(path, own_group())], stop))
    thread.start()
    try:
        yield host
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"
