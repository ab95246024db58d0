"""Whether the nth costs what the first did: containers on one network, published ports, containers with many ports.

Each contender starts containers one after another, in turn with the others, until it has them all or its time is over:
an engine that starts a process per port needs minutes for a thousand of them. What counts is the last ten over the
first ten. The kernel's and the machine's own share is in it, since whole command lines are timed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from scripts.benches.contenders import Contender
from scripts.benches.options import Options
from scripts.benches.rows import Row, bound
from scripts.benches.samples import Samples

NETWORK = "bench"
FIRST_PORT = 10000
WINDOW = 10
FLAT = (bound(1.2),)
RANGE = 1000


@dataclass
class Climb:
    """One contender on its way: what each start took, and how many ports are published by now."""

    contender: Contender
    times: list[float] = field(default_factory=list)
    port: int = FIRST_PORT
    spent: float = 0.0

    def step(self, ports: int) -> float:
        publish = ("-p", port_range(self.port, ports)) if ports else ()
        self.port += ports
        took = self.contender.time("run", "-d", "--network", NETWORK, *publish, "busybox", "sleep", "100000")
        self.times.append(took)
        self.spent += took / 1000
        return took


def port_range(first: int, count: int) -> str:
    """`8000:8000`, or `8000-8009:8000-8009`: Podman takes no range of one."""
    text = str(first) if count == 1 else f"{first}-{first + count - 1}"
    return f"{text}:{text}"


def run(contenders: list[Contender], options: Options) -> list[Row]:
    samples, count = Samples(), options.size(200, 40)
    budget = options.size(75, 15)
    between = options.size(10, 2)  # containers with 98 ports each
    shapes: dict[str, Sequence[int]] = {
        f"start of container {count} over the 1st": [0] * count,
        f"publish port {2 * WINDOW + 98 * between} over the 1st": [1] * WINDOW + [98] * between + [1] * WINDOW,
        f"{count // 2} containers with 32 ports each, last over first": [32] * (count // 2),
    }
    rows: list[Row] = []
    for name, steps in shapes.items():
        rows += climb(name, steps, contenders, samples, budget)
    return [*rows, wide_range(contenders, options, samples)]


def climb(
    name: str, steps: Sequence[int], contenders: list[Contender], samples: Samples, budget: float
) -> tuple[Row, Row]:
    """The ratio, and every start's time in order, for the chart."""
    climbs = [Climb(contender) for contender in contenders]
    each = f"each start: {name}"
    for contender in contenders:
        contender.call("network", "create", NETWORK)
    for number, ports in enumerate(steps):
        for one in climbs:
            if one.spent < budget and len(one.times) == number:
                samples.take(each, one.contender, lambda one=one, ports=ports: one.step(ports))
    at = tuple(float(number + 1) for number in range(len(steps)))
    notes: list[str] = []
    for one in climbs:
        who, times = one.contender, one.times
        if len(times) == len(steps):
            first, last = statistics.median(times[:WINDOW]), statistics.median(times[-WINDOW:])
            samples.take(name, who, lambda first=first, last=last: last / first)
            notes.append(f"{who.name} {first:.0f} → {last:.0f} ms")
        elif who.name not in samples.failed[each]:
            samples.fail(
                name, who, f"{len(times)} of {len(steps)} after {budget:.0f} s, the last in {times[-1]:.0f} ms"
            )
        else:
            samples.fail(name, who, f"the start {len(times) + 1}: {samples.failed[each][who.name]}")
        who.clear()
    return samples.row(name, FLAT, "×", ("; ".join(notes),)), samples.curve(each, at, "containers started")


def wide_range(contenders: list[Contender], options: Options, samples: Samples) -> Row:
    """What a thousand ports add to a start. Those who need a process per port are asked once."""
    name, limit = f"publish a range of {RANGE} ports, over none", options.size(120, 20)
    publish = ("-p", port_range(FIRST_PORT, RANGE))

    def added(contender: Contender) -> float:
        bare = contender.time("run", "-d", "busybox", "sleep", "1000")
        wide = contender.time("run", "-d", *publish, "busybox", "sleep", "1000", timeout=limit)
        return wide - bare

    for number in range(min(options.rounds, 5)):
        for contender in contenders:
            if number == 0 or contender.name == "netpy":
                samples.take(name, contender, lambda contender=contender: added(contender))
                contender.clear()
    return samples.row(name, (bound(50),), notes=("the others once: they take long, and much memory",))
