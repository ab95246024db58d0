"""Twenty starts at once, each a command line of its own: the wall clock until the last has returned."""

from __future__ import annotations

import subprocess
import time

from scripts.benches.contenders import Contender
from scripts.benches.options import Options
from scripts.benches.place import finish
from scripts.benches.rows import Row, against
from scripts.benches.samples import Samples

NETWORK, AT_ONCE = "bench", 20


def run(contenders: list[Contender], options: Options) -> list[Row]:
    samples = Samples()
    name = f"{AT_ONCE} starts in parallel, wall"
    for contender in contenders:
        contender.call("network", "create", NETWORK)
    for _ in range(min(options.rounds, 5)):
        for contender in contenders:
            samples.take(name, contender, lambda contender=contender: at_once(contender))
            contender.call(*contender.remove, *contender.call("ps", "-aq").split())
    return [samples.row(name, (against(0.3, "docker"),))]


def at_once(contender: Contender) -> float:
    start = ("run", "-d", "--network", NETWORK, "busybox", "sleep", "100000")
    begun = time.perf_counter()
    started = [contender.spawn(*start, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(AT_ONCE)]
    for process in started:
        finish(process, [contender.name, *start], 120)
    return (time.perf_counter() - begun) * 1000
