"""The everyday command lines, each timed from the start of its process to its end."""

from __future__ import annotations

import secrets

from scripts.benches.contenders import Contender
from scripts.benches.options import Options
from scripts.benches.rows import Clause, Row, against
from scripts.benches.samples import Samples

NETWORK = "bench"
START = (against(0.25, "docker"), against(0.4, "podman"))
FASTER = (against(0.4, "docker", "podman"),)
GOALS: dict[str, tuple[Clause, ...]] = {
    "run --rm true": START,
    "run -d, alias and port": START,
    "rm -f": FASTER,
    "exec true": FASTER,
    "network connect": FASTER,
    "network disconnect": FASTER,
    "network create": (against(0.4, "docker"),),
    "network rm": (against(0.4, "docker"),),
    "network ls": (against(1.0, "docker"),),
    "inspect": (against(1.0, "docker"),),
    "ps": (against(1.0, "docker"),),
}


def run(contenders: list[Contender], options: Options) -> list[Row]:
    samples = Samples()
    for contender in contenders:
        contender.call("network", "create", NETWORK)
        contender.call("run", "-d", "--name", "resident", "--network", NETWORK, "busybox", "sleep", "100000")
    for _ in range(options.rounds):
        for contender in contenders:
            one_round(contender, samples)
    return [samples.row(name, goal) for name, goal in GOALS.items()]


def one_round(contender: Contender, samples: Samples) -> None:
    tag = secrets.token_hex(4)

    def take(row: str, *arguments: str) -> None:
        samples.take(row, contender, lambda: contender.time(*arguments))

    take("run --rm true", "run", "--rm", "--network", NETWORK, "busybox", "true")
    publish = ("--network", NETWORK, "--network-alias", "search", "-p", "8800:80")
    take("run -d, alias and port", "run", "-d", "--name", tag, *publish, "busybox", "sleep", "1000")
    take("exec true", "exec", tag, "true")
    take("network create", "network", "create", f"n{tag}")
    take("network connect", "network", "connect", f"n{tag}", tag)
    take("network disconnect", "network", "disconnect", f"n{tag}", tag)
    take("rm -f", *contender.remove, tag)
    take("network rm", "network", "rm", f"n{tag}")
    take("network ls", "network", "ls")
    take("inspect", "inspect", "resident")
    take("ps", "ps")
