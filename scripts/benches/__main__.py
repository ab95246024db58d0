"""Runs the groups that are asked for, prints their rows, writes JSON, and with --write the page and its charts."""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.benches import census, page
from scripts.benches import contenders as engines
from scripts.benches.contenders import Contender
from scripts.benches.options import Options
from scripts.benches.place import Place
from scripts.benches.rows import Row, from_json, to_json

GROUPS = ("commands", "scale", "parallel", "restart", "memory", "names", "traffic", "complexity", "cni", "drivers")
WITHOUT_ENGINES = {"cni", "drivers"}
LONG, ENOUGH = {"names", "traffic", "complexity"}, 5  # groups whose one round takes a minute, and rounds of theirs
DOCS = Path(__file__).resolve().parents[2] / "docs"


def measure(group: str, contenders: list[Contender], options: Options) -> list[Row]:
    """The rows of a group: `run(contenders, options)` of the module of that name. A failure is said, not raised."""
    try:
        module = importlib.import_module(f"scripts.benches.{group}")
        rows: list[Row] = module.run(contenders, options)
    except Exception as problem:
        print(f"{group}: {type(problem).__name__}: {problem}", file=sys.stderr)
        return [
            Row(
                f"{group} was not measured", (), {}, failed={"all": f"{type(problem).__name__}: {problem}"}, group=group
            )
        ]
    return [replace(row, group=group) for row in rows]


def clear(contender: Contender) -> bool:
    """Whether everything it has could be removed; says why not."""
    try:
        contender.clear()
    except (RuntimeError, OSError) as problem:
        print(f"{contender.name}: clearing away: {problem}", file=sys.stderr)
        return False
    return True


def renewed(contender: Contender, stage: Path, stack: ExitStack) -> Contender | None:
    """A fresh one in a fresh place, for one that is dead or would not let go of something."""
    contender.stop()
    census.end(contender.place)
    return enter(contender.name, stage, stack)


def enter(name: str, stage: Path, stack: ExitStack) -> Contender | None:
    """A contender, started, in a place of its own; both go with the stack. Nothing when it does not start."""
    place = Place(Path(tempfile.mkdtemp(prefix=f"{name}-", dir=stage)))
    stack.callback(leave, place)
    contender = engines.KINDS[name][0](place)
    stack.callback(contender.stop)
    stack.callback(clear, contender)
    try:
        engines.prepare(contender)
    except (RuntimeError, OSError) as problem:
        print(f"{name} is left out: {problem}", file=sys.stderr)
        return None
    print(f"{name} {contender.version} with {contender.runtime}", flush=True)
    return contender


def leave(place: Place) -> None:
    """End what is left in a place, and the place; say what would not go."""
    for process in census.end(place):
        print(f"left behind: process {process.pid} {' '.join(process.words)[:80]}", file=sys.stderr)
    place.close()


def parents() -> set[Path]:
    """Control groups that Docker and Podman put theirs into, and leave."""
    return {path for name in ("docker", "libpod_parent", "conmon") for path in Path("/sys/fs/cgroup").glob(f"*/{name}")}


def look_back(stage: Path, groups: set[Path]) -> None:
    """Remove the run's directory and what was added to `groups`, and say what is still there."""
    shutil.rmtree(stage, ignore_errors=True)
    for path in parents() - groups:
        with suppress(OSError):  # somebody else has come to use it
            path.rmdir()
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    left = [f"mount {mount}" for mount in mounts if mount.startswith(str(stage))]
    left += [str(path) for path in [stage] if path.exists()]
    for thing in left:
        print(f"left behind: {thing}", file=sys.stderr)


def machine() -> dict[str, Any]:
    model = next(
        (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), ":"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = platform.release().partition("-")[0]
    text = (
        f"{os.cpu_count()} cores ({model.partition(':')[2].strip()}), {memory:.0f} GiB, Linux {kernel}, "
        f"Python {platform.python_version()}"
    )
    return {"text": text, "date": datetime.datetime.now(datetime.UTC).date().isoformat()}


def run(groups: Sequence[str], options: Options, wanted: Sequence[str]) -> dict[str, Any]:
    """Measure, printing as it goes; the run as a document."""
    document: dict[str, Any] = {"machine": machine(), "contenders": {}, "groups": {}, "rows": []}
    with ExitStack() as stack:
        stage = Path(tempfile.mkdtemp(prefix="netpy-bench-", dir="/var/tmp"))
        stack.callback(look_back, stage, parents())
        contenders = [found for name in wanted if (found := enter(name, stage, stack))]
        for contender in contenders:
            document["contenders"][contender.name] = {"version": contender.version, "runtime": contender.runtime}
        with suppress(KeyboardInterrupt):  # what has been measured is worth keeping
            for group in groups:
                document["rows"] += to_json(timed(group, contenders, options, document))
                contenders = [
                    ready for one in contenders if (ready := one if clear(one) else renewed(one, stage, stack))
                ]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # from here on it is cleared away
    return document


def timed(group: str, contenders: list[Contender], options: Options, document: dict[str, Any]) -> list[Row]:
    """A group's rows, printed; how long they took, and how busy the machine was, is noted."""
    if group in LONG:
        options = replace(options, rounds=min(options.rounds, ENOUGH))
    load, begun = os.getloadavg()[0], time.monotonic()
    print(f"\n{group}", flush=True)
    rows = measure(group, contenders, options)
    seconds, loads = time.monotonic() - begun, [load, os.getloadavg()[0]]
    document["groups"][group] = {"seconds": seconds, "load": loads, "rounds": options.rounds, "quick": options.quick}
    print(f"{page.terminal(rows)}\n    {seconds:.0f} s, load {load:.1f} to {loads[1]:.1f}", flush=True)
    return rows


def write(document: dict[str, Any]) -> None:
    """Lay the run over docs/benchmarks.json, draw its charts, and put both into docs/benchmarks.md."""
    from scripts.benches import charts  # needs matplotlib, which nothing else does

    record, text = DOCS / "benchmarks.json", DOCS / "benchmarks.md"
    whole = page.merged(json.loads(record.read_text()) if record.exists() else {}, document, GROUPS)
    record.write_text(json.dumps(whole, ensure_ascii=False) + "\n")
    drawn = charts.draw(from_json(whole["rows"]), DOCS / "charts")
    text.write_text(page.insert(text.read_text(), page.markdown(whole, drawn)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="netpy beside Docker and Podman, in one run")
    parser.add_argument("group", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all when none is named")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 10; 3 with --quick)")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds: does it work at all")
    parser.add_argument("--only", nargs="+", choices=sorted(engines.KINDS), help="these contenders alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured to FILE")
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md, with charts and JSON")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="measure nothing; take FILE, of --json"
    )
    chosen = parser.parse_args()
    if unknown := set(chosen.group) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return chosen


def main() -> None:
    asked = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as an interrupt: all is cleared away, and kept
    if asked.source:
        document = json.loads(asked.source.read_text())
    else:
        options = Options(asked.rounds or (3 if asked.quick else 10), asked.quick)
        groups = asked.group or GROUPS
        wanted = [] if WITHOUT_ENGINES.issuperset(groups) else asked.only or engines.installed()
        document = run(groups, options, wanted)
    if asked.json:
        asked.json.write_text(json.dumps(document, ensure_ascii=False) + "\n")
    if asked.write:
        write(document)


if __name__ == "__main__":
    main()
