"""Published ports: every form of -p, who may use them, and what a busy port undoes."""

from __future__ import annotations

import socket
import sys

import pytest

from netpy.kernel import netns
from tests.e2e.world import HOST_ADDRESS, OUTSIDE_ADDRESS, Daemon, World, eventually

pytestmark = pytest.mark.root

SERVER = "mkdir -p /w && hostname > /w/index.html && exec httpd -f -p 80 -h /w"
ASK_UDP = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(5)
    client.bind(("", 40000))
    client.connect(("%s", 5300))  # a connected socket hears only whom it asked
    client.send(b"question")
    print(client.recv(100).decode())
"""


def get(world: World, where: str, url: str) -> str:
    return world.at(where, "curl", "-s", "--max-time", "2", url, check=False).stdout.strip()


def test_all_forms_of_publishing(netpy: Daemon) -> None:
    netpy(
        "run", "-d", "--name", "ww", "-p", "8800:80", "-p", "127.0.0.1:5353:53/udp", "-p", "8000-8010:8000-8010",
        "-p", "9000", "--expose", "7000", "-P", "busybox", "sleep", "1000",
    )  # fmt: skip
    ports = netpy("port", "ww").splitlines()
    assert "80/tcp -> 0.0.0.0:8800" in ports and "53/udp -> 127.0.0.1:5353" in ports
    assert [f"{n}/tcp -> 0.0.0.0:{n}" in ports for n in range(8000, 8011)] == [True] * 11
    assert any(line.startswith("9000/tcp -> 0.0.0.0:") for line in ports)
    assert any(line.startswith("7000/tcp -> 0.0.0.0:") for line in ports)
    shown = netpy("ps", "--format", "{{.Ports}}")
    assert "0.0.0.0:8000-8010->8000-8010/tcp" in shown and "127.0.0.1:5353->53/udp" in shown


def test_who_reaches_a_published_port(netpy: Daemon, world: World) -> None:
    netpy("network", "create", "one")
    netpy("network", "create", "two")
    served = ("--name", "ww", "--hostname", "ww", "--network", "one", "-p", "8800:80")
    netpy("run", "-d", *served, "busybox", "sh", "-c", SERVER)
    url = f"http://{HOST_ADDRESS}:8800/"
    eventually(lambda: get(world, world.outside, url) == "ww", "from outside")
    assert get(world, world.host, url) == "ww"
    wget = f"timeout 5 wget -q -O - {url}"
    assert netpy("exec", "ww", "sh", "-c", wget) == "ww", "from the container itself"
    assert netpy("run", "--rm", "--network", "one", "busybox", "sh", "-c", wget) == "ww", "from a sibling"
    assert netpy("run", "--rm", "--network", "two", "busybox", "sh", "-c", wget) == "ww", "from another network"


def test_a_loopback_port_stays_on_the_host(netpy: Daemon, world: World) -> None:
    netpy("run", "-d", "--name", "ww", "--hostname", "ww", "-p", "127.0.0.1:8802:80", "busybox", "sh", "-c", SERVER)
    eventually(lambda: get(world, world.host, "http://127.0.0.1:8802/") == "ww", "from the host")
    assert get(world, world.outside, f"http://{HOST_ADDRESS}:8802/") == ""


def test_udp_answers_come_from_where_they_were_asked(netpy: Daemon, world: World) -> None:
    ask = (sys.executable, "-c", ASK_UDP % HOST_ADDRESS)
    # The second container answers the same client port: were the old flow not forgotten, it would not be asked.
    for answer in (b"ping", b"pong"):
        netpy("run", "-d", "--name", "uu", "-p", "5300:53/udp", "busybox", "sleep", "1000")
        pid = netpy("inspect", "-f", "{{.State.Pid}}", "uu")
        with netns.run_in(f"/proc/{pid}/ns/net", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
            server.bind(("0.0.0.0", 53))
            server.settimeout(5)
            client = world.start(world.outside, *ask)
            question, asker = server.recvfrom(100)
            server.sendto(answer, asker)
            assert client.communicate(timeout=10)[0].strip() == answer.decode() and question == b"question"
            assert asker[0] == OUTSIDE_ADDRESS, "the container sees who asks"
        netpy("rm", "-f", "uu")


def test_a_busy_port_is_named_and_everything_is_undone(netpy: Daemon, world: World) -> None:
    netpy("network", "create", "n")
    netpy("run", "-d", "--name", "first", "--network", "n", "-p", "8803:80", "busybox", "sleep", "1000")
    links = world.at(world.host, "ip", "-o", "link").stdout.count("veth")
    again = netpy.fails(
        "run", "-d", "--name", "second", "--network", "n", "-p", "8804:80", "-p", "8803:81", "busybox", "sleep", "9"
    )
    assert again.returncode == 125 and "Bind for 0.0.0.0:8803 failed: port is already allocated" in again.stderr
    netpy("rm", "second")
    eventually(lambda: world.at(world.host, "ip", "-o", "link").stdout.count("veth") == links, "no veth is left")
    netpy("run", "-d", "--name", "third", "--network", "n", "-p", "8804:80", "busybox", "sleep", "1000")
    assert netpy("network", "check") == ""


def test_a_port_of_another_program_is_not_taken(netpy: Daemon, world: World) -> None:
    netpy("run", "-d", "--name", "squatter", "--network", "host", "busybox", "nc", "-l", "-p", "8805")
    eventually(lambda: ":8805" in world.at(world.host, "ss", "-ltn").stdout)
    busy = netpy.fails("run", "--rm", "-p", "8805:80", "busybox", "true")
    assert "address already in use" in busy.stderr and busy.returncode == 125


@pytest.mark.parametrize("spec", ["80:99999", "abc", "8000-8010:80-82", "300.1.1.1:80:80", "80:80/icmp"])
def test_nonsense_is_refused_before_anything_happens(netpy: Daemon, spec: str) -> None:
    assert netpy.fails("run", "-p", spec, "busybox", "true").returncode == 125
    assert netpy("ps", "-aq") == ""


def test_a_stopped_container_gives_its_ports_back(netpy: Daemon, world: World) -> None:
    netpy("run", "-d", "--name", "ww", "-p", "8806:80", "busybox", "sh", "-c", SERVER)
    netpy("stop", "-t", "0", "ww")
    assert ":8806" not in world.at(world.host, "ss", "-ltn").stdout
    netpy("start", "ww")
    eventually(lambda: get(world, world.outside, f"http://{HOST_ADDRESS}:8806/") != "", "after a restart")


def test_thousands_of_ports_leave_room_for_others(netpy: Daemon, world: World) -> None:
    """Each port holds a descriptor; libraries that wait with select(2) cannot have one above 1023."""
    netpy("network", "create", "many")
    last = 8000 + 1099
    ports = f"8000-{last}:8000-{last}"
    server = SERVER.replace("-p 80", f"-p {last}")
    netpy("run", "-d", "--name", "ww", "--hostname", "ww", "-p", ports, "busybox", "sh", "-c", server)
    eventually(lambda: get(world, world.outside, f"http://{HOST_ADDRESS}:{last}/") == "ww", "the last port")
    assert netpy("run", "--rm", "--network", "many", "busybox", "echo", "hello") == "hello"
    assert netpy("exec", "ww", "hostname") == "ww"
    netpy("network", "connect", "many", "ww")
    netpy("network", "disconnect", "many", "ww")
    assert len(netpy("port", "ww").splitlines()) == 1100
