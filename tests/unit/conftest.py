"""Shared by the unit tests: how hard hypothesis looks, where files go, and how often garbage is looked for.

Every property is tried on few examples, so that the whole suite stays quick; random seeds make each run look elsewhere,
and a failure prints how to repeat it. No database of failures: after a run as root, others could not write to it.
An example has no deadline: no test is about the speed of the machine.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

MEMORY = Path("/dev/shm")

settings.register_profile(
    "quick",
    settings.get_profile("default"),
    max_examples=25,
    deadline=None,
    derandomize=False,
    database=None,
    print_blob=True,
)
settings.load_profile("quick")


gc.set_threshold(50_000)  # with 700, a sixth of the time went into walking over what pytest itself keeps


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: nobody need look at them again."""
    gc.freeze()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory of the test's own, gone after it. In memory where there is some: databases wait for disks."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="netpy-", dir=place) as made:
        yield Path(made)
