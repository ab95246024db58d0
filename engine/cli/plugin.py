"""`plugin serve`: hands its command line on as it is, like `daemon`."""

from __future__ import annotations

import sys

from engine.cli import site
from engine.cli.command import PASSED_ON, Call, command


@command("serve", PASSED_ON, most=None)
def serve(call: Call) -> int | None:
    """Offer netpy's drivers to a Docker daemon on this machine, as a plugin"""
    site.require()
    from engine.plugin_service import main

    sys.exit(main(call.arguments))  # it has threads and files to take down in order: no short cut out
