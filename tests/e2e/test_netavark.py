"""netavark's plugins in a real daemon: one written from the description of their API, and our own for podman."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import Daemon, eventually, new_world

pytestmark = pytest.mark.root
SCRIPT = Path(__file__).parents[2] / "plugins" / "netavark" / "tests" / "netavark_plugin.py"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "wires").symlink_to(SCRIPT)
    own = tmp_path / "nested"
    own.write_text(f'#!/bin/sh\nexec {sys.executable} -m netpy_as_netavark.main "$@"\n')
    own.chmod(0o755)
    world = new_world()
    variables = (f"NETPY_NETAVARK_PLUGINS={tmp_path}", f"NETPY_NETAVARK_ROOT={tmp_path}/npn-{world.root.name}")
    made = Daemon(world, within=("env", *variables))
    try:
        made.start()
        made.import_busybox()
        yield made
    finally:
        made.close()
        world.close()


def on_host(daemon: Daemon, *command: str) -> str:
    full = ["nsenter", f"--net={daemon.world.host}", *command]
    return subprocess.run(full, capture_output=True, text=True).stdout


def test_networks_of_netavark_plugins(daemon: Daemon, tmp_path: Path) -> None:
    before = on_host(daemon, "ip", "-br", "link")
    listed = daemon("info", "--format", "{{.Plugins.Network}}")
    assert "wires" in listed and "nested" in listed
    daemon("network", "create", "-d", "wires", "-o", "speed=9", "lab")
    daemon("network", "create", "-d", "nested", "-o", "mtu=1400", "deep")
    assert daemon("network", "inspect", "lab", "--format", "{{(index .IPAM.Config 0).Gateway}}") == "10.66.0.1"
    daemon("run", "-d", "--name", "one", "--network", "lab", "busybox", "sleep", "1000")
    heard = daemon("run", "--rm", "--network", "lab", "busybox", "sh", "-c", "ping -c 1 one && cat /etc/resolv.conf")
    assert "1 packets received" in heard and "127.0.0.11" in heard
    daemon("run", "-d", "--name", "web", "--network", "deep", "-p", "8085:80", "busybox", "httpd", "-f", "-h", "/etc")
    assert "mtu 1400" in daemon("exec", "web", "ip", "link", "show", "eth0")
    eventually(lambda: "root:" in on_host(daemon, "curl", "-s", "http://127.0.0.1:8085/passwd"), "the port is open")
    assert daemon("network", "check") == ""
    refused = daemon.fails("network", "create", "-d", "wires", "-o", "colour=red", "no")
    assert "netavark plugin wires: create: unknown option colour" in refused.stderr
    (tmp_path / "mode").write_text("half")
    failed = daemon.fails("run", "--rm", "--network", "lab", "busybox", "true")
    assert "netavark plugin wires: setup: no more" in failed.stderr
    (tmp_path / "mode").write_text("")
    daemon("rm", "-f", "one", "web")
    daemon("network", "rm", "lab", "deep")
    left = set(on_host(daemon, "ip", "-br", "link").splitlines()) - set(before.splitlines())
    assert [line for line in left if not line.startswith("netpy0")] == []
