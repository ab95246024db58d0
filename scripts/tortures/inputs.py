"""Hostile inputs: fuzzed readers, a fuzzed API, spoilt archives, and damaged files of the daemon's own."""

from __future__ import annotations

from scripts.tortures.fuzz import runs
from scripts.tortures.tally import Options, Tally


def run(options: Options) -> Tally:
    """Every reader for a minute; in brief, for a second."""
    tally = Tally(part="inputs")
    runs.fuzz_all(tally, seconds=1 if options.brief else 60, seed=options.seed)
    return tally
