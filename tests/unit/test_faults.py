"""Fault points: nothing where nobody asks for them, a killed process where somebody does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from netpy import faults

WALK = "from netpy.faults import point\nfor name in ('a', 'b', 'a', 'c'): point(name)\n"


def walk(armed: Path) -> int:
    return subprocess.run([sys.executable, "-c", WALK], env={faults.VARIABLE: str(armed)}, check=False).returncode


def test_a_process_that_is_not_on_trial_passes() -> None:
    faults.point("anything")


@pytest.mark.parametrize(
    ("wanted", "code", "reached"),
    [
        ("", 0, []),
        ("-", 0, ["a #1", "b #1", "a #2", "c #1"]),
        ("a #2", -9, ["a #1", "b #1", "a #2"]),
        ("b #2", 0, ["a #1", "b #1", "a #2", "c #1"]),
    ],
)
def test_it_dies_where_it_is_told_to(tmp_path: Path, wanted: str, code: int, reached: list[str]) -> None:
    armed = tmp_path / "faults"
    armed.write_text(wanted)
    assert walk(armed) == code
    seen = tmp_path / "faults.seen"
    assert (seen.read_text().splitlines() if seen.exists() else []) == reached
