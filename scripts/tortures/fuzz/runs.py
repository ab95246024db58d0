"""Runs the fuzzer on each target, in a process of its own, and keeps what broke it among the samples."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts.tortures.fuzz.targets import BY_NAME, CORPORA, Target
from scripts.tortures.tally import Tally

SLOWEST = 5  # seconds for one input; more is an endless loop, or as bad as one
_RUNS = re.compile(rb"^(?:stat::number_of_executed_units:\s*|Done )(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one target's run."""

    seconds: int
    seed: int


def fuzz_all(tally: Tally, names: Sequence[str], limits: Limits) -> None:
    """Each of these targets, one on each processor. An input that breaks one is kept, and is a finding."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as workers:
        for tried, complaints in workers.map(lambda name: _fuzzed(BY_NAME[name], limits), names):
            tally.count("readers fuzzed")
            tally.count("inputs tried", tried)
            for line in complaints:
                tally.blame(line)


def _fuzzed(target: Target, limits: Limits) -> tuple[int, list[str]]:
    """How many inputs were tried, and what there is to complain of."""
    with tempfile.TemporaryDirectory(prefix="netpy-fuzz-", dir="/dev/shm") as place:
        return _fuzz(target, Path(place), limits)


def _fuzz(target: Target, place: Path, limits: Limits) -> tuple[int, list[str]]:
    grown, broken = place / "grown", place / "broken"
    grown.mkdir()
    broken.mkdir()
    words = place / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    run = subprocess.run(
        [
            sys.executable, "-m", "scripts.tortures.fuzz", target.name,
            f"-max_total_time={limits.seconds}", f"-seed={limits.seed}", f"-timeout={SLOWEST}", "-rss_limit_mb=2000",
            "-max_len=8192", "-print_final_stats=1", f"-artifact_prefix={broken}/",
            *([f"-dict={words}"] if target.words else []),
            str(grown), str(CORPORA / target.name),
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=CORPORA.parents[1], check=False,
    )  # fmt: skip
    tried = _RUNS.findall(run.stdout)
    complaints: list[str] = []
    for found in sorted(broken.iterdir()):
        data = found.read_bytes()
        kept = CORPORA / target.name / f"found-{hashlib.sha256(data).hexdigest()[:8]}"
        kept.write_bytes(data)
        complaints.append(f"{target.name}: {kept.name}: {_reason(run.stdout)}")
    if run.returncode and not complaints:
        said = run.stdout[-400:].decode(errors="replace")
        complaints.append(f"{target.name}: the fuzzer ended with {run.returncode}: {said}")
    return int(tried[-1]) if tried else 0, complaints


def _escaped(word: bytes) -> str:
    return "".join("\\x%02x" % byte for byte in word)  # noqa: UP031 - no backslash inside braces before 3.12


def _reason(output: bytes) -> str:
    """The exception that ended the run, in a line."""
    lines = output.decode(errors="replace").splitlines()
    after = [number for number, line in enumerate(lines) if "Uncaught Python exception" in line]
    return lines[after[0] + 1].strip() if after and after[0] + 1 < len(lines) else "too slow, or a crash below Python"
