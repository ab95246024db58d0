"""The manual, made from the command tree: one page per command, in the man(7) macros that every man program reads.

`netpy manpages DIR` writes netpy.1, netpy-run.1, netpy-network-create.1 and so on. `pages` decides what is in them and
does no I/O; `manpages` writes the files. The date is that of SOURCE_DATE_EPOCH, where a packager sets it, or today's.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from engine.cli.command import PASSED_ON, Call, Command, Context, LazyGroup, command
from engine.cli.examples import examples
from engine.cli.flags import Flag, Options
from engine.cli.system import own_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NOTHING = "\\&"
_ENVIRONMENT = (
    ("NETPY_HOST", "Where the daemon is, such as unix:///run/netpy/netpy.sock; -H goes before it."),
    ("NO_COLOR", "If set, help is printed without colours."),
)


@command("manpages", "DIR", least=1, most=1)
def manpages(call: Call) -> int | None:
    """Write the manual pages into a directory"""
    from engine.cli.registry import ROOT

    directory = Path(call.arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    moment = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    for name, text in pages(ROOT, own_version(), time.strftime("%Y-%m-%d", time.gmtime(moment))):
        (directory / f"{name}.1").write_text(text)


def pages(root: LazyGroup, version: str, date: str) -> Iterator[tuple[str, str]]:
    """(name, roff) of every page."""
    for path, found in _walk(root, root.name):
        body = _group_body(found, path) if isinstance(found, LazyGroup) else _command_body(found, path)
        name = path.replace(" ", "-")
        head = f'.TH "{name.upper()}" 1 "{date}" "netpy {version}" "netpy manual"\n.nh\n.ad l\n'
        yield name, f"{head}.SH NAME\n{_plain(name)} \\- {_plain(found.help)}\n{body}"


def _walk(found: LazyGroup | Command, path: str) -> Iterator[tuple[str, LazyGroup | Command]]:
    yield path, found
    if isinstance(found, LazyGroup):
        for name, entry in sorted(found.entries.items()):
            if not entry.hidden:
                yield from _walk(found.get_command(Context(path, Options({}), []), name), f"{path} {name}")


def _group_body(group: LazyGroup, path: str) -> str:
    rows = [(name, entry.summary) for name, entry in sorted(group.entries.items()) if not entry.hidden]
    commands = "".join(f".TP\n{_page(f'{path} {name}')}\n{_plain(summary)}\n" for name, summary in rows)
    environment = "".join(f".TP\n.B {name}\n{_plain(text)}\n" for name, text in _ENVIRONMENT)
    return (
        f".SH SYNOPSIS\n.B {_plain(path)}\n[OPTIONS] COMMAND [ARG...]\n{_options(group.params)}.SH COMMANDS\n{commands}"
        f"{_examples(path)}" + (f".SH ENVIRONMENT\n{environment}" if " " not in path else _see_also(path))
    )


def _command_body(found: Command, path: str) -> str:
    flags = "[OPTIONS] " if len(found.params) > 1 else ""
    options = "" if found.synopsis == PASSED_ON else _options(found.params)
    forms = [_plain(form.strip()) for form in (flags + found.synopsis).splitlines()]
    synopsis = f".B {_plain(path)}\n{_forms(forms) or _NOTHING}\n"
    return f".SH SYNOPSIS\n{synopsis}{options}{_examples(path)}{_see_also(path)}"


def _forms(forms: Sequence[str]) -> str:
    return "\n.br\n".join(forms)


def _options(flags: Sequence[Flag]) -> str:
    rows = sorted(flags, key=lambda flag: flag.name)
    return ".SH OPTIONS\n" + "".join(f".TP\n{_spelled(flag)}\n{_plain(flag.help)}\n" for flag in rows)


def _spelled(flag: Flag) -> str:
    names = ", ".join(f"\\fB{_plain(name)}\\fR" for name in sorted(flag.opts, key=len))
    return f"{names} \\fI{_plain(flag.kind)}\\fR" if flag.kind else names


def _examples(path: str) -> str:
    found = examples(path.partition(" ")[2])
    lines = "".join(f".PP\n{_plain(what)}:\n.PP\n.RS 4\n.nf\n{_plain(line)}\n.fi\n.RE\n" for what, line in found)
    return f".SH EXAMPLES\n{lines}".replace(".SH EXAMPLES\n.PP\n", ".SH EXAMPLES\n") if lines else ""


def _see_also(path: str) -> str:
    return f".SH SEE ALSO\n{_page(path.rpartition(' ')[0])}\n"


def _page(path: str) -> str:
    return f"\\fB{_plain(path.replace(' ', '-'))}\\fR(1)"


def _plain(text: str) -> str:
    """Text that roff prints as it is: dashes stay dashes, and no line begins with a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    escaped = escaped.replace("`", "\\(ga").replace("…", "...").replace("'", "\\(aq").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped[:1] in ".'" else escaped
