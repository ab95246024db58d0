"""Hostile inputs: fuzzed readers and API, bytes on the socket, spoilt archives, damaged files of the daemon's."""

from __future__ import annotations

import importlib.util

from scripts.tortures.fuzz import archives, stores, wire
from scripts.tortures.tally import Options, Tally

FUZZERS = {"atheris": "the readers were not fuzzed", "schemathesis": "the API was not fuzzed"}


def run(options: Options) -> Tally:
    """Every reader for a minute, every operation sixty times; in brief a second and twice."""
    tally = Tally(part="inputs")
    brief = options.brief
    missing = {name for name in FUZZERS if importlib.util.find_spec(name) is None}
    tally.notes += [f"{name} is not installed: {FUZZERS[name]}" for name in sorted(missing)]
    stores.spoil_stores(tally, times=10 if brief else 300, seed=options.seed)
    if "atheris" not in missing:
        from scripts.tortures.fuzz import runs

        runs.fuzz_all(tally, seconds=1 if brief else 60, seed=options.seed)
    if "schemathesis" not in missing:
        from scripts.tortures.fuzz import api

        api.attack(tally, seed=options.seed, rounds=2 if brief else 60)
    wire.attack(tally, seed=options.seed, rounds=50 if brief else 2000, idle=200 if brief else 4000)
    archives.attack(tally, seed=options.seed, rounds=10 if brief else 1000, brief=brief)
    return tally
