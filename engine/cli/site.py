"""How Python was started, and starting it anew. Replaces the process.

`scripts/netpy` starts Python without `site`: that is quicker, and enough to talk to a daemon. What needs other people's
packages (plugins by their entry points, editable installs, packages of the system behind a virtual environment) asks
for all that `site` sets up.
"""

from __future__ import annotations

import posix
import sys


def require() -> None:
    """Return if `site` has run; else run this command line again, from its beginning, in a Python that runs it.

    To be called before anything is done: what was read or written would be read or written twice.
    """
    if sys.flags.no_site:
        sys.stdout.flush()
        posix.execv(sys.executable, [sys.executable, *sys.argv])
