"""Columns as Docker aligns them: Go's tabwriter with cells of at least ten characters and three spaces between.

Only cells that a tab ends are padded, and a column is as wide as its widest cell among the lines that follow each other
and have it. Pure, and free of imports: it is on the fast path.
"""

from __future__ import annotations

PADDING = 3
MINIMUM = 10


def aligned(text: str, *, minimum: int = MINIMUM, padding: int = PADDING) -> str:
    """The text with its tabs turned into columns; `minimum` is the least width of a column, padding included."""
    lines = [line.split("\t") for line in text.split("\n")]
    widths: list[list[int]] = [[] for _ in lines]
    _measure(lines, widths, (0, len(lines)), (minimum, padding))
    return "\n".join(_line(cells, width) for cells, width in zip(lines, widths, strict=True))


def _line(cells: list[str], widths: list[int]) -> str:
    return "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)) + cells[-1]


def _measure(lines: list[list[str]], widths: list[list[int]], block: tuple[int, int], sizes: tuple[int, int]) -> None:
    """Give every line of the block the width of its next column, then go on with the columns to the right of it."""
    start, end = block
    column = len(widths[start]) if start < end else 0
    line = start
    while line < end:
        if column >= len(lines[line]) - 1:
            line += 1
            continue
        first = line
        widest = 0
        while line < end and column < len(lines[line]) - 1:
            widest = max(widest, len(lines[line][column]))
            line += 1
        for each in range(first, line):
            widths[each].append(max(sizes[0], widest + sizes[1]))
        _measure(lines, widths, (first, line), sizes)


def table(rows: list[list[str]]) -> str:
    """Rows (the first is the header) as lines, each ended by a newline."""
    return aligned("\n".join("\t".join(row) for row in rows)) + "\n"
