"""What --help prints, and what is said to a command that there is not. Pure; imported only by those who ask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.cli.command import Command, LazyGroup
from engine.cli.flags import Flag


def usage(command: Command, path: str) -> str:
    flags = "[OPTIONS] " if len(command.params) > 1 else ""
    return f"Usage:  {path} {flags}{command.synopsis}".rstrip()


def command_help(command: Command, path: str) -> str:
    return f"{usage(command, path)}\n\n{command.help}\n\nOptions:\n{option_table(command.params)}"


def group_help(group: LazyGroup, path: str) -> str:
    rows = [(name, entry.summary) for name, entry in sorted(group.entries.items()) if not entry.hidden]
    width = max(len(name) for name, _ in rows)
    commands = "\n".join(f"  {name:{width}}   {summary}" for name, summary in rows)
    flags = "[OPTIONS] " if len(group.params) > 1 else ""
    return (
        f"Usage:  {path} {flags}COMMAND\n\n{group.help}\n\nCommands:\n{commands}\n\n"
        f"Options:\n{option_table(group.params)}\n\nRun '{path} COMMAND --help' for more information on a command."
    )


def option_table(options: Sequence[Flag]) -> str:
    """Flags with their help, in two columns, by name."""
    rows = sorted((_spellings(option), option.help) for option in options)
    rows.sort(key=lambda row: row[0].lstrip(" -").partition("--")[2] or row[0].lstrip(" -"))
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"  {left:{width}}   {right}" for left, right in rows)


def _spellings(option: Flag) -> str:
    short = next((name for name in option.opts if not name.startswith("--")), "")
    long = next((name for name in option.opts if name.startswith("--")), "")
    return f"{short + ', ' if short else '    '}{long}{option.kind and ' ' + option.kind}"


def unknown(path: str, name: str, known: Iterable[str]) -> str:
    """Docker's words for a command that there is not, and the one that was probably meant."""
    import difflib

    words = f"{path.partition(' ')[2]} {name}".strip()
    meant = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    guess = f"\nDid you mean this? {meant[0]}" if meant else ""
    return f"netpy: '{words}' is not a netpy command.\nSee '{path} --help'{guess}"
