"""How many files a process of ours may have open: as many as the host allows.

A shell allows 1024 and lets anybody have more who asks (the soft limit and the hard one); the number is that small for
the sake of programs that wait with select(2). Each published port is a descriptor, each sandbox two of the name
server's. Programs that are started inherit the limit: who starts somebody else's gives them what was there before.
"""

from __future__ import annotations

import contextlib
import resource

NAME = "RLIMIT_NOFILE"


def allow_all() -> tuple[int, int]:
    """Raise the soft limit to the hard one. Returns both as they were."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


def allowed() -> int:
    """How many there may be now."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
