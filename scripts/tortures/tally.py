"""What a part of the torture is asked, and what it answers. Pure values; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long and how hard. `brief` asks for a bounded run of half a minute; `seed` makes a run repeatable."""

    seed: int = 1
    brief: bool = False
    backends: tuple[str, ...] = ("nftables", "iptables")


@dataclass(slots=True, kw_only=True)
class Tally:
    """One part's figures. `findings` has a line for every promise that did not hold; none means that all held."""

    part: str
    counts: dict[str, int] = field(default_factory=dict[str, int])
    findings: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])  # what a reader should know, such as a part left out, and why
    seconds: float = 0.0

    def count(self, what: str, by: int = 1) -> None:
        """Add to a figure, such as "operations", "faults injected", "inputs tried", "attacks"."""
        self.counts[what] = self.counts.get(what, 0) + by

    def blame(self, finding: str) -> None:
        """A promise did not hold; the line names the operation, the fault and what was seen."""
        self.findings.append(finding)


def document(tallies: Sequence[Tally], options: Options) -> dict[str, Any]:
    """The whole run as JSON."""
    return {"seed": options.seed, "brief": options.brief, "parts": [asdict(tally) for tally in tallies]}


def table(run: Mapping[str, Any]) -> str:
    """The figures of a run as a Markdown table, a line for each part."""
    lines = ["| part | figures | minutes | promises broken |", "|---|---|--:|--:|"]
    for part in run["parts"]:
        figures = ", ".join(f"{number:,} {what}" for what, number in part["counts"].items())
        lines.append(f"| {part['part']} | {figures} | {part['seconds'] / 60:.1f} | {len(part['findings'])} |")
    return "\n".join(lines)
