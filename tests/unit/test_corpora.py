"""Every sample of hostile input, and every input that ever broke a reader, once more through its reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.tortures.fuzz.targets import BY_NAME, CORPORA, Target

SAMPLES = [(target, sample) for target in BY_NAME.values() for sample in target.samples()]


@pytest.mark.parametrize(("target", "sample"), SAMPLES, ids=[f"{t.name}/{s.name}" for t, s in SAMPLES])
def test_a_reader_takes_a_sample_or_refuses_it_in_our_words(target: Target, sample: Path) -> None:
    target.function()(sample.read_bytes())


def test_every_directory_of_samples_has_a_reader() -> None:
    assert {place.name for place in CORPORA.iterdir()} == set(BY_NAME)
