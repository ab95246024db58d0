"""Runs the groups that are asked for, prints their rows, writes JSON, and with --write the page and its charts."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from scripts.benches import contenders as engines
from scripts.benches.contenders import Contender
from scripts.benches.options import Options
from scripts.benches.place import Place
from scripts.benches.rows import Row, to_json

GROUPS = ("commands", "scale", "parallel", "restart", "memory", "names", "traffic", "complexity", "cni", "drivers")


def measure(group: str, contenders: list[Contender], options: Options) -> list[Row]:
    """The rows of a group: `run(contenders, options)` of the module of that name. A failure is said, not raised."""
    try:
        module = importlib.import_module(f"scripts.benches.{group}")
        rows = module.run(contenders, options)
    except Exception as problem:
        print(f"{group}: {type(problem).__name__}: {problem}", file=sys.stderr)
        return [Row(f"{group} could not be measured", (), {}, failed={"all": str(problem)}, group=group)]
    return [replace(row, group=group) for row in rows]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("group", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all when none is named")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 10; 3 with --quick)")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds: does it work at all")
    parser.add_argument("--only", metavar="NAME,…", help="these contenders alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured to FILE")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.json, the page's table and charts")
    chosen = parser.parse_args()
    if unknown := set(chosen.group) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    return chosen


def main() -> None:
    asked = arguments()
    options = Options(asked.rounds or (3 if asked.quick else 10), asked.quick)
    wanted = asked.only.split(",") if asked.only else engines.installed()
    rows: list[Row] = []
    with ExitStack() as stack:
        stage = Path(tempfile.mkdtemp(prefix="netpy-bench-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, stage, ignore_errors=True)
        contenders: list[Contender] = []
        for name in wanted:
            place = Place(stage / name)
            stack.callback(place.close)
            contender = engines.KINDS[name][0](place)
            stack.callback(contender.stop)
            contender.start()
            stack.callback(contender.clear)
            contender.import_image()
            contenders.append(contender)
        for group in asked.group or GROUPS:
            print(f"— {group} (load {os.getloadavg()[0]:.1f})", flush=True)
            rows += measure(group, contenders, options)
    if asked.json:
        asked.json.write_text(json.dumps({"rows": to_json(rows)}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
