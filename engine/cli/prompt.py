"""Questions to whoever sits at the terminal: before something is deleted in bulk, and for names and passwords.

Reads standard input, writes to standard output. The yes or no is Docker's, where click would ask until it gets one.
"""

from __future__ import annotations

import sys

from engine.cli import site


def confirmed(warning: str) -> bool:
    """Show the warning and ask; only y or Y is a yes."""
    print(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() == "y"


def prompted(question: str, *, hidden: bool = False) -> str:
    """The answer to `question`, perhaps empty; `hidden` shows nothing of it. KeyboardInterrupt when there is none."""
    try:
        import click  # 30 ms, and only somebody who types waits for them
    except ImportError:
        site.require()  # nothing has been asked yet: click comes first
        raise

    try:
        return click.prompt(question, default="", show_default=False, hide_input=hidden)
    except click.Abort:
        raise KeyboardInterrupt from None
