"""Shared by all tests: who may run, and which namespaces a root test plays in."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator

import pytest


def pytest_configure() -> None:
    """A shell starts what it puts in the background with SIGINT ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need root are skipped without it, by name, so that nobody takes them for passed."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture
def namespace() -> Iterator[str]:
    """The path of a fresh network namespace, gone after the test."""
    from netpy.kernel import netns

    path = f"/run/netpy-test/{secrets.token_hex(6)}"
    netns.create(path)
    yield path
    netns.delete(path)
