"""Shell completion, by click: `_NETPY_COMPLETE=bash_source netpy` prints what to evaluate (zsh_source, fish_source).

It shows click the command tree as click's own kind of commands. They are never run, only looked at.
"""

from __future__ import annotations

import click

from engine.cli.command import Command, Context, LazyGroup
from engine.cli.flags import Flag, Options


def complete(root: LazyGroup) -> None:
    """Answer the shell, as _NETPY_COMPLETE in the environment asks, and exit."""
    _Group(root).main([], prog_name=root.name)


def _option(flag: Flag) -> click.Option:
    if not flag.kind:
        return click.Option(list(flag.opts), is_flag=True, help=flag.help)
    return click.Option(list(flag.opts), multiple=flag.multiple, help=flag.help)


class _Group(click.Group):
    def __init__(self, group: LazyGroup) -> None:
        params = [_option(flag) for flag in group.params]
        super().__init__(group.name, params=params, help=group.help, add_help_option=False)
        self._group = group

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(name for name, entry in self._group.entries.items() if not entry.hidden)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._group.entries:
            return None
        found = self._group.get_command(Context(ctx.command_path, Options({}), []), cmd_name)
        return _command(found) if isinstance(found, Command) else _Group(found)


def _command(found: Command) -> click.Command:
    params = [_option(flag) for flag in found.params]
    arguments = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)
    return click.Command(found.name, params=[*params, arguments], help=found.help, add_help_option=False)
