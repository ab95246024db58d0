"""Hostile inputs: fuzzed readers and API, bytes on the socket, spoilt archives, damaged files of the daemon's."""

from __future__ import annotations

import importlib.util
import random

from scripts.tortures.fuzz import archives, stores, wire
from scripts.tortures.fuzz.targets import BY_NAME
from scripts.tortures.tally import Options, Tally

FUZZERS = {"atheris": "the readers were not fuzzed", "schemathesis": "the API was not fuzzed"}
SAMPLE = 6  # readers of a brief run, of which most is Python's start


def run(options: Options) -> Tally:
    """Every reader for a minute, every operation sixty times; in brief some for a second, and some of them twice."""
    tally = Tally(part="inputs")
    brief, seed = options.brief, options.seed
    missing = {name for name in FUZZERS if importlib.util.find_spec(name) is None}
    tally.notes += [f"{name} is not installed: {FUZZERS[name]}" for name in sorted(missing)]
    stores.spoil_stores(tally, times=10 if brief else 300, seed=seed)
    if "atheris" not in missing:
        from scripts.tortures.fuzz import runs

        readers = random.Random(seed).sample(list(BY_NAME), SAMPLE) if brief else list(BY_NAME)
        runs.fuzz_all(tally, readers, runs.Limits(seconds=1 if brief else 60, seed=seed))
    if "schemathesis" not in missing:
        from scripts.tortures.fuzz import api

        api.attack(tally, seed=seed, rounds=2 if brief else 60, most=30 if brief else 10_000)
    wire.attack(tally, seed=seed, rounds=50 if brief else 2000, idle=200 if brief else 4000)
    archives.attack(tally, seed=seed, rounds=10 if brief else 1000, brief=brief)
    return tally
