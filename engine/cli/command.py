"""What a command of netpy is: its flags, its arguments, its errors, and the way from a command line to its function.

A command is one function that gets a Call and returns an exit code. Groups import the modules of their commands only
when these are used, and what is rare (help, guesses at typing errors, completion) has modules of its own: a command
line that is in order imports nothing that it does not need. The words of the errors are Docker's.
"""

from __future__ import annotations

import sys

from engine.cli.flags import BadValue, Flag, FlagError, Options, Parser, flag, invalid, options_of
from engine.cli.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from engine.client import Client

    Run = Callable[["Call"], int | None]

USAGE = 125
PASSED_ON = "[OPTION...]"  # the synopsis of a command that reads its own options


class CommandError(Exception):
    """A command gives up: what to print on standard error, and the exit code. `hint` adds where to find help."""

    def __init__(self, message: str, code: int = 1, *, hint: str = "") -> None:
        super().__init__(f"{message}\nSee '{hint} --help'." if hint else message)
        self.code = code


@record
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


@record
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


def _help_flag() -> Flag:
    return flag("--help", help="Print usage")


def _parsed(path: str, flags: Sequence[Flag], args: Sequence[str], *, interspersed: bool) -> tuple[Options, list[str]]:
    try:
        values, rest, _ = Parser(flags, interspersed=interspersed).parse_args(args)
    except FlagError as error:
        raise CommandError(str(error), USAGE, hint=path) from error
    return options_of(flags, values), rest


class Command:
    """A function with flags and arguments. Options end at the first argument where that begins a foreign command."""

    def __init__(self, name: str, run: Run, synopsis: str, arity: Arity, options: Sequence[Flag]) -> None:
        self.name = name
        self.help = run.__doc__ or ""
        self.synopsis = synopsis
        self.params = [] if synopsis == PASSED_ON else [*options, _help_flag()]
        self._run = run
        self._arity = arity
        self.interspersed = not synopsis.endswith("[ARG...]") and "[ps OPTIONS]" not in synopsis

    def invoke(self, path: str, args: Sequence[str], host: str = "") -> int:
        """Do what an argv says, called by `path` (`netpy network create`); returns the exit code."""
        if self.synopsis == PASSED_ON:
            options, arguments = Options({}), list(args)
        else:
            options, arguments = _parsed(path, self.params, args, interspersed=self.interspersed)
        if options.flag("help"):
            from engine.cli.help import command_help

            print(command_help(self, path))
            return 0
        asks = options.values.get("help_options")  # like --help it needs no arguments, but it needs a daemon
        if (complaint := self._arity.complaint(len(arguments))) and not asks:
            from engine.cli.help import usage

            see = f"See '{path} --help'."
            raise CommandError(f'"{path}" {complaint}.\n{see}\n\n{usage(self, path)}\n\n{self.help}')
        daemon = _Daemon(host)
        try:
            return self._run(Call(path, tuple(arguments), options, daemon)) or 0
        except BadValue as error:
            raise CommandError(invalid(self.params, error), USAGE, hint=path) from error
        finally:
            daemon.close()


class _Daemon:
    """The daemon that a command line names: sought at the first call."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._client: Client | None = None

    def __call__(self) -> Client:
        if self._client is None:
            from engine.cli.launch import connected

            self._client = connected(self._host)
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def command(
    name: str, synopsis: str = "", *options: Flag, least: int = 0, most: int | None = 0
) -> Callable[[Run], Command]:
    """Makes a function a command. Its docstring is the command's summary; `most` None means any number of arguments."""

    def make(run: Run) -> Command:
        return Command(name, run, synopsis, Arity(least, most), options)

    return make


@record
class Entry:
    """Where a command is found, and what it is for. `hidden` ones are other names of commands."""

    where: str
    summary: str
    hidden: bool = False


@record
class Context:
    """A group on a command line: the words up to it, its own flags, and what follows."""

    path: str
    options: Options
    rest: list[str]


class LazyGroup:
    """A group that knows its commands by name and imports them on use."""

    def __init__(self, name: str, entries: Mapping[str, Entry], summary: str, options: Sequence[Flag] = ()) -> None:
        self.name = name
        self.entries = entries
        self.help = summary
        self.params = [*options, _help_flag()]

    def make_context(self, path: str, args: Sequence[str]) -> Context:
        """Read the group's own flags, which stand before the name of the command. Raises CommandError."""
        options, rest = _parsed(path, self.params, args, interspersed=False)
        return Context(path, options, rest)

    def get_command(self, context: Context, name: str) -> Command | LazyGroup:
        """Import the command (or group) of that name. Raises CommandError if there is none."""
        entry = self.entries.get(name)
        if entry is None:
            from engine.cli.help import unknown

            raise CommandError(unknown(context.path, name, self.entries))
        module, _, attribute = entry.where.partition(":")
        __import__(module)  # as importlib.import_module, whose import takes a millisecond
        found: Command | LazyGroup = getattr(sys.modules[module], attribute)
        return found

    def main(self, args: Sequence[str]) -> int:
        """Do what a command line says, its program's name left out; returns the exit code."""
        group, context = self, self.make_context(self.name, args)
        host = context.options.text("host")
        if context.options.flag("version"):
            from engine.cli.system import version_line

            print(version_line())
            return 0
        while context.rest and not context.options.flag("help"):
            name, *rest = context.rest
            if name == "help" and group is self:  # `help network create` is `network create --help`
                return self.main([*rest, "--help"])
            path = f"{context.path} {name}"
            found = group.get_command(context, name)
            if isinstance(found, Command):
                return found.invoke(path, rest, host)
            group, context = found, found.make_context(path, rest)
        from engine.cli.help import group_help

        print(group_help(group, context.path))
        return 0


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
