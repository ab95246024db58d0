"""What --help prints, and what is said to a command that there is not. Pure but for a look at the terminal's size.

Imported only by those who ask. Colours mark headings, names and values where somebody looks (`paint`), and long
descriptions are wrapped under their column; to a pipe goes plain text, one line per flag, which scripts may cut up.
"""

from __future__ import annotations

import textwrap

from engine.cli import paint
from engine.cli.command import Command, LazyGroup
from engine.cli.examples import examples

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.cli.flags import Flag

_COMMON = ["run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info"]
_NARROWEST = 40  # a description gets at least so many columns, or a line of its own


def usage(command: Command, path: str) -> str:
    flags = "[OPTIONS] " if len(command.params) > 1 else ""
    return f"Usage:  {path} {flags}{command.synopsis}".rstrip()


def command_help(command: Command, path: str) -> str:
    head = usage(command, path).removeprefix("Usage:  ")
    parts = [f"{_heading('Usage:')}  {head}", command.help]
    if len(also := _other_names(path)) > 1:
        parts.append(f"{_heading('Aliases:')}\n  {', '.join(also)}")
    parts += _examples(path)
    parts.append(f"{_heading('Options:')}\n{option_table(command.params)}")
    return "\n\n".join(parts)


def group_help(group: LazyGroup, path: str) -> str:
    flags = "[OPTIONS] " if len(group.params) > 1 else ""
    parts = [f"{_heading('Usage:')}  {path} {flags}COMMAND", group.help]
    width = max(len(name) for name, entry in group.entries.items() if not entry.hidden)
    for title, names in _sections(group).items():
        rows = [(name, group.entries[name].summary) for name in names]
        parts.append(f"{_heading(title + ':')}\n{_table(rows, width)}")
    parts += _examples(path)
    parts.append(f"{_heading('Options:')}\n{option_table(group.params)}")
    return "\n\n".join([*parts, f"Run '{path} COMMAND --help' for more information on a command."])


def _sections(group: LazyGroup) -> dict[str, list[str]]:
    """The commands under headings; a group below the root has but one."""
    names = sorted(name for name, entry in group.entries.items() if not entry.hidden)
    managing = [name for name in names if group.entries[name].where.rpartition(":")[2].isupper()]
    if not managing:
        return {"Commands": names}
    common = [name for name in _COMMON if name in names]
    rest = [name for name in names if name not in managing and name not in common]
    return {"Common Commands": common, "Management Commands": managing, "Commands": rest}


def _examples(path: str) -> list[str]:
    """One part with the examples of a command, if it has any."""
    found = examples(path.partition(" ")[2])
    faint, name = _painter("faint"), _painter("name")
    lines = [f"  {faint('# ' + what)}\n  {name(line)}" for what, line in found]
    return [f"{_heading('Examples:')}\n" + "\n".join(lines)] if lines else []


def _other_names(path: str) -> list[str]:
    """The other ways to call a command: `netpy container run` for `netpy run`."""
    from engine.cli.registry import ROOT

    program = path.partition(" ")[0]
    groups = [(program, ROOT), *((f"{program} {name}", each) for name, each in _groups(ROOT))]
    entries = {f"{at} {name}": entry.where for at, group in groups for name, entry in group.entries.items()}
    return [name for name, where in entries.items() if where == entries.get(path)]


def _groups(root: LazyGroup) -> Iterable[tuple[str, LazyGroup]]:
    from engine.cli.command import Context
    from engine.cli.flags import Options

    for name in _sections(root)["Management Commands"]:
        found = root.get_command(Context(root.name, Options({}), []), name)
        if isinstance(found, LazyGroup):
            yield name, found


def _painter(style: str) -> paint.Paint:
    return paint.painter(style, on=paint.wanted())


def _heading(text: str) -> str:
    return _painter("heading")(text)


def option_table(options: Sequence[Flag]) -> str:
    """Flags with their help, in two columns, by name."""
    rows = [(_spellings(option), option.help) for option in options]
    rows.sort(key=lambda row: row[0].lstrip(" -").partition("--")[2] or row[0].lstrip(" -"))
    return _table(rows, max(len(row[0]) for row in rows))


def _table(rows: Sequence[tuple[str, str]], width: int) -> str:
    name, value, limit = _painter("name"), _painter("value"), paint.width()
    lines: list[str] = []
    for left, right in rows:
        words, kind = _split_kind(left)
        shown = f"  {name(words)}{value(kind)}{' ' * (width - len(left))}   "
        room = max(limit - width - 5, _NARROWEST) if limit else 0
        pieces = textwrap.wrap(right, room) if room else [right]
        lines += [shown + (pieces[0] if pieces else ""), *(" " * (width + 5) + piece for piece in pieces[1:])]
    return "\n".join(line.rstrip() for line in lines)


def _split_kind(left: str) -> tuple[str, str]:
    """`-p, --publish` and ` list`."""
    at = left.find(" ", left.find("--")) if "--" in left else -1
    return (left, "") if at < 0 else (left[:at], left[at:])


def _spellings(option: Flag) -> str:
    short = next((name for name in option.opts if not name.startswith("--")), "")
    long = next((name for name in option.opts if name.startswith("--")), "")
    return f"{short + ', ' if short else '    '}{long}{option.kind and ' ' + option.kind}"


def unknown(path: str, name: str, known: Iterable[str]) -> str:
    """Docker's words for a command that there is not, and the one that was probably meant."""
    import difflib

    words = f"{path.partition(' ')[2]} {name}".strip()
    visible = [each for each in known if not each.startswith("_")]
    meant = difflib.get_close_matches(name, visible, n=1, cutoff=0.7)
    guess = f"\nDid you mean this? {meant[0]}" if meant else ""
    return f"netpy: '{words}' is not a netpy command.\nSee '{path} --help'{guess}"
