"""The rows as text: a table for the terminal, and the part of docs/benchmarks.md that is written by the run. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scripts.benches.rows import OURS, Row, from_json

BEGIN, END = "<!-- figures: written by scripts/bench --write -->", "<!-- end of figures -->"
MARKS = {"met": "met", "missed": "**missed**", "open": "not comparable", "no goal": ""}


def figure(value: float | None) -> str:
    """A figure with about three digits."""
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def names(rows: Iterable[Row]) -> list[str]:
    """The contenders of some rows: ours first, the others as they come."""
    found = dict.fromkeys(name for row in rows for name in (*row.values, *row.failed))
    return sorted(found, key=lambda name: name != OURS)


def cell(row: Row, name: str) -> str:
    """A median; behind another's, in brackets, ours as a multiple of it."""
    ratio = row.ratio(name) if name != OURS else None
    if row.median(name) is None:
        return "failed" if name in row.failed else "–"
    return figure(row.median(name)) + (f" ({ratio:.2f})" if ratio is not None else "")


def cells(row: Row, columns: Sequence[str]) -> list[str]:
    unit = f", {row.unit}" if row.unit else ""
    return [f"{row.name}{unit}", row.goal_text(), *(cell(row, name) for name in columns), MARKS[row.verdict()]]


def remarks(rows: Sequence[Row]) -> list[str]:
    """What a reader should know: notes, and why somebody has no figure; what all rows say is said once."""
    found: list[str] = []
    for row in rows:
        why = [f"{name}: {reason}" for name, reason in row.failed.items()]
        for remark in (*row.notes, *why):
            everywhere = len(rows) > 1 and all(remark in other.notes for other in rows)
            found.append(remark if everywhere else f"{row.name}: {remark}")
    return list(dict.fromkeys(found))


def terminal(rows: Iterable[Row]) -> str:
    """One group's rows, aligned."""
    shown = [row for row in rows if not row.at]
    columns = names(shown)
    lines = [["", "goal", *columns, ""], *(cells(row, columns) for row in shown)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    text = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, *(f"    {remark}" for remark in remarks(shown))]).replace("**", "")


def markdown(document: Mapping[str, Any], charts: Mapping[str, Sequence[str]]) -> str:
    """A run as the page shows it: the machine, then a table and the charts of each group."""
    rows = from_json(document["rows"])
    machine, parts = document["machine"], [f"Machine: {document['machine']['text']}."]
    engines = (f"{name} {facts['version']} ({facts['runtime']})" for name, facts in document["contenders"].items())
    parts.append(f"Engines, with their runtimes: {', '.join(engines)}. Date: {machine['date']}.")
    for group in dict.fromkeys(row.group for row in rows):
        mine = [row for row in rows if row.group == group]
        facts = document["groups"].get(group, {})
        parts.append(f"### {group}")
        if shown := [row for row in mine if not row.at]:
            columns = names(shown)
            lines = [["row", "goal", *columns, "verdict"], ["---", "---", *("--:" for _ in columns), "---"]]
            lines += [cells(row, columns) for row in shown]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        if listed := [f"* {remark}" for remark in remarks([row for row in mine if not row.at])]:
            parts.append("\n".join(listed))
        if facts:
            before, after = facts["load"]
            quick = " of a quick run" if facts.get("quick") else ""
            parts.append(f"{facts['rounds']} rounds{quick}, load {before:.1f} before and {after:.1f} after.")
        parts += [f"![{group}](charts/{name})" for name in charts.get(group, ())]
    return "\n\n".join(parts)


def insert(page: str, text: str) -> str:
    """The page with the text between its markers."""
    head, begin, rest = page.partition(BEGIN)
    _old, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the markers {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}"


def merged(old: Mapping[str, Any], new: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """A run laid over an older one: groups that were not run keep the rows that they had."""
    run = {row["group"] for row in new["rows"]}
    rows = [*(row for row in old.get("rows", ()) if row["group"] not in run), *new["rows"]]
    rows.sort(key=lambda row: order.index(row["group"]) if row["group"] in order else len(order))
    return {
        "machine": new["machine"],
        "contenders": {**old.get("contenders", {}), **new["contenders"]},
        "groups": {**old.get("groups", {}), **new["groups"]},
        "rows": rows,
    }
