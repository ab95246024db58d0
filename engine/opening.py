"""Opening the daemon's records: refuses a file that is not what it was, and salvages one when told to.

A file that is gone or empty beside containers is damage too: who began with no records would take every running
container's network for a leftover, and remove it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from engine.containers import records as containers
from engine.images import index
from engine.model import Json
from netpy.controller.records import READERS as NETWORKS
from netpy.errors import StoreDamaged
from netpy.salvage import salvage
from netpy.store import Store

logger = logging.getLogger(__name__)
READERS: Mapping[str, Callable[[Json], object]] = {
    **NETWORKS,
    containers.KIND: containers.read,
    "image": index.image_of,
    "layer": index.layer_of,
    "tag": lambda body: body["image"],
}
"""Every kind of record whose shape matters before anything works, and how it is read."""
WAY_OUT = "start the daemon once with --salvage to keep what can be read of it"


def open_store(data_root: Path, *, salvaging: bool) -> Store:
    """The records under `data_root`, of mode 0600. StoreDamaged when they cannot be read, unless they are salvaged."""
    path = data_root / "netpy.db"
    if salvaging:
        _salvage(path)
    elif _is_missing(path, data_root / "containers"):
        raise StoreDamaged(f"the store {path} is empty, while there are containers in {data_root / 'containers'}")
    path.touch(mode=0o600)  # it holds the environment of containers, secrets included
    return Store(path)


def _is_missing(path: Path, containers: Path) -> bool:
    empty = not path.exists() or path.stat().st_size == 0
    return empty and containers.is_dir() and any(containers.iterdir())


def _salvage(path: Path) -> None:
    if not path.exists():
        return
    done = salvage(path, READERS)
    logger.warning("salvaged %d records; the damaged store is now %s", done.kept, done.aside)
    for record in done.lost:
        logger.warning("salvaging: the record %s was lost", record)
