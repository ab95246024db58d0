"""Draws the rows: bars of medians with a mark at the goal, lines for curves. The only place that needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot

from scripts.benches.page import figure, names
from scripts.benches.rows import OURS, Row

matplotlib.use("Agg")
# Okabe and Ito's colours, told apart by everybody; the engines have theirs in all charts.
ENGINES = {OURS: "#0072B2", "docker": "#E69F00", "podman": "#009E73"}
OTHERS = ("#CC79A7", "#56B4E9", "#D55E00", "#999999")
WIDTH = 7.5  # inches
STYLE = {
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def draw(rows: Sequence[Row], directory: Path) -> dict[str, list[str]]:
    """Writes the PNGs of all groups and returns their names by group."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, list[str]] = {}
    with matplotlib.rc_context(STYLE):
        for group in dict.fromkeys(row.group for row in rows):
            mine = [row for row in rows if row.group == group and any(row.values.values())]
            colours = _colours(mine)
            bars_of, curves = [row for row in mine if not row.at], [row for row in mine if row.at]
            for name, chosen, paint in ((f"{group}.png", bars_of, _bars), (f"{group}-curves.png", curves, _curves)):
                if chosen:
                    _save(paint(chosen, colours), directory / name)
                    drawn.setdefault(group, []).append(name)
    return drawn


def _colours(rows: Sequence[Row]) -> dict[str, str]:
    """The contenders that have figures, ours first, and their colours."""
    found = [name for name in names(rows) if any(row.values.get(name) for row in rows)]
    others = iter([*OTHERS, *(colour for name, colour in ENGINES.items() if name not in found)] * len(found))
    return {name: ENGINES.get(name) or next(others) for name in found}


def _save(painted: Any, path: Path) -> None:
    painted.savefig(path, dpi=110, pil_kwargs={"optimize": True})
    pyplot.close(painted)


def _bars(rows: Sequence[Row], colours: dict[str, str]) -> Any:
    """A panel for each unit; in it a bar for each contender in each row."""
    units = list(dict.fromkeys((row.unit, row.better) for row in rows))
    panels = [[row for row in rows if (row.unit, row.better) == unit] for unit in units]
    heights = [sum(0.19 * len(row.values) + 0.16 for row in panel) + 0.25 for panel in panels]
    painted, axes = pyplot.subplots(
        len(panels), figsize=(WIDTH, sum(heights) + 0.55 * len(panels) + 0.3), squeeze=False, layout="constrained",
        height_ratios=heights,
    )  # fmt: skip
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        _panel(axis, panel, colours)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    handles.append(pyplot.Line2D([], [], color="black", marker="|", linestyle="", markersize=9))
    painted.legend(handles, [*colours, "goal"], loc="outside upper right", ncols=len(handles))
    return painted


def _panel(axis: Any, rows: Sequence[Row], colours: dict[str, str]) -> None:
    place, ticks = 0.0, []
    room = 0.08 * max(row.median(name) or 0.0 for row in rows for name in row.values)  # what a label takes
    for row in rows:
        top = place
        limits = [limit for clause in row.goal if (limit := row.limit(clause)) is not None]
        goal = None if not limits else min(limits) if row.better == "lower" else max(limits)
        for name in (name for name in colours if row.values.get(name)):
            middle = row.median(name) or 0.0
            axis.barh(place, middle, height=0.85, color=colours[name])
            at = (goal if goal is not None and middle <= goal < middle + room else max(middle, 0), place)
            axis.annotate(figure(middle), at, (4, 0), textcoords="offset points", va="center", fontsize=7)
            place += 1
        if goal is not None:
            axis.vlines(goal, top - 0.45, place - 0.55, color="black", linewidth=1.6)
        ticks.append(((top + place - 1) / 2, row.name))
        place += 0.8
    axis.set_yticks([at for at, _name in ticks], [name for _at, name in ticks])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.invert_yaxis()
    axis.margins(x=0.1, y=0.02)
    axis.set_xlabel(f"{rows[0].unit or 'number'}, {rows[0].better} is better", loc="right")


def _curves(rows: Sequence[Row], colours: dict[str, str]) -> Any:
    """A small panel for each curve, two in a line."""
    lines = (len(rows) + 1) // 2
    painted, axes = pyplot.subplots(lines, 2, figsize=(WIDTH, 2.3 * lines), squeeze=False, layout="constrained")
    for axis, row in zip(axes.flat, rows, strict=False):
        for name, samples in row.values.items():
            places = row.at[: len(samples)]
            axis.plot(
                places, samples, color=colours[name], label=name, linewidth=1.1, marker="." if len(places) < 30 else ""
            )
        axis.set_ylim(bottom=0)
        axis.set_title(row.name, fontsize=8.5, loc="left")
        axis.set_xlabel(row.axis)
        axis.set_ylabel(row.unit)
    for axis in axes.flat[len(rows) :]:
        axis.set_visible(False)
    handles = [pyplot.Line2D([], [], color=colour) for colour in colours.values()]
    painted.legend(handles, list(colours), loc="outside upper right", ncols=len(handles))
    return painted
