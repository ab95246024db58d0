"""`daemon`: hands its command line to the engine as it is. Its flags are declared with the settings that they set."""

from __future__ import annotations

import sys

from engine.cli import site
from engine.cli.command import PASSED_ON, Call, command


@command("daemon", PASSED_ON, most=None)
def daemon(call: Call) -> int | None:
    """Run the daemon that owns networks and containers"""
    site.require()
    from engine.daemon import main

    sys.exit(main(call.arguments))  # the daemon has threads and files to take down in order: no short cut out
