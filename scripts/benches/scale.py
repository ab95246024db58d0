"""Whether the nth costs what the first did: containers on one network, published ports, containers with many ports.

Each contender starts containers one after another, in turn with the others, until it has them all or its time is over:
an engine that starts a process per port needs minutes for a thousand of them. What counts is the last ten over the
first ten, of whole command lines.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from scripts.benches.contenders import Contender
from scripts.benches.options import Options
from scripts.benches.rows import OURS, Row, bound
from scripts.benches.samples import Samples

FIRST_PORT = 10000
WINDOW = 10
FLAT = (bound(1.2),)
MANY = 1000


@dataclass
class Climb:
    """One contender on its way: what each start took, and how many ports are published by now."""

    contender: Contender
    limit: int  # seconds
    network: str
    times: list[float] = field(default_factory=list)
    port: int = FIRST_PORT
    spent: float = 0.0

    def step(self, ports: int) -> float:
        publish = ("-p", port_range(self.port, ports)) if ports else ()
        self.port += ports
        took = self.contender.time("run", "-d", "--network", self.network, *publish, "busybox", "sleep", "100000")
        self.times.append(took)
        self.spent += took / 1000
        return took


def port_range(first: int, count: int) -> str:
    """`8000:8000`, or `8000-8009:8000-8009`: Podman takes no range of one."""
    text = str(first) if count == 1 else f"{first}-{first + count - 1}"
    return f"{text}:{text}"


def run(contenders: list[Contender], options: Options) -> list[Row]:
    samples, count = Samples(), options.size(200, 40)
    between = options.size(10, 2)  # containers with 98 ports each
    shapes: dict[str, Sequence[int]] = {
        f"start of container {count} over the 1st": [0] * count,
        f"publish port {2 * WINDOW + 98 * between} over the 1st": [1] * WINDOW + [98] * between + [1] * WINDOW,
        f"{count // 2} containers with 32 ports each, last over first": [32] * (count // 2),
    }
    rows: list[Row] = []
    for number, (name, steps) in enumerate(shapes.items()):
        network = f"climb{number}"
        limit = options.size(30 if any(steps) else 75, 10)
        climbs = [Climb(contender, limit if contender.name != OURS else 5 * limit, network) for contender in contenders]
        rows += climb(name, steps, climbs, samples)
    return [*rows, *wide_ranges(contenders, options, samples)]


def climb(name: str, steps: Sequence[int], climbs: list[Climb], samples: Samples) -> tuple[Row, Row]:
    """The ratio, and every start's time in order, for the chart."""
    each = f"{len(steps)} starts publishing {sum(steps):,} ports" if any(steps) else f"{len(steps)} starts, one network"
    for one in climbs:
        one.contender.call("network", "create", one.network)
    for number, ports in enumerate(steps):
        for one in climbs:
            if one.spent < one.limit and len(one.times) == number:
                samples.take(each, one.contender, lambda one=one, ports=ports: one.step(ports))
    notes: list[str] = []
    for one in climbs:
        who, times = one.contender, one.times
        if len(times) == len(steps):
            first, last = statistics.median(times[:WINDOW]), statistics.median(times[-WINDOW:])
            samples.take(name, who, lambda first=first, last=last: last / first)
            notes.append(f"{who.name} {first:.0f} → {last:.0f} ms")
        elif who.name in samples.failed[each]:
            samples.fail(name, who, f"at start {len(times) + 1}: {samples.failed[each][who.name]}")
        else:
            said = f"{len(times)} of {len(steps)} starts and {one.port - FIRST_PORT} ports in {one.limit} s"
            samples.fail(name, who, f"{said}; the first took {times[0]:.0f} ms, the last {times[-1]:.0f}")
        with suppress(RuntimeError):  # it is tried again after the group
            who.clear()
    at = tuple(float(number + 1) for number in range(len(steps)))
    return samples.row(name, FLAT, "×", ("; ".join(notes),)), samples.curve(each, at, "containers started")


def wide_ranges(contenders: list[Contender], options: Options, samples: Samples) -> list[Row]:
    """What many ports at once add to a start. A process per port is not waited for a thousand times."""
    names = {ports: f"publish a range of {ports} ports, over none" for ports in (MANY, MANY // 10)}
    for number in range(min(options.rounds, 5)):
        for contender in contenders:
            for ports, name in names.items():
                if contender.name == OURS or (number == 0 and ports < MANY):
                    samples.take(name, contender, lambda who=contender, ports=ports: added(who, ports))
            with suppress(RuntimeError):
                contender.clear()
    notes = (f"the others are asked for {MANY // 10}, once: they take long, and longer to take them back",)
    return [samples.row(names[MANY], (bound(50),), notes=notes), samples.row(names[MANY // 10])]


def added(contender: Contender, ports: int) -> float:
    """Milliseconds by which a start with that many ports takes longer than one without."""
    flags = ("-p", port_range(FIRST_PORT + ports, ports))
    bare = contender.time("run", "-d", "busybox", "sleep", "1000")
    return contender.time("run", "-d", *flags, "busybox", "sleep", "1000") - bare
