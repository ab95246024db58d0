"""Threads, where there may be no room for one more (a limit of processes, memory).

Python says so with RuntimeError, which nobody expects: here it is either an error of ours, or no error at all, because
the work is done at once by whoever asked for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from netpy.errors import KernelError

logger = logging.getLogger(__name__)


def started(work: Callable[[], object], name: str) -> threading.Thread:
    """A thread that does it, running. KernelError when there can be none."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise KernelError(f"no thread can be started for {name}: out of processes or memory") from error
    return thread


def aside(work: Callable[[], object], name: str) -> None:
    """Have it done in a thread of its own; where there can be none, before this returns."""
    try:
        started(work, name)
    except KernelError as error:
        logger.warning("%s", error)
        work()
