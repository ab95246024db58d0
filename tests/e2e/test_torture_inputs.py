"""A little of what `scripts/torture inputs` does for an hour: hostile bytes for readers, the API, the socket, and archives."""

from __future__ import annotations

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts.tortures.fuzz import archives, wire
from scripts.tortures.fuzz.targets import BY_NAME, CORPORA
from scripts.tortures.tally import Tally

pytestmark = pytest.mark.root
CHANGING = {
    "/containers/create",
    "/networks/create",
    "/volumes/create",
    "/networks/{id}/connect",
    "/containers/{id}/exec",
}
ASKING = {
    "/containers/json",
    "/containers/{id}/archive",
    "/images/create",
    "/build",
    "/auth",
    "/containers/{id}/update",
}


def test_every_reader_takes_some_hundred_changed_samples(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    with ThreadPoolExecutor(max_workers=2) as workers:  # most of the time Python is starting
        assert [wrong for wrong in workers.map(lambda name: fuzzed(name, tmp_path / name), BY_NAME) if wrong] == []


def fuzzed(name: str, place: Path) -> str:
    """What the fuzzer has to complain of."""
    place.mkdir()
    command = [sys.executable, "-m", "scripts.tortures.fuzz", name, "-runs=300", "-seed=7", "-timeout=20"]
    done = subprocess.run(
        [*command, f"-artifact_prefix={place}/", str(place), str(CORPORA / name)],
        cwd=CORPORA.parents[1], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return f"{name}: {done.stdout[-1000:]}{done.stderr[-1000:]}" if done.returncode else ""


def test_the_api_answers_in_its_own_words() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("schemathesis")
        from scripts.tortures.fuzz import api

        tally = Tally(part="api")
        api.attack(tally, seed=7, rounds=2, only=(CHANGING | ASKING).__contains__)
    assert tally.findings == []
    assert tally.counts["requests"] > 15


def test_hostile_bytes_on_the_socket_change_nothing() -> None:
    tally = Tally(part="wire")
    wire.attack(tally, seed=7, rounds=20, idle=100)
    assert tally.findings == []
    assert tally.counts["attacks on the wire"] > 50


def test_a_spoilt_archive_stays_where_it_belongs() -> None:
    tally = Tally(part="archives")
    archives.attack(tally, seed=7, rounds=10, brief=True)
    assert tally.findings == []
    assert tally.counts["spoilt archives"] > 50
