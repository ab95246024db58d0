"""`daemon`: hands its command line to the engine as it is. Its flags are declared with the settings that they set."""

from __future__ import annotations

import click


@click.command(
    "daemon",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def daemon(arguments: tuple[str, ...]) -> int:
    """Run the daemon that owns networks and containers"""
    from engine.daemon import main

    return main(arguments)
