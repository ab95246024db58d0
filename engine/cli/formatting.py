"""How lists answer --format and -q: a default table, `table TEMPLATE`, `json`, or a template per row.

Pure: rows of fields in, text out. Templates cost 18 ms to import: only those who ask for one wait for it. The
messages of bad templates are Docker's.
"""

from __future__ import annotations

from engine.cli.command import CommandError
from engine.cli.records import record
from engine.cli.rows import header
from engine.cli.tables import aligned, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from engine.cli.templates.evaluation import Template
    from engine.cli.templates.values import Struct


@record
class Listing:
    """A kind of list: its columns, and what Go calls the context of its rows."""

    kind: str
    columns: Sequence[str]
    type_name: str
    labels: bool = False


@record
class Item:
    """One row: the texts by field, and the labels that `{{.Label "x"}}` asks for."""

    fields: Mapping[str, str]
    labels: Mapping[str, str]


def unescaped(form: str) -> str:
    """Docker lets a format say \\t and \\n."""
    return form.replace("\\t", "\t").replace("\\n", "\n")


def listed(listing: Listing, items: Sequence[Item], form: str, *, quiet: bool = False) -> str:
    """All the text of a list. Raises CommandError for a template that cannot be parsed or executed."""
    if quiet and (not form or form == "table"):
        return "".join(f"{item.fields['ID']}\n" for item in items)
    if form == "json":
        from engine.cli.templates.values import Struct, encoded

        return "".join(f"{encoded(Struct(item.fields))}\n" for item in items)
    if form in ("", "table"):
        titles = [header(column, listing.kind) for column in listing.columns]
        return table([titles, *([item.fields[column] for column in listing.columns] for item in items)])
    tabled = form.startswith("table")
    template = parsed(unescaped(form.removeprefix("table").strip() if tabled else form))
    lines = [_rendered(template, _row(listing, item.fields, _labeller(item.labels))) for item in items]
    if not tabled:
        return "".join(f"{line}\n" for line in lines)
    titles = {field: header(field, listing.kind) for field in (items[0].fields if items else _Headers(listing))}
    if not items:
        titles |= {column: header(column, listing.kind) for column in listing.columns}
    head = _rendered(template, _row(listing, titles, lambda name: name))
    return aligned("\n".join([head, *lines])) + "\n"


class _Headers(list[str]):
    """The fields of a list without rows: any field a list of this kind may have."""

    def __init__(self, listing: Listing) -> None:
        super().__init__([*listing.columns, *_EXTRA_FIELDS])


# fmt: off
_EXTRA_FIELDS = (
    "ID", "Name", "Names", "Image", "Command", "CreatedAt", "CreatedSince", "CreatedBy", "RunningFor", "Status",
    "State", "Ports", "Size", "Labels", "Mounts", "Networks", "LocalVolumes", "Driver", "Scope", "IPv4", "IPv6",
    "Internal", "Repository", "Tag", "Digest", "Comment", "Containers", "SharedSize", "UniqueSize", "VirtualSize",
)
# fmt: on


def _labeller(labels: Mapping[str, str]) -> Callable[[str], str]:
    return lambda name: labels.get(name, "")


def _row(listing: Listing, fields: Mapping[str, str], label: Callable[[str], str]) -> Struct:
    from engine.cli.templates.values import Struct

    row = Struct(fields)
    row.type_name = listing.type_name
    if listing.labels:
        row["Label"] = label
    return row


def parsed(form: str) -> Template:
    from engine.cli.templates.evaluation import Template, TemplateError

    try:
        return Template(form)
    except TemplateError as error:
        raise CommandError(f"failed to parse template: {error}") from error


def _rendered(template: Template, row: Any) -> str:
    from engine.cli.templates.evaluation import TemplateError

    try:
        return template.render(row)
    except TemplateError as error:
        raise CommandError(f"failed to execute template: {error}") from error
