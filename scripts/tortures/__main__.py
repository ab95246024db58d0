"""`scripts/torture [part …]`: runs the parts one after the other and says what did not hold.

The exit code is 1 when a promise was broken or something was left on the machine. `--write` puts the figures of this
run, and the machine it ran on, into docs/reliability.md; parts that did not run keep the figures they had.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from scripts import leaks
from scripts.tortures.tally import Options, Tally, document, table

PARTS = ("crash", "scarcity", "healing", "churn", "hostile", "inputs", "door")
DOCS = Path(__file__).resolve().parents[2] / "docs"
BEGIN, END = "<!-- figures: written by scripts/torture --write -->", "<!-- end of figures -->"


def run_part(name: str, options: Options) -> Tally:
    """One part, timed, with a look at what it left; a part that breaks off is a finding too."""
    before = leaks.snapshot()
    begun = time.monotonic()
    try:
        tally: Tally = importlib.import_module(f"scripts.tortures.{name}").run(options)
    except Exception:
        tally = Tally(part=name)
        tally.blame(f"broke off: {traceback.format_exc()}")
    tally.seconds = time.monotonic() - begun
    for thing in leaks.lasting(before):
        tally.blame(f"left behind: {thing}")
    return tally


def say(tally: Tally) -> None:
    """A part's figures, then every finding, for a person at a terminal."""
    figures = ", ".join(f"{number} {what}" for what, number in tally.counts.items())
    print(f"{tally.part}: {figures}; {len(tally.findings)} findings; {tally.seconds:.0f} s", flush=True)
    for line in (*tally.findings, *(f"note: {note}" for note in tally.notes)):
        print(f"    {line}", flush=True)


def write(run: dict[str, Any]) -> None:
    """Merge a run into docs/reliability.json, and its table into docs/reliability.md."""
    record, page = DOCS / "reliability.json", DOCS / "reliability.md"
    kept = json.loads(record.read_text())["parts"] if record.exists() else []
    parts = {part["part"]: part for part in (*kept, *run["parts"])}
    merged = {**run, "parts": [parts[name] for name in PARTS if name in parts]}
    record.write_text(json.dumps(merged, indent=1) + "\n")
    head, _, rest = page.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    machine = f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}, seed {run['seed']}"
    page.write_text(f"{head}{BEGIN}\n{machine}\n\n{table(merged)}\n{END}{tail}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/torture", description="faults, load and attacks")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"one or more of {', '.join(PARTS)}; all by default")
    parser.add_argument("--seed", type=int, default=1, help="what the random choices come from")
    parser.add_argument("--brief", action="store_true", help="half a minute for each part")
    parser.add_argument("--backend", action="append", choices=("nftables", "iptables"), help="both by default")
    parser.add_argument("--json", type=Path, help="write the figures and findings to this file")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/reliability.md")
    asked = parser.parse_args()
    if unknown := [part for part in asked.parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    options = Options(seed=asked.seed, brief=asked.brief, backends=tuple(asked.backend or Options().backends))
    tallies: list[Tally] = []
    for name in asked.parts or PARTS:
        tallies.append(run_part(name, options))
        say(tallies[-1])
    run = document(tallies, options)
    if asked.json:
        asked.json.write_text(json.dumps(run, indent=1) + "\n")
    if asked.write:
        write(run)
    return 1 if any(tally.findings for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
