"""Coverage-guided fuzzing of one target: `python -m scripts.tortures.fuzz TARGET [libFuzzer options]`.

Starts from tests/corpora/TARGET; `scripts/torture inputs` gives the limits. The last line that libFuzzer prints says
how many inputs were tried; one that breaks the target is written where `-artifact_prefix` says, and ends the run.
"""

from __future__ import annotations

import sys

import atheris

from scripts.tortures.fuzz.mutation import mutated
from scripts.tortures.fuzz.targets import BY_NAME


def main() -> None:
    target = BY_NAME[sys.argv[1]]
    with atheris.instrument_imports(include=list(target.code)):
        tried = target.function()
    arguments = [sys.argv[0], *sys.argv[2:]]
    if target.documents:
        atheris.Setup(arguments, tried, custom_mutator=mutated)
    else:
        atheris.Setup(arguments, tried)
    atheris.Fuzz()


main()
