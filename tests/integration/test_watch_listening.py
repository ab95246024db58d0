"""The watch itself, when what it listens to fails."""

from __future__ import annotations

import threading

import pytest

from netpy.errors import KernelError
from netpy.kernel.watch.watch import Timing, Watch

pytestmark = pytest.mark.root


def test_a_watch_that_could_not_listen_looks_instead_and_listens_on() -> None:
    """Out of memory or of descriptors for a moment: the thread must outlive it, and miss nothing."""
    asked, looked = iter([KernelError("cannot allocate memory")]), threading.Event()

    def disturbed() -> bool:
        for error in asked:
            raise error
        return False

    def mend(links: object = None, inside: object = frozenset(), *, wait: bool = True) -> list[str]:
        assert links is None
        looked.set()
        return []

    watch = Watch("netpy-none", mend, disturbed, Timing(poll=0.01, pause=0.01))
    watch.start()
    try:
        asked = iter([KernelError("again")])
        assert looked.wait(10)
        looked.clear()
        asked = iter([KernelError("and again")])
        assert looked.wait(10)
    finally:
        watch.close()
