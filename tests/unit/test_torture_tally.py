"""The torture's figures as values: what a part counts, and the table that the documents show."""

from __future__ import annotations

from scripts.tortures.tally import Options, Tally, document, table


def test_the_table_shows_every_part_with_its_figures_and_broken_promises() -> None:
    crash, churn = Tally(part="crash"), Tally(part="churn")
    crash.count("operations", 1200)
    crash.count("operations")
    churn.count("containers", 2000)
    churn.blame("container 7 was gone")
    churn.seconds = 90
    lines = table(document([crash, churn], Options())).splitlines()
    assert lines[2] == "| crash | 1,201 operations | 0.0 | 0 |"
    assert lines[3] == "| churn | 2,000 containers | 1.5 | 1 |"
