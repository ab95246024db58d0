"""What the packets pay: streams, requests and new connections on the three ways in and out of a container.

Every engine has a server and a client container on a network of its own; programs of the machine run in their network
namespaces, the server on one core and the asker on another. Streams are iperf3's; requests and connections are those
of `pingpong`. The same over a veth pair between two bare namespaces says what the kernel itself can do; the shares of
it are noted.

For the last row one container publishes thousands of ports, and the last of them is connected to from outside. Docker
does this without its userland proxies, which would be one process for each port. It also would be at it for hours; so
it publishes the last port alone, and the rules of the others are put before that one's, with `iptables-restore` and
in Docker's own form: the packets meet what they would have met. Podman is left out of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.benches.contenders import KINDS, Contender
from scripts.benches.options import Options
from scripts.benches.place import HOST, OUTSIDE, Place, finish
from scripts.benches.rows import Clause, Row, against
from scripts.benches.samples import Samples

NETWORK, BARE = "traffic", "veth"
WAYS = ("container to container", "outside to published port", "container to outside")
MANY = "new connections, last of {} published ports"
FIRST_PORT = 20_000
_PINGPONG = [sys.executable, "-S", str(Path(__file__).with_name("pingpong.py"))]


@dataclass(frozen=True)
class Way:
    """From the namespace that `asker` enters to `address` and `port`, behind which `server` listens on `inner`."""

    asker: list[str]
    address: str
    port: int
    server: list[str]
    inner: int


@dataclass(frozen=True)
class Named:
    """What is measured beside the engines."""

    name: str


def run(contenders: list[Contender], options: Options) -> list[Row]:
    return [*_ways(contenders, options), _many_ports(contenders, options)]


def _ways(contenders: list[Contender], options: Options) -> list[Row]:
    samples, courses = Samples(), dict[str, dict[str, Way]]()
    with ExitStack() as stack:
        root = contenders[0].place.root
        bare = Place(root / "bare")
        stack.callback(bare.close)
        straight = Way(_enter(bare.outside.net), HOST, 5201, _enter(bare.host.net), 5201)
        courses[BARE] = dict.fromkeys(WAYS, straight)
        for contender in contenders:
            stack.callback(contender.clear)
            courses[contender.name] = _engine(contender)
        for _ in range(options.rounds):
            for name, ways in courses.items():
                for what, way in ways.items():
                    _take(samples, name, what, way, options.size(2, 1))
    goal = (against(0.98, "docker"),)
    rows = [_row(samples, f"{kind}, {what}", goal, unit) for kind, (_, unit) in KINDS_OF.items() for what in WAYS]
    return [replace(row, notes=_shares(row)) for row in rows]


def _take(samples: Samples, name: str, what: str, way: Way, seconds: int) -> None:
    for kind, (measure, _) in KINDS_OF.items():
        samples.take(f"{kind}, {what}", Named(name), lambda measure=measure: measure(way, seconds))


def _shares(row: Row) -> tuple[str, ...]:
    whole = row.median(BARE)
    shares = [f"{name} {row.median(name) / whole:.0%}" for name in row.values if name != BARE] if whole else []
    return (f"of a bare veth pair's: {', '.join(shares)}",) if shares else ()


def _row(samples: Samples, name: str, goal: tuple[Clause, ...], unit: str) -> Row:
    return replace(samples.row(name, goal, unit), better="higher")


def _enter(namespace: str) -> list[str]:
    return ["nsenter", f"--net={namespace}"]


def _engine(contender: Contender) -> dict[str, Way]:
    contender.call("network", "create", NETWORK)
    ports = ("-p", "5201:5201")
    contender.call("run", "-d", "--name", "server", "--network", NETWORK, *ports, "busybox", "sleep", "100000")
    contender.call("run", "-d", "--name", "client", "--network", NETWORK, "busybox", "sleep", "100000")
    server, client = contender.inside("server"), contender.inside("client")
    outside = _enter(contender.place.outside.net)
    ways = (
        Way(client, contender.address("server", NETWORK), 5201, server, 5201),
        Way(outside, HOST, 5201, server, 5201),
        Way(client, OUTSIDE, 5201, outside, 5201),
    )
    return dict(zip(WAYS, ways, strict=True))


def _stream(way: Way, seconds: int) -> float:
    """Gbit/s of one TCP stream."""
    command = [*way.server, *_core(-1), "iperf3", "-s", "-1", "--forceflush", "-p", str(way.inner)]
    with _running(command, "listening") as server:
        asking = [*way.asker, *_core(0), "iperf3", "-c", way.address, "-p", str(way.port), "-t", str(seconds), "-J"]
        said = _said(asking, seconds)
        server.wait(timeout=30)
    return json.loads(said)["end"]["sum_received"]["bits_per_second"] / 1e9


def _requests(way: Way, seconds: int) -> float:
    return _pingpong(way, seconds)


def _connections(way: Way, seconds: int) -> float:
    return _pingpong(way, seconds, "anew")


def _pingpong(way: Way, seconds: int, *how: str) -> float:
    serving = [*way.server, *_core(-1), *_PINGPONG, "serve", str(way.inner)]
    asking = [*way.asker, *_core(0), *_PINGPONG, "ask", way.address, str(way.port), str(seconds), *how]
    with _running(serving, "ready"):
        return float(_said(asking, seconds))


KINDS_OF: dict[str, tuple[Callable[[Way, int], float], str]] = {
    "TCP stream": (_stream, "Gbit/s"),
    "requests": (_requests, "/s"),
    "new connections": (_connections, "/s"),
}


def _core(n: int) -> list[str]:
    return ["taskset", "-c", str(sorted(os.sched_getaffinity(0))[n])]


def _said(command: list[str], seconds: int) -> str:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return finish(process, command[2:], seconds + 60)


@contextmanager
def _running(command: list[str], word: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server that has said `word`; ended afterwards."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as server:
        assert server.stdout
        try:
            while word.encode() not in (line := server.stdout.readline()):
                if not line:
                    raise RuntimeError(f"{command[2]} did not start")
            yield server
        finally:
            server.kill()


def _many_ports(contenders: list[Contender], options: Options) -> Row:
    """netpy by nftables and by iptables, and Docker without proxies, each with a daemon of its own."""
    ports, samples, ways = options.size(5000, 300), Samples(), dict[str, Way]()
    row = MANY.format(f"{ports:,}")
    names = {contender.name for contender in contenders}
    kinds = {
        "netpy": ("netpy", ["--firewall-backend", "nftables"]),
        "netpy, iptables": ("netpy", ["--firewall-backend", "iptables"]),
        "docker": ("docker", ["--userland-proxy=false"]),
    }
    with ExitStack() as stack:
        for name, (kind, flags) in kinds.items():
            if kind not in names:
                continue
            try:
                place = Place(contenders[0].place.root / name.replace(", ", "-"))
                stack.callback(place.close)
                contender = KINDS[kind][0](place)
                contender.daemon += flags
                stack.callback(contender.stop)
                contender.start()
                stack.callback(contender.clear)
                contender.import_image()
                publish = _published_slowly if kind == "docker" else _published
                ways[name] = publish(contender, range(FIRST_PORT, FIRST_PORT + ports))
            except (RuntimeError, OSError) as problem:
                samples.fail(row, Named(name), str(problem))
        for _ in range(options.rounds):
            for name, way in ways.items():
                samples.take(row, Named(name), lambda way=way: _connections(way, options.size(3, 1)))
    notes = ("Docker without userland proxies; the rules of all ports but the last written by iptables-restore",)
    return replace(_row(samples, row, (against(1.5, "docker"),), "/s"), notes=notes)


def _published(contender: Contender, ports: range) -> Way:
    """The way to the last of the ports that one container publishes."""
    first, last = ports[0], ports[-1]
    publish = ("-p", f"{first}-{last}:{first}-{last}")
    contender.call("run", "-d", "--name", "many", *publish, "busybox", "sleep", "100000", timeout=300)
    return Way(_enter(contender.place.outside.net), HOST, last, contender.inside("many"), last)


def _published_slowly(contender: Contender, ports: range) -> Way:
    """The same for who takes hours: the last is published, and rules like its own are put before them."""
    way = _published(contender, ports[-1:])
    for table in ("nat", "filter"):
        saved = contender.place.host.run("iptables-save", "-t", table).splitlines()
        rules = [line for line in saved if line.startswith("-A ") and f" --dport {way.port} " in line]
        more = [_before(rule, way.port, port) for rule in rules for port in ports[:-1]]
        script = contender.place.root / f"rules-{table}"
        script.write_text("\n".join((f"*{table}", *more, "COMMIT", "")))
        contender.place.host.run("iptables-restore", "--noflush", str(script))
    return way


def _before(rule: str, port: int, other: int) -> str:
    """An appended rule of one port as one for another port, put at the head of its chain."""
    return "-I" + rule.removeprefix("-A").replace(str(port), str(other))
