"""A plugin on a socket of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_plugin_server import Plugin


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Plugin]:
    made = Plugin(tmp_path / "plug.sock", tmp_path / "control", tmp_path / "log", source="src0").start()
    yield made
    made.stop()
