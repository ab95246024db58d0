"""The figures of scripts/bench as values: medians, ratios, verdicts, and what the page says of them."""

from __future__ import annotations

import json

import pytest

from scripts.benches.page import BEGIN, END, figure, insert, markdown, merged, terminal
from scripts.benches.rows import Row, against, bound, from_json, to_json

VALUES = {"netpy": [20.0, 24.0, 90.0], "docker": [100.0], "podman": [55.0, 65.0]}


def test_the_median_bears_a_stray_sample_and_the_ninetieth_percentile_shows_it() -> None:
    row = Row("start", (), VALUES)
    assert (row.median("netpy"), row.p90("netpy")) == (24.0, 90.0)
    assert row.median("nobody") is None and row.p90("nobody") is None
    assert row.ratio("podman") == pytest.approx(0.4)


def test_every_clause_has_to_hold() -> None:
    assert Row("start", (against(0.25, "docker"), against(0.4, "podman")), VALUES).verdict() == "met"
    assert Row("start", (against(0.25, "docker"), against(0.3, "podman")), VALUES).verdict() == "missed"
    assert Row("start", (), VALUES).verdict() == "no goal"


def test_a_clause_against_several_is_held_against_the_best_of_them() -> None:
    assert Row("rm", (against(0.3, "docker"),), VALUES).verdict() == "met"
    assert Row("rm", (against(0.3, "docker", "podman"),), VALUES).verdict() == "missed"
    more = {"netpy": [90.0], "docker": [100.0], "podman": [60.0]}
    assert Row("answers", (against(0.9, "docker", "podman"),), more, better="higher").verdict() == "met"
    assert Row("answers", (against(1.0, "docker", "podman"),), more, better="higher").verdict() == "missed"


def test_a_bound_is_in_the_unit_of_the_row() -> None:
    assert Row("restart", (bound(24),), VALUES).verdict() == "met"
    assert Row("restart", (bound(23),), VALUES).verdict() == "missed"
    assert Row("flat", (bound(1.2),), VALUES, unit="×").goal_text() == "≤ 1.2×"


def test_what_was_not_measured_leaves_the_verdict_open_unless_another_clause_is_missed() -> None:
    goal = (against(0.25, "docker"), against(0.4, "podman"))
    assert Row("start", goal, {"netpy": [24.0], "docker": [100.0]}).verdict() == "open"
    assert Row("start", goal, {"netpy": [26.0], "docker": [100.0]}).verdict() == "missed"
    assert Row("rm", (against(0.4, "docker", "podman"),), {"netpy": [24.0], "docker": [100.0]}).verdict() == "open"
    assert Row("start", goal, {"docker": [100.0], "podman": [60.0]}).verdict() == "open"


def test_rows_survive_json() -> None:
    rows = [
        Row("start", (against(0.25, "docker"), bound(3)), VALUES, notes=("quiet",), failed={"x": "gone"}, group="commands"),
        Row("each", (), {"netpy": [1.0, 2.0]}, at=(1.0, 10.0), axis="ports"),
    ]  # fmt: skip
    assert from_json(json.loads(json.dumps(to_json(rows)))) == rows


def test_the_table_shows_ratios_verdicts_and_who_failed_why() -> None:
    row = Row("start", (against(0.2, "docker"),), {**VALUES, "podman": []}, failed={"podman": "no such image"})
    text = terminal([row, Row("each", (), VALUES, at=(1.0, 2.0, 3.0))])
    assert text.splitlines()[1].split() == [
        "start,", "ms", "≤", "0.2", "×", "docker", "24", "100", "(0.24)", "failed", "missed",
    ]  # fmt: skip
    assert "start: podman: no such image" in text
    assert "each" not in text  # a curve stands in the chart


def test_a_new_run_replaces_the_groups_that_it_ran() -> None:
    def document(group: str, name: str) -> dict[str, object]:
        rows = to_json([Row(name, (), {"netpy": [1.0]}, group=group)])
        facts = {"load": [0.1, 0.2], "rounds": 3}
        return {"machine": {"text": name, "date": ""}, "contenders": {}, "groups": {group: facts}, "rows": rows}

    both = merged(document("memory", "old"), document("commands", "other"), ("commands", "memory"))
    assert [row["name"] for row in both["rows"]] == ["other", "old"]
    again = merged(both, document("memory", "new"), ("commands", "memory"))
    assert [row["name"] for row in again["rows"]] == ["other", "new"]
    page = insert(f"before\n{BEGIN}\nstale\n{END}\nafter\n", markdown(again, {"memory": ["memory.png"]}))
    assert "stale" not in page and page.startswith("before") and page.endswith("after\n")
    assert "| new, ms |" in page and "![memory](charts/memory.png)" in page


def test_a_page_without_markers_is_not_written_over() -> None:
    with pytest.raises(ValueError, match="lacks the markers"):
        insert("# a page of somebody's own\n", "figures")


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "0"), (0.084, "0.08"), (8.4, "8.40"), (42.25, "42.2"), (12345.6, "12,346")]
)
def test_figures_have_about_three_digits(value: float | None, text: str) -> None:
    assert figure(value) == text
