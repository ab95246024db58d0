"""Every test has two network namespaces of its own: one plays the host, in which the process runs and where the
host's name servers live on 127.0.0.0/8, the other is a container. Nothing of the machine's own network is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netpy.dns import View
from netpy.kernel import netns
from netpy.nameserver import Nameserver
from tests.integration.dns.lab import NET, WEBS, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, str(tmp_path / "host"), str(tmp_path / "container"), tmp_path / "resolv.conf")
    made.resolv_conf.touch()
    netns.create(made.host)
    netns.create(made.container)
    try:
        yield made
    finally:
        for upstream in made.upstreams:
            upstream.close()
        netns.delete(made.container)
        netns.delete(made.host)
    log = tmp_path / "run" / "dns.log"
    assert not log.exists() or log.read_text() == ""


@pytest.fixture
def names(world: World) -> Iterator[Nameserver]:
    made = world.nameserver()
    netns.run_in(world.host, lambda: made.replace(WEBS, [View(sandbox_id="s", networks=NET)]))
    try:
        yield made
    finally:
        made.shutdown()
