"""Hostile inputs: fuzzed readers, a fuzzed API, spoilt archives, and damaged files of the daemon's own."""

from __future__ import annotations

from scripts.tortures.fuzz import runs, stores
from scripts.tortures.tally import Options, Tally


def run(options: Options) -> Tally:
    """Every reader for a minute; in brief, for a second."""
    tally = Tally(part="inputs")
    stores.spoil_stores(tally, times=10 if options.brief else 300, seed=options.seed)
    runs.fuzz_all(tally, seconds=1 if options.brief else 60, seed=options.seed)
    return tally
