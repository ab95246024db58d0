"""What an engine weighs: its daemon and name server without containers and with a hundred, and the helpers of each.

PSS, summed over all processes of the contender's place that are not in a container: what several share is divided among
them. Every container has a published port, so that whatever an engine starts for a port is counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from scripts.benches import census
from scripts.benches.contenders import Contender
from scripts.benches.options import Options
from scripts.benches.rows import Row, against
from scripts.benches.samples import Samples

GOAL = (against(0.5, "docker"),)
SETTLE = 3.0  # seconds until what a start needed for a moment is given back


def run(contenders: list[Contender], options: Options) -> list[Row]:
    samples, count = Samples(), options.size(100, 20)
    names = (
        "daemon and DNS, no containers",
        f"daemon and DNS, {count} containers",
        "helpers of one container",
        f"all of it, {count} containers",
    )
    for contender in contenders:
        contender.stop()
        contender.start()
        time.sleep(SETTLE)
        weigh(contender, names[0], samples, lambda engine, _helpers: engine)
        try:
            fill(contender, count)
        except RuntimeError as problem:
            for name in names[1:]:
                samples.fail(name, contender, str(problem))
        else:
            time.sleep(SETTLE)
            weigh(contender, names[1], samples, lambda engine, _helpers: engine)
            weigh(contender, names[2], samples, lambda _engine, helpers: helpers / count)
            weigh(contender, names[3], samples, lambda engine, helpers: engine + helpers)
        with suppress(RuntimeError):  # it is tried again after the group
            contender.clear()
    notes = ("PSS; Podman has no daemon: what remains is its name server",)
    return [samples.row(name, GOAL, "MiB", notes) for name in names]


def weigh(contender: Contender, name: str, samples: Samples, share: Callable[[float, float], float]) -> None:
    ours = [process for process in census.processes(contender.place) if process.at_home]
    engine = census.weight(process for process in ours if not process.helper)
    helpers = census.weight(process for process in ours if process.helper)
    samples.take(name, contender, lambda: share(engine, helpers))


def fill(contender: Contender, count: int) -> None:
    contender.call("network", "create", "bench")
    contender.populate(count, "--network", "bench", port=20000)
