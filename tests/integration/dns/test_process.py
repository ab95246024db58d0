"""The life of the name server process: started, killed, abandoned, found again."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from netpy.dns import View
from netpy.errors import Conflict, NotFound
from netpy.kernel import netns
from netpy.model import Sandbox
from netpy.nameserver import Nameserver
from tests.integration.dns.lab import NET, WEBS, World, ask, asking, data, eventually, good, opened, record

pytestmark = pytest.mark.root


def test_opening_again_gives_the_same_port(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    assert names.open(Sandbox(id="s", netns=world.container)) == port
    assert names.open(Sandbox(id="s", netns=world.container), 1234) == port
    assert names.served() == {"s": port}


def test_a_new_namespace_at_the_old_path_is_told_apart(world: World, names: Nameserver) -> None:
    opened(names, world)
    netns.delete(world.container)
    netns.create(world.container)
    port = names.open(Sandbox(id="s", netns=world.container))
    assert data(ask(world.container, port, "web1")) == ["10.0.0.1"]


def test_what_cannot_be_opened(world: World, names: Nameserver) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        names.open(Sandbox(id="x", netns=str(world.root / "nowhere")))
    with netns.run_in(world.container, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as taken:
        taken.bind(("0.0.0.0", 0))
        with pytest.raises(Conflict, match=r"port \d+ of 127.0.0.11 is taken"):
            names.open(Sandbox(id="x", netns=world.container), taken.getsockname()[1])
    assert names.served() == {}


def test_a_killed_process_is_replaced_on_the_same_port(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    world.upstream("127.0.0.53", good())
    world.host_asks("127.0.0.53")
    for _ in range(2):
        before = names.pid
        held = asking(world.container, port, socket.SOCK_STREAM)  # leaves a connection behind on that port
        os.kill(before, signal.SIGKILL)
        eventually(lambda before=before: names.pid not in (0, before))
        held.close()
        assert names.served() == {"s": port}
        assert data(ask(world.container, port, "web1.net")) == ["10.0.0.1"]
        assert data(ask(world.container, port, "example.org")) == ["192.0.2.1"]


def test_a_call_finds_the_process_gone(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    process = os.pidfd_open(names.pid)
    os.kill(names.pid, signal.SIGKILL)
    select.select([process], [], [])
    os.close(process)
    names.update(drop=["e1"])
    assert data(ask(world.container, port, "search")) in (["10.0.0.2", "10.0.0.3"], ["10.0.0.3", "10.0.0.2"])


def test_it_answers_while_the_daemon_is_away(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    pid = names.pid
    names.disconnect()
    assert data(ask(world.container, port, "web1")) == ["10.0.0.1"]
    successor = world.nameserver()
    assert successor.served() == {"s": port}
    assert successor.pid == pid
    assert successor.open(Sandbox(id="s", netns=world.container), port) == port
    successor.replace(WEBS[1:], [View(sandbox_id="s", networks=NET)])
    assert sorted(data(ask(world.container, port, "search"))) == ["10.0.0.2", "10.0.0.3"]
    successor.disconnect()


DAEMON = """
import os, sys
from pathlib import Path
from netpy.dns import Record, View
from netpy.model import Sandbox
from netpy.nameserver import Nameserver
names = Nameserver(Path(sys.argv[1]), host_resolv_conf=Path(sys.argv[2]))
port = names.open(Sandbox(id="s", netns=sys.argv[3]))
names.update(put=[Record(endpoint_id="e", network_id="n", names=("web1",), addresses=("10.0.0.1",))],
             views=[View(sandbox_id="s", networks=(("n", "net"),))])
print(port, names.pid, flush=True)
sys.stdin.read()
"""


def test_it_outlives_a_killed_daemon(world: World) -> None:
    names = world.nameserver()
    command = ["nsenter", f"--net={world.host}", sys.executable, "-c", DAEMON]
    command += [str(world.root / "run"), str(world.resolv_conf), world.container]
    root = Path(__file__).parents[3]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as daemon:
            assert daemon.stdout is not None
            port, pid = map(int, daemon.stdout.readline().split())
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.wait()
            assert daemon.stdout.read() == ""  # the process holds none of the daemon's descriptors
        assert data(ask(world.container, port, "web1")) == ["10.0.0.1"]
        assert names.served() == {"s": port}
        assert names.pid == pid
        assert os.getsid(pid) == pid
    finally:
        names.shutdown()


def test_there_is_one_process_per_root(world: World, names: Nameserver) -> None:
    opened(names, world)
    others = [world.nameserver() for _ in range(3)]
    threads = [
        threading.Thread(target=other.update, kwargs={"put": [record("x", "x", "10.0.0.9")]}) for other in others
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {other.pid for other in others} == {names.pid}
    for other in others:
        other.disconnect()


def test_many_start_it_at_once(world: World) -> None:
    made = [world.nameserver() for _ in range(4)]
    threads = [threading.Thread(target=each.replace, args=([], [])) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each.pid for each in made}) == 1
    assert made[0].pid != 0
    for each in made[1:]:
        each.disconnect()
    made[0].shutdown()
    assert not (world.root / "run" / "dns.sock").exists()


def test_other_settings_replace_the_process(world: World, names: Nameserver) -> None:
    port = opened(names, world)
    assert {rr.ttl for rr in ask(world.container, port, "web1").rr} == {5}
    before = names.pid
    names.disconnect()
    successor = world.nameserver(ttl=60)
    successor.replace(WEBS, [View(sandbox_id="s", networks=NET)])
    assert successor.open(Sandbox(id="s", netns=world.container), port) == port
    assert successor.pid != before
    assert {rr.ttl for rr in ask(world.container, port, "web1").rr} == {60}
    successor.shutdown()


def test_a_process_that_hangs_is_replaced(world: World, names: Nameserver, monkeypatch: pytest.MonkeyPatch) -> None:
    port = opened(names, world)
    before = names.pid
    names.disconnect()
    monkeypatch.setattr("netpy.dns.process._PATIENCE", 2.0)
    names.served()  # connects again, with the shorter patience
    os.kill(before, signal.SIGSTOP)
    assert names.served() == {"s": port}
    assert names.pid != before
    assert data(ask(world.container, port, "web1")) == ["10.0.0.1"]


def test_a_process_that_cannot_start_says_where_to_look(world: World) -> None:
    names = world.nameserver(ttl="soon")  # type: ignore[arg-type]
    log = world.root / "run" / "dns.log"
    with pytest.raises(Exception, match=f"did not start; see {log}"):
        names.open(Sandbox(id="s", netns=world.container))
    assert "usage" in log.read_text()
    log.unlink()
    assert names.pid == 0
    names.shutdown()
