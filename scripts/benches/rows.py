"""What was measured, as values: samples by contender, the goal they are held against, and what comes of it. No I/O.

A goal is one or more clauses: our median is at most `factor` times another's (at least, where higher is better), or
bounded by a figure in the row's own unit. Where somebody of the other side was not measured, it cannot be met: it stays
open, and so does the row.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

OURS = "netpy"
Better = Literal["lower", "higher"]
Verdict = Literal["met", "missed", "open", "no goal"]


@dataclass(frozen=True, slots=True)
class Clause:
    """Ours against `factor` times the best of `than`; without names, `factor` is a bound in the row's unit."""

    factor: float
    than: tuple[str, ...] = ()

    def text(self, better: Better, unit: str) -> str:
        sign = "≤" if better == "lower" else "≥"
        if not self.than:
            return f"{sign} {self.factor:g}{'' if unit == '×' else ' '}{unit}"
        whom = self.than[0] if len(self.than) == 1 else f"the best of {', '.join(self.than)}"
        return f"{sign} {self.factor:g} × {whom}"


def against(factor: float, *than: str) -> Clause:
    """`against(0.4, "docker", "podman")`: 0.4 times the better of the two."""
    return Clause(factor, than)


def bound(limit: float) -> Clause:
    """A figure in the row's unit: `bound(1.2)` of a row in ×, `bound(2000)` of one in ms."""
    return Clause(limit)


@dataclass(frozen=True)
class Row:
    """One line of the table: samples by contender, in `unit`; `failed` says why a contender has none.

    A curve has `at`: the place of every sample along an axis, such as the number of containers there were. It has no
    goal and stands in a chart instead of the table.
    """

    name: str
    goal: tuple[Clause, ...]
    values: dict[str, list[float]]
    unit: str = "ms"
    better: Better = "lower"
    notes: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    group: str = ""
    at: tuple[float, ...] = ()
    axis: str = ""

    def median(self, name: str) -> float | None:
        samples = self.values.get(name)
        return statistics.median(samples) if samples else None

    def p90(self, name: str) -> float | None:
        """The sample that nine of ten do not exceed (nearest rank)."""
        samples = sorted(self.values.get(name) or ())
        return samples[max(0, -(-len(samples) * 9 // 10) - 1)] if samples else None

    def ratio(self, than: str) -> float | None:
        """Our median over another's."""
        ours, theirs = self.median(OURS), self.median(than)
        return ours / theirs if ours is not None and theirs else None

    def goal_text(self) -> str:
        return "; ".join(clause.text(self.better, self.unit) for clause in self.goal)

    def verdict(self) -> Verdict:
        """Of all clauses together: one missed is missed, one open leaves it open."""
        verdicts: list[Verdict] = [self.judge(clause) for clause in self.goal]
        if not verdicts:
            return "no goal"
        return next((kind for kind in ("missed", "open") if kind in verdicts), "met")

    def judge(self, clause: Clause) -> Verdict:
        ours = self.median(OURS)
        limit = self.limit(clause)
        if ours is None or limit is None:
            return "open"
        if not (ours <= limit if self.better == "lower" else ours >= limit):
            return "missed"
        return "met" if all(self.values.get(name) for name in clause.than) else "open"

    def limit(self, clause: Clause) -> float | None:
        """What the clause asks of our median, in the row's unit; nothing when the others were not measured."""
        if not clause.than:
            return clause.factor
        theirs = [median for name in clause.than if (median := self.median(name)) is not None]
        if not theirs:
            return None
        return clause.factor * (min(theirs) if self.better == "lower" else max(theirs))


def to_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows]


def from_json(documents: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The rows that `to_json` wrote."""
    rows: list[Row] = []
    for document in documents:
        clauses = tuple(Clause(clause["factor"], tuple(clause["than"])) for clause in document["goal"])
        listed = {name: tuple(document[name]) for name in ("notes", "at")}
        rows.append(Row(**{**document, **listed, "goal": clauses}))
    return rows
