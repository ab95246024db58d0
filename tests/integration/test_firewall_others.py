"""The firewall beside others: a container's own namespace, Docker's FORWARD chain, and the choice of a backend."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from netpy.diff import diff
from netpy.firewall.rules import Passage
from netpy.kernel import netns
from netpy.kernel.netfilter import Backend, choose
from netpy.objects import RedirectDns
from tests.integration.firewall_host import INTENTS, Host, bring_about, network

pytestmark = pytest.mark.root


@pytest.fixture
def host(namespace: str) -> Host:
    return Host(namespace)


@pytest.fixture(params=["nftables", "iptables"])
def backend(request: pytest.FixtureRequest, host: Host) -> Iterator[Backend]:
    with closing(host.make(request.param)) as made:
        yield made


# ---- DNS redirection ---------------------------------------------------------------------------------------------

RESOLVER = """
import socket, sys, threading, struct
def answer(q):
    return q[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0" + q[12:q.index(b"\\0", 12) + 5] + b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x05\\0\\4\\x0a\\1\\2\\3"
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("127.0.0.11", 5300))
tcp = socket.create_server(("127.0.0.11", 5300))
own = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.create_server(("0.0.0.0", 53))]
own[0].bind(("0.0.0.0", 53))
def stream():
    while True:
        c, _ = tcp.accept(); n = struct.unpack(">H", c.recv(2))[0]; a = answer(c.recv(n)); c.sendall(struct.pack(">H", len(a)) + a)
threading.Thread(target=stream, daemon=True).start()
print("ready", flush=True)
while True:
    q, peer = udp.recvfrom(512); udp.sendto(answer(q), peer)
"""


def test_names_are_asked_at_127_0_0_11_while_the_container_serves_port_53(backend: Backend, host: Host) -> None:
    path = f"{host.path}-c"
    netns.create(path)
    enter = ["nsenter", f"--net={path}"]
    server = subprocess.Popen([*enter, "python3", "-c", RESOLVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        wanted = bring_about(backend, [RedirectDns(port=5300, netns=path)])
        assert backend.observe(wanted) == wanted
        for transport in ("+notcp", "+tcp"):
            dig = [*enter, "dig", "+short", "+time=2", "+tries=1", transport, "@127.0.0.11", "-q", "x.test"]
            assert subprocess.run(dig, capture_output=True, text=True, check=True).stdout == "10.1.2.3\n"
        moved = backend.lower([RedirectDns(port=5301, netns=path)])
        backend.apply(list(diff(backend.observe(moved), moved)))
        assert backend.observe(moved) == moved
        assert diff(backend.observe(wanted), wanted)
        backend.apply(list(diff(backend.observe(moved), ())))
        assert Host(path).rules() == []
    finally:
        server.kill()
        server.communicate()
        netns.delete(path)
    assert not [obj for obj in backend.observe(wanted) if obj.key.netns]


# ---- a FORWARD policy of somebody else's -------------------------------------------------------------------------

DOCKER = """*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -o docker0 -j DOCKER
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
COMMIT
"""


@pytest.mark.parametrize("variant", ("nft", "legacy"))
@pytest.mark.parametrize("kind", ("nftables", "iptables"))
def test_passages_through_dockers_forward_chain(host: Host, kind: str, variant: str) -> None:
    with closing(host.make(kind)) as backend:
        wanted = bring_about(backend, network("br-a", 9))
        before = host.run(f"iptables-{variant}-save") if variant == "nft" else ""
        assert "br-a" not in before
        host.run(f"iptables-{variant}-restore", "--noflush", text=DOCKER)
        missing = {obj for obj in wanted - backend.observe(wanted) if isinstance(obj, Passage)}
        ours_hooks_legacy = kind == "iptables" and variant == "legacy"
        assert {(obj.where, obj.family) for obj in missing} == (set() if ours_hooks_legacy else {(variant, 4)})
        bring_about(backend, network("br-a", 9))
        assert backend.observe(wanted) == wanted
        listed = host.run(f"iptables-{variant}", "-S", "FORWARD")
        if not ours_hooks_legacy:
            assert '-A FORWARD -i br-a -m comment --comment "netpy:netpy:br-a:in" -j ACCEPT' in listed
            assert '-A FORWARD -o br-a -m comment --comment "netpy:netpy:br-a:out" -j ACCEPT' in listed
            assert {obj for obj in backend.owned() if isinstance(obj, Passage)} == missing
        backend.apply(list(diff(backend.observe(wanted), ())))
        assert "netpy" not in host.run(f"iptables-{variant}", "-S").lower()
        assert "-A DOCKER ! -i docker0 -o docker0 -j DROP" in host.run(f"iptables-{variant}", "-S")


JUDGE = """*filter
:DOCKER-ISOLATION-STAGE-2 - [0:0]
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
COMMIT
"""


@pytest.mark.parametrize("variant", ("nft", "legacy"))
@pytest.mark.parametrize("kind", ("nftables", "iptables"))
def test_dockers_isolation_is_asked_before_ours_is_let_through(host: Host, kind: str, variant: str) -> None:
    with closing(host.make(kind)) as backend:
        wanted = bring_about(backend, network("br-a", 9))
        host.run(f"iptables-{variant}-restore", "--noflush", text=DOCKER)
        bring_about(backend, network("br-a", 9))
        host.run(f"iptables-{variant}-restore", "--noflush", text=JUDGE)
        assert {type(obj) for obj in wanted - backend.observe(wanted)} == {Passage}
        bring_about(backend, network("br-a", 9))
        assert backend.observe(wanted) == wanted
        rules = [rule for rule in host.run(f"iptables-{variant}", "-S").splitlines() if " -i br-a " in rule]
        chain = [rule for rule in rules if rule.split()[1].endswith(("FORWARD", "-FROM"))]
        assert '"netpy:netpy:br-a:judged" -j DOCKER-ISOLATION-STAGE-2' in chain[0]
        assert chain[1].endswith("-j ACCEPT")
        backend.apply(list(diff(backend.observe(wanted), ())))
        assert "netpy" not in host.run(f"iptables-{variant}", "-S").lower()
        assert not [obj for obj in backend.owned() if isinstance(obj, Passage)]


# ---- choosing ----------------------------------------------------------------------------------------------------


def chosen(host: Host, requested: str) -> str:
    backend = netns.run_in(host.path, lambda: choose(requested, "netpy"))  # pyright: ignore
    backend.close()
    return backend.name


def test_the_choice_follows_the_host(host: Host) -> None:
    assert chosen(host, "auto") == "nftables"
    assert chosen(host, "iptables") == "iptables"
    host.run("iptables-legacy", "-L")
    assert chosen(host, "auto") == "nftables"
    host.run("iptables-legacy", "-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT")
    assert chosen(host, "auto") == "iptables"
    assert chosen(host, "nftables") == "nftables"


@pytest.mark.parametrize(("old", "new"), (("nftables", "iptables"), ("iptables", "nftables")))
def test_a_change_of_mind_leaves_nothing_of_the_other(host: Host, old: str, new: str) -> None:
    with closing(host.make(old)) as backend:
        bring_about(backend, INTENTS)
    with closing(netns.run_in(host.path, lambda: choose(new, "netpy"))) as backend:  # pyright: ignore
        assert backend.name == new
        host.run("nft", "delete", "table", "bridge", "netpy")  # both have it; it does not go for a moment at each start
        assert host.rules() == []


@pytest.mark.parametrize("kind", ("nftables", "iptables"))
def test_a_new_start_with_the_same_backend_interrupts_nothing(host: Host, kind: str) -> None:
    host.run("iptables-nft", "-P", "FORWARD", "DROP")
    with closing(host.make(kind)) as backend:
        wanted = bring_about(backend, INTENTS)
    with closing(netns.run_in(host.path, lambda: choose(kind, "netpy"))) as again:  # pyright: ignore
        assert again.observe(wanted) == wanted
