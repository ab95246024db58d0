"""Names: how many answers a second a container gets, how long it waits for one, and what that costs in CPU time.

Each engine's own server is asked from inside a container by dnsperf, for the same 200 names (four containers have 50
each as aliases) and for 20 that all four share; Podman's is aardvark-dns. dnsmasq, with the same names in a file, is
asked on loopback, without any NAT. A server has one core to itself, dnsperf another; answers per second of the
server's CPU time do not depend on what else the machine does. A round takes each server ten seconds.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.benches.contenders import Contender
from scripts.benches.options import Options
from scripts.benches.place import Holder, finish
from scripts.benches.rows import Clause, Row, against
from scripts.benches.samples import Samples

NETWORK, BACKENDS, NAMES, GROUPS = "names", 4, 200, 20
RATE = 10_000  # queries a second that every server can bear, for the row about waiting
MOST = (against(1.6, "docker"), against(3, "podman"), against(1, "dnsmasq"))
SOONEST = (against(1, "docker", "podman", "dnsmasq"),)
ANSWERS, ROUND_ROBIN = "DNS answers, one core", "DNS answers, four backends each"
THRIFT = "DNS answers per CPU second"
CALM, CALM_P99 = f"DNS median at {RATE:,}/s", f"DNS p99 at {RATE:,}/s"
CROWDED_P99 = "DNS p99 at full load"
ROWS: dict[str, tuple[tuple[Clause, ...], str]] = {
    ANSWERS: (MOST, "/s"),
    ROUND_ROBIN: (MOST, "/s"),
    THRIFT: ((against(1.6, "docker"), against(1, "dnsmasq")), "/s"),
    CALM: ((), "µs"),
    CALM_P99: (SOONEST, "µs"),
    CROWDED_P99: (SOONEST, "µs"),
}
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """Who is asked: by the command prefix `inside`, at `address`; `pid` is the process that answers."""

    name: str
    inside: list[str]
    address: str
    pid: int

    def cpu(self) -> float:
        """Seconds of CPU time that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


def run(contenders: list[Contender], options: Options) -> list[Row]:
    samples = Samples()
    with ExitStack() as stack:
        questions = stack.enter_context(_questions())
        servers: list[Server] = []
        for contender in contenders:
            stack.callback(contender.clear)
            try:
                servers.append(_engine(contender))
            except (RuntimeError, OSError, StopIteration) as problem:
                _fail(samples, contender, problem)
        with suppress(FileNotFoundError):
            servers.append(stack.enter_context(_dnsmasq()))
        cores = sorted(os.sched_getaffinity(0))
        for server in servers:
            stack.enter_context(_alone(server, cores[-1]))
        for _ in range(options.rounds):
            for server in servers:
                try:
                    figures = _round(server, questions, options.size(2, 1), cores[0])
                except (RuntimeError, OSError) as problem:
                    _fail(samples, server, problem)
                    continue
                for row, figure in figures.items():
                    samples.values[row][server.name].append(figure)
    return [_row(samples, name, goal, unit) for name, (goal, unit) in ROWS.items()]


def _fail(samples: Samples, who: Contender | Server, problem: Exception) -> None:
    for row in ROWS:
        samples.fail(row, who, str(problem))


def _row(samples: Samples, name: str, goal: tuple[Clause, ...], unit: str) -> Row:
    return replace(samples.row(name, goal, unit), better="higher" if unit == "/s" else "lower")


def _round(server: Server, questions: dict[str, Path], seconds: int, core: int) -> dict[str, float]:
    """One figure for each row."""

    def ask(what: str, seconds: int, *flags: str) -> str:
        asking = ["taskset", "-c", str(core), "dnsperf", "-s", server.address, "-d", str(questions[what])]
        command = [*server.inside, *asking, "-c", "8", "-l", str(seconds), *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = finish(process, command, seconds + 60)
        if float(_figure(r"NOERROR \d+ \(([\d.]+)%\)", said)) < 99.9:
            raise RuntimeError(f"{server.name} does not know the names")
        return said

    before = server.cpu()
    full = ask("names", 2 * seconds)
    spent = server.cpu() - before
    many = ask("groups", seconds)
    calm = _latencies(ask("names", seconds, "-v", "-Q", str(RATE)))
    crowded = _latencies(ask("names", seconds, "-v"))
    return {
        ANSWERS: float(_figure(r"Queries per second:\s+([\d.]+)", full)),
        ROUND_ROBIN: float(_figure(r"Queries per second:\s+([\d.]+)", many)),
        THRIFT: int(_figure(r"Queries completed:\s+(\d+)", full)) / max(spent, 1 / _TICKS),
        CALM: statistics.median(calm),
        CALM_P99: _p99(calm),
        CROWDED_P99: _p99(crowded),
    }


def _figure(pattern: str, said: str) -> str:
    found = re.search(pattern, said)
    if not found:
        raise RuntimeError("no question was answered")
    return found.group(1)


def _latencies(said: str) -> list[float]:
    """Microseconds of every answer that dnsperf listed."""
    return [float(line.rpartition(" ")[2]) * 1e6 for line in said.splitlines() if line.startswith("> NOERROR")]


def _p99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


@contextmanager
def _questions() -> Iterator[dict[str, Path]]:
    """Files of questions for dnsperf."""
    with ExitStack() as stack:
        files: dict[str, Path] = {}
        for what, names in (("names", _names()), ("groups", _groups())):
            files[what] = path = Path(f"/var/tmp/netpy-bench-{os.getpid()}-{what}")
            path.write_text("".join(f"{name} A\n" for name in names))
            stack.callback(path.unlink)
        yield files


def _names() -> list[str]:
    return [f"name{n}" for n in range(NAMES)]


def _groups() -> list[str]:
    return [f"group{n}" for n in range(GROUPS)]


def _engine(contender: Contender) -> Server:
    """The server of an engine, with containers that have the names."""
    contender.call("network", "create", NETWORK)
    for n in range(BACKENDS):
        aliases = [word for name in (*_names()[n::BACKENDS], *_groups()) for word in ("--network-alias", name)]
        contender.call("run", "-d", "--name", f"b{n}", "--network", NETWORK, *aliases, "busybox", "sleep", "100000")
    program = {"netpy": "netpy.nameserver", "podman": "aardvark-dns"}.get(contender.name)
    pid = _process(program, contender.place.host.net) if program else contender.process and contender.process.pid
    if not pid:
        raise RuntimeError(f"{contender.name}: the name server's process is not found")
    return Server(contender.name, contender.inside("b0"), contender.nameserver("b0"), pid)


def _process(program: str, namespace: str) -> int | None:
    """The process that runs `program` in that network namespace."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_text().split("\0")[:3] if entry.name.isdecimal() else []
            if any(program in word for word in words) and (entry / "ns/net").samefile(namespace):
                return int(entry.name)
    return None


@contextmanager
def _dnsmasq() -> Iterator[Server]:
    """dnsmasq on loopback in a namespace of its own. FileNotFoundError where it is not installed."""
    hosts = Path(f"/var/tmp/netpy-bench-{os.getpid()}-hosts")
    lines = [f"10.9.0.{n % BACKENDS + 2} {name}" for n, name in enumerate(_names())]
    lines += [f"10.9.0.{n + 2} {name}" for name in _groups() for n in range(BACKENDS)]
    hosts.write_text("\n".join(lines) + "\n")
    flags = ["--keep-in-foreground", "--user=root", "--no-resolv", "--no-hosts", f"--addn-hosts={hosts}"]
    flags += ["--conf-file=/dev/null", "--pid-file=", "--listen-address=127.0.0.1", "--bind-interfaces"]
    place = Holder("ip link set lo up")
    try:
        server = place.spawn(["dnsmasq", *flags])
        try:
            yield Server("dnsmasq", ["nsenter", f"--net={place.net}"], "127.0.0.1", server.pid)
        finally:
            server.terminate()
            server.wait()
    finally:
        place.close()
        hosts.unlink()


@contextmanager
def _alone(server: Server, core: int) -> Iterator[None]:
    """All threads of the server on one core for as long as this lasts."""
    before = os.sched_getaffinity(server.pid)
    _pin(server.pid, {core})
    try:
        yield
    finally:
        with suppress(OSError):
            _pin(server.pid, before)


def _pin(pid: int, cores: set[int]) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)
