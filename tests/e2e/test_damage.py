"""The daemon's records are damaged: it says so and touches nothing; --salvage keeps what can be read, and what runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.world import HOST_ADDRESS, Daemon, World, eventually

pytestmark = pytest.mark.root
BACKENDS = ("nftables",)
SERVER = "mkdir -p /w && echo here > /w/index.html && exec httpd -f -p 80 -h /w"


@pytest.fixture
def netpy(new_daemon: Callable[..., Daemon], backend: str) -> Daemon:
    """A daemon, killed, whose container `web` runs on."""
    netpy = new_daemon("damage", "--firewall-backend", backend)
    netpy("network", "create", "n")
    netpy("run", "-d", "--name", "web", "--network", "n", "-p", "8830:80", "busybox", "sh", "-c", SERVER)
    netpy("create", "--name", "idle", "busybox", "true")
    netpy.kill()
    return netpy


def refused(netpy: Daemon) -> list[str]:
    """What the daemon says as it does not start."""
    with pytest.raises(AssertionError):
        netpy.start()
    return (netpy.exec_root / "log").read_text().splitlines()[-2:]


def web_answers(world: World) -> bool:
    url = f"http://{HOST_ADDRESS}:8830/"
    return world.at(world.outside, "curl", "-s", "--max-time", "2", url, check=False).stdout.strip() == "here"


def salvaged(netpy: Daemon) -> None:
    flags = netpy.flags
    netpy.flags = (*flags, "--salvage")
    netpy.start()
    netpy.flags = flags


def test_a_damaged_record_is_named_and_left_out_by_salvage(world: World, netpy: Daemon) -> None:
    eventually(lambda: web_answers(world))
    database = sqlite3.connect(netpy.data_root / "netpy.db")
    database.execute(
        "UPDATE record SET body = '{\"id\": 7}' WHERE kind = 'container' AND body LIKE '%\"name\":\"idle\"%'"
    )
    database.commit()
    database.close()
    said = refused(netpy)
    assert "the record container" in said[0] and "cannot be read" in said[0]
    assert said[1] == "netpy daemon: start the daemon once with --salvage to keep what can be read of it"
    assert web_answers(world), "a daemon that does not start has touched nothing"
    salvaged(netpy)
    assert netpy("ps", "-a", "--format", "{{.Names}}") == "web"
    assert web_answers(world)
    assert netpy("network", "check") == ""
    assert list(netpy.data_root.glob("netpy.db.damaged-1"))
    netpy("rm", "-f", "web")
    netpy("network", "rm", "n")


def test_a_store_that_is_gone_is_not_begun_anew(world: World, netpy: Daemon) -> None:
    eventually(lambda: web_answers(world))
    kept = {path.name: path.read_bytes() for path in netpy.data_root.glob("netpy.db*")}
    for name in kept:
        (netpy.data_root / name).unlink()
    assert "is empty, while there are containers in" in refused(netpy)[0]
    assert web_answers(world)
    for name, content in kept.items():
        Path(netpy.data_root / name).write_bytes(content)
    netpy.start()
    assert netpy("ps", "--format", "{{.Names}}") == "web"
    assert web_answers(world)
