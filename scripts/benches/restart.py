"""A daemon's restart under its running containers: how long until it answers, and what is lost meanwhile.

Three streams of datagrams, one every 5 ms, run through it: between two containers, from outside to a published port,
and questions to the name server from inside a container. Podman has no daemon and is left out.
"""

from __future__ import annotations

import time
from contextlib import suppress

from scripts.benches import probe
from scripts.benches.contenders import Contender
from scripts.benches.options import Options
from scripts.benches.place import HOST
from scripts.benches.rows import Row, bound
from scripts.benches.samples import Samples

NETWORK, PORT = "bench", 7007
AROUND = 1.0  # seconds that the streams run before and after
WHOLE = "daemon restart, until the API answers"
STOP, START = "of it: until the old one has ended", "of it: until the new one answers"
LOST = {
    "between": "packets lost between containers meanwhile",
    "published": "packets lost from outside to a published port meanwhile",
    "names": "DNS answers lost meanwhile",
}


def run(contenders: list[Contender], options: Options) -> list[Row]:
    samples, count = Samples(), options.size(200, 20)
    sent: dict[str, int] = {}
    with_daemon = [contender for contender in contenders if contender.daemon]
    for contender in with_daemon:
        try:
            prepare(contender, count)
            for _ in range(min(options.rounds, 3)):
                sent[contender.name] = sent.get(contender.name, 0) + once(contender, samples, count)
        except (RuntimeError, OSError) as problem:
            for row in (WHOLE, STOP, START, *LOST.values()):
                samples.fail(row, contender, str(problem))
        with suppress(RuntimeError):  # it is tried again after the group
            contender.clear()
    datagrams = ", ".join(f"{name} {number:,}" for name, number in sent.items())
    notes = (f"{count} containers run; datagrams sent in all restarts: {datagrams}",)
    lost = [samples.row(row, (bound(0),), "", notes) for row in LOST.values()]
    return [
        samples.row(WHOLE, (bound(2000),), notes=notes),
        *(samples.row(row, notes=notes) for row in (STOP, START)),
        *lost,
    ]


def prepare(contender: Contender, count: int) -> None:
    contender.call("network", "create", NETWORK)
    start = ("run", "-d", "--network", NETWORK)
    contender.call(*start, "--name", "asker", "busybox", "sleep", "100000")
    published = ("-p", f"{PORT}:{probe.ECHO}/udp", "--name", "echo")
    contender.call(*start, *published, "busybox", "sleep", "100000")
    contender.populate(count - 2, "--network", NETWORK)


def once(contender: Contender, samples: Samples, count: int) -> int:
    """One restart amid the streams; how many datagrams were sent."""
    asker, there = (f"/proc/{contender.pid(container)}/ns/net" for container in ("asker", "echo"))
    outside = contender.place.outside.net
    echo = probe.Echo(there)
    streams = {
        "between": probe.Stream(asker, (contender.address("echo", NETWORK), probe.ECHO)),
        "published": probe.Stream(outside, (HOST, PORT)),
        "names": probe.Stream(asker, (contender.nameserver("asker"), 53), probe.question("echo"), probe.answered),
    }
    ended: dict[str, tuple[int, int]] = {}
    try:
        time.sleep(AROUND)
        begun = time.perf_counter()
        contender.stop()
        ended_at = time.perf_counter()
        contender.start()
        answered = time.perf_counter()
        time.sleep(AROUND)
    finally:
        ended = {which: stream.end() for which, stream in streams.items()}
        echo.close()
    running = len(contender.call("ps", "-q").split())
    if running != count:
        raise RuntimeError(f"{running} of {count} containers run after the restart")
    for row, since, until in ((WHOLE, begun, answered), (STOP, begun, ended_at), (START, ended_at, answered)):
        samples.take(row, contender, lambda since=since, until=until: (until - since) * 1000)
    for which, (_sent, lost) in ended.items():
        samples.take(LOST[which], contender, lambda lost=lost: float(lost))
    return sum(sent for sent, _lost in ended.values())
