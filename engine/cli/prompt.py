"""The question before something is deleted in bulk. Reads standard input, writes to standard output."""

from __future__ import annotations

import sys


def confirmed(warning: str) -> bool:
    """Show the warning and ask; only y or Y is a yes."""
    print(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() == "y"
