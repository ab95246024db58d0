"""Shared by the unit tests: how hard hypothesis looks, and where files go.

Every property is tried on few examples, so that the whole suite stays quick; random seeds make each run look elsewhere,
and what once failed is tried again first. An example has no deadline: no test is about the speed of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

MEMORY = Path("/dev/shm")

settings.register_profile(
    "quick", settings.get_profile("default"), max_examples=25, deadline=None, derandomize=False, print_blob=True
)
settings.load_profile("quick")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory of the test's own, gone after it. In memory where there is some: databases wait for disks."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="netpy-", dir=place) as made:
        yield Path(made)
