"""Decides what completes a command line: a group's commands, a command's flags, values, or names of a kind of thing.

It reads the same tree of commands and flags that is obeyed, so that a new command completes at once: what an argument
is, is read from the synopsis (`CONTAINER [CONTAINER...]`), what a value is, from the flag's name. Does no I/O.
"""

from __future__ import annotations

from engine.cli.command import PASSED_ON, Command, CommandError, Context, LazyGroup
from engine.cli.completion.values import FILTERS, SETS, SOURCES
from engine.cli.flags import Flag, Options, choices
from engine.cli.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ARGUMENTS = {
    "CONTAINER": "container",
    "CONTAINER:SRC_PATH": "container:",
    "SRC_PATH|-": "files",
    "DEST_PATH|-": "files",
    "IMAGE": "image",
    "SOURCE_IMAGE": "image",
    "TARGET_IMAGE": "image",
    "NAME": "image",
    "REPOSITORY": "image",
    "NETWORK": "network",
    "VOLUME": "volume",
    "PATH|URL|-": "files",
    "file|URL|-": "files",
    "DIR": "files",
}
BY_COMMAND = {
    "start": "stopped",
    "stop": "running",
    "kill": "running",
    "exec": "running",
    "attach": "running",
    "top": "running",
    "stats": "running",
    "pause": "running",
    "port": "running",
    "unpause": "paused",
}


@record
class Wanted:
    """What is sought: the words that are known (each with its description), and where others come from.

    `sources` are kinds of things that the daemon names (`container`, `network`, …) or `files`. `prefix` stands before
    every candidate on the word that is typed (`--network=`).
    """

    words: tuple[tuple[str, str], ...] = ()
    sources: tuple[str, ...] = ()
    prefix: str = ""


def wanted(root: LazyGroup, words: Sequence[str]) -> Wanted:
    """What completes the last of `words`, which are those after the program's name."""
    *before, current = words or ("",)
    group: LazyGroup = root
    rest = list(before)
    while True:
        rest, flag = _past_flags(group.params, rest, interspersed=False)
        if flag is not None:
            return _value(flag, "", group.name)
        if not rest:
            return _flags(group.params, current, group.name) if current[:1] == "-" else _commands(group)
        name, *rest = rest
        if name == "help" and group is root:
            continue
        try:
            found = group.get_command(Context(group.name, Options({}), []), name)
        except CommandError:
            return Wanted()
        if isinstance(found, Command):
            return _in_command(found, group.name, rest, current)
        group = found


def _commands(group: LazyGroup) -> Wanted:
    return Wanted(tuple((name, entry.summary) for name, entry in sorted(group.entries.items()) if not entry.hidden))


def _in_command(command: Command, group: str, before: list[str], current: str) -> Wanted:
    if command.synopsis == PASSED_ON:
        return Wanted(sources=("files",))
    rest, flag = _past_flags(command.params, before, interspersed=command.interspersed)
    if flag is not None:
        return _value(flag, "", group)
    foreign = "--" in before or (bool(rest) and not command.interspersed)
    if current[:1] == "-" and not foreign:
        return _flags(command.params, current, group)
    return Wanted(sources=_argument(command, len(rest)))


def _past_flags(flags: Sequence[Flag], words: list[str], *, interspersed: bool) -> tuple[list[str], Flag | None]:
    """The words that are no flags and no flags' values, and the flag that still waits for its value."""
    known = choices(flags)
    arguments: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*arguments, *rest], None
        if word[:1] != "-" or word == "-":
            arguments.append(word)
            if not interspersed:
                return [*arguments, *rest], None
        elif (flag := _waiting(known, word)) is not None:
            if not rest:
                return arguments, flag
            rest.pop(0)
    return arguments, None


def _waiting(known: dict[str, Flag], word: str) -> Flag | None:
    """The flag in this word whose value is the next word; None if there is none."""
    if "=" in word:
        return None
    if word.startswith("--"):
        flag = known.get(word)
        return flag if flag and flag.kind else None
    for position, letter in enumerate(word[1:], 2):
        flag = known.get(f"-{letter}")
        if flag and flag.kind:
            return flag if position == len(word) else None
    return None


def _flags(flags: Sequence[Flag], current: str, group: str) -> Wanted:
    name, equals, _ = current.partition("=")
    if equals:
        flag = choices(flags).get(name)
        return _value(flag, f"{name}=", group) if flag else Wanted()
    long = [(word, flag.help) for flag in flags for word in flag.opts if word.startswith("--")]
    short = [(word, flag.help) for flag in flags for word in flag.opts if not word.startswith("--")]
    return Wanted(tuple(sorted(long if current.startswith("--") else [*short, *long])))


def _value(flag: Flag, prefix: str, group: str) -> Wanted:
    if not flag.kind:
        return Wanted((("true", ""), ("false", "")), (), prefix)
    if flag.name == "filter":
        return Wanted(tuple((f"{key}=", "") for key in FILTERS.get(group, FILTERS["container"])), (), prefix)
    words = tuple((word, "") for word in SETS.get(flag.name, ()))
    return Wanted(words, SOURCES.get(flag.name, ()), prefix)


def _argument(command: Command, position: int) -> tuple[str, ...]:
    """Where the argument of that number comes from, by the command's synopsis. The last one may be repeated."""
    kinds = list(_kinds(command.synopsis))
    if position < len(kinds):
        found = kinds[position]
    elif kinds and "..." in command.synopsis:
        found = kinds[-1]
    else:
        return ()
    if found == "container":
        found = BY_COMMAND.get(command.name, found)
    return tuple(found.split()) if found else ()


def _kinds(synopsis: str) -> Iterator[str]:
    """What each word of a synopsis stands for; empty where nothing can be known."""
    if "|-" in synopsis and "CONTAINER:" in synopsis:  # cp, either way round
        yield from ("container: files", "container: files")
        return
    if synopsis in ("NAME|ID [NAME|ID...]", "OBJECT [OBJECT...]"):
        yield "container image network volume"
        return
    for word in synopsis.split():
        plain = word.strip("[].")
        if word.startswith("[ARG") or plain.endswith("OPTIONS"):
            yield "files"
            return
        if plain in ("COMMAND",):
            yield ""
        elif not word.endswith("...]"):
            yield ARGUMENTS.get(plain.partition("[")[0], "")
