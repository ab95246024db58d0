"""What a command of netpy is: its flags, its arguments, its help and its errors, in the manner of Docker's.

It ties click (contexts, dispatch, completion) to the parser of `flags` and to one function per command, which gets a
Call and returns an exit code. Groups import the modules of their commands only when these are used. It writes help
to standard output; everything else is left to the commands.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from engine.cli.flags import BadValue, FlagError, Options, Parser, invalid
from engine.cli.flags import flag as boolean
from engine.client import Client

USAGE = 125


class CommandError(Exception):
    """A command gives up: what to print on standard error, and the exit code. `hint` adds where to find help."""

    def __init__(self, message: str, code: int = 1, *, hint: str = "") -> None:
        super().__init__(f"{message}\nSee '{hint} --help'." if hint else message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a command: what it was called, its arguments and flags, and the daemon it speaks to."""

    path: str
    arguments: tuple[str, ...]
    options: Options
    connect: Callable[[], Client]

    @property
    def client(self) -> Client:
        """The daemon; started first if it does not run and that is ours to do."""
        return self.connect()


Run = Callable[[Call], int | None]


@dataclass(frozen=True, slots=True)
class Arity:
    """How many arguments a command takes; `most` None for any number."""

    least: int = 0
    most: int | None = None

    def complaint(self, count: int) -> str:
        """What is wrong with so many arguments, in Docker's words; empty if nothing is."""
        if count < self.least or (self.most is not None and count > self.most):
            return self._wants()
        return ""

    def _wants(self) -> str:
        plural = "s" if (self.most or self.least) > 1 else ""
        match self.least, self.most:
            case 0, 0:
                return "accepts no arguments"
            case least, None:
                return f"requires at least {least} argument{plural}"
            case least, most if least == most:
                return f"requires exactly {least} argument{plural}"
            case 0, most:
                return f"requires at most {most} argument{plural}"
            case least, most:
                return f"requires at least {least} and at most {most} arguments"


class Command(click.Command):
    """A click command, its argv read as Docker does: options end at the first argument if not `interspersed`."""

    def __init__(self, name: str, run: Run, synopsis: str, arity: Arity, options: Sequence[click.Option]) -> None:
        arguments = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)
        super().__init__(name, params=[*options, arguments], help=run.__doc__, add_help_option=False)
        self.params.append(boolean("--help", help="Print usage"))
        self._run = run
        self.synopsis = synopsis
        self.arity = arity
        self.interspersed = not synopsis.endswith("[ARG...]") and "[ps OPTIONS]" not in synopsis

    def make_parser(self, ctx: click.Context) -> Any:
        return Parser(self.params, interspersed=self.interspersed)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except FlagError as error:
            raise CommandError(str(error), USAGE, hint=ctx.command_path) from error

    def invoke(self, ctx: click.Context) -> Any:
        values = dict(ctx.params)
        if values.pop("help"):
            print(self.get_help(ctx))
            return 0
        arguments: tuple[str, ...] = tuple(values.pop("arguments"))
        if complaint := self.arity.complaint(len(arguments)):
            see = f"See '{ctx.command_path} --help'."
            raise CommandError(f'"{ctx.command_path}" {complaint}.\n{see}\n\n{self._usage(ctx)}\n\n{self.help}')
        given = frozenset(
            name for name in values if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        )
        try:
            return self._run(Call(ctx.command_path, arguments, Options(values, given), _connection(ctx)))
        except BadValue as error:
            raise CommandError(invalid(self.params, error), USAGE, hint=ctx.command_path) from error

    def _usage(self, ctx: click.Context) -> str:
        flags = "[OPTIONS] " if len(self.params) > 2 else ""
        return f"Usage:  {ctx.command_path} {flags}{self.synopsis}".rstrip()

    def get_help(self, ctx: click.Context) -> str:
        options = [option for option in self.params if isinstance(option, click.Option)]
        return f"{self._usage(ctx)}\n\n{self.help}\n\nOptions:\n{option_table(options)}"


def _connection(ctx: click.Context) -> Callable[[], Client]:
    host = str(ctx.find_root().params.get("host") or "")

    @functools.cache
    def connect() -> Client:
        from engine.cli.launch import connected

        client = connected(host)
        ctx.call_on_close(client.close)
        return client

    return connect


def option_table(options: Sequence[click.Option]) -> str:
    """Options with their help, in two columns, by name."""
    rows = sorted((_spellings(option), option.help or "") for option in options if not option.hidden)
    rows.sort(key=lambda row: row[0].lstrip(" -").partition("--")[2] or row[0].lstrip(" -"))
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"  {left:{width}}   {right}" for left, right in rows)


def _spellings(option: click.Option) -> str:
    short = next((name for name in option.opts if not name.startswith("--")), "")
    long = next((name for name in option.opts if name.startswith("--")), "")
    kind = "" if option.is_flag else f" {option.metavar}"
    return f"{short + ', ' if short else '    '}{long}{kind}"


def command(
    name: str, synopsis: str = "", *options: click.Option, least: int = 0, most: int | None = 0
) -> Callable[[Run], Command]:
    """Makes a function a command. Its docstring is the command's summary; `most` None means any number of arguments."""

    def make(run: Run) -> Command:
        return Command(name, run, synopsis, Arity(least, most), options)

    return make


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is found, and what it is for. `hidden` ones are other names of commands."""

    where: str
    summary: str
    hidden: bool = False


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports them on use."""

    def __init__(
        self, name: str, entries: Mapping[str, Entry], summary: str, options: Sequence[click.Option] = ()
    ) -> None:
        super().__init__(
            name, params=[*options, boolean("--help", help="Print usage")], help=summary, add_help_option=False
        )
        self.entries = entries
        self.invoke_without_command = True
        self.no_args_is_help = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(name for name, entry in self.entries.items() if not entry.hidden)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.where.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def make_parser(self, ctx: click.Context) -> Any:
        return Parser(self.params, interspersed=False)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except FlagError as error:
            raise CommandError(str(error), USAGE, hint=ctx.command_path) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = self.get_command(ctx, args[0])
        if found is None:
            words = f"{ctx.command_path.partition(' ')[2]} {args[0]}".strip()
            raise CommandError(f"netpy: '{words}' is not a netpy command.\nSee '{ctx.command_path} --help'")
        return args[0], found, args[1:]

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.params.get("version") and ctx.parent is None:
            from engine.cli.system import version_line

            print(version_line())
            return 0
        if ctx.params.get("help") or not ctx._protected_args:  # pyright: ignore[reportPrivateUsage]
            print(self.get_help(ctx))
            return 0
        return super().invoke(ctx)

    def get_help(self, ctx: click.Context) -> str:
        rows = [(name, self.entries[name].summary) for name in self.list_commands(ctx)]
        width = max(len(name) for name, _ in rows)
        commands = "\n".join(f"  {name:{width}}   {summary}" for name, summary in rows)
        options = [option for option in self.params if isinstance(option, click.Option)]
        usage = f"Usage:  {ctx.command_path} {'[OPTIONS] ' if len(options) > 1 else ''}COMMAND"
        return (
            f"{usage}\n\n{self.help}\n\nCommands:\n{commands}\n\nOptions:\n{option_table(options)}\n\n"
            f"Run '{ctx.command_path} COMMAND --help' for more information on a command."
        )


def each(call: Call, action: Callable[[str], str | None]) -> int:
    """Do something to every argument and go on after failures: prints what the action returns, and the errors.

    Returns the exit code: 1 if any failed.
    """
    import sys

    from engine.client import ApiError

    code = 0
    for name in call.arguments:
        try:
            answer = action(name)
        except ApiError as error:
            print(f"Error response from daemon: {error}", file=sys.stderr)
            code = 1
            continue
        if answer is not None:
            print(answer, flush=True)
    return code


__all__ = ["USAGE", "Arity", "Call", "Command", "CommandError", "Entry", "LazyGroup", "command", "each"]
