"""Columns, ages, sizes and rows, as Docker prints them (expectations from docker 28.2)."""

from __future__ import annotations

from typing import Any

import pytest

from engine.cli import rows, units
from engine.cli.command import CommandError
from engine.cli.formatting import Item, Listing, listed
from engine.cli.indent import indented, indented_list
from engine.cli.samples import stats_row, unknown_row
from engine.cli.tables import aligned, table

ID = "c4f62523a95a8941d2c71d414327232f4441f59222001e2ffc0c645793af8119"
IMAGE = "sha256:ca2b0f26964cf2e80ba3e084d5983dab293fdb87485dc6445f3f7bbfc89d7459"
DAY = 86400


def test_the_network_table_of_the_transcript() -> None:
    found = [
        {"Id": "efd7f1376d1b", "Name": "none", "Driver": "null", "Scope": "local"},
        {"Id": "306419ab57360f6f", "Name": "my_app_net", "Driver": "bridge", "Scope": "local"},
        {"Id": "a97a74aca4ff2f7d", "Name": "bridge", "Driver": "bridge", "Scope": "local"},
    ]
    assert rows.rendered(rows.network_rows(found), rows.NETWORK_COLUMNS, "network") == (
        "NETWORK ID     NAME         DRIVER    SCOPE\n"
        "a97a74aca4ff   bridge       bridge    local\n"
        "306419ab5736   my_app_net   bridge    local\n"
        "efd7f1376d1b   none         null      local\n"
    )


def test_columns_are_at_least_ten_wide_and_the_last_is_not_padded() -> None:
    assert table([["A", "B"], ["xx", ""]]) == "A         B\nxx        \n"
    assert aligned("a\tb\nno tabs\nccccccccccccc\td") == "a         b\nno tabs\nccccccccccccc   d"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (125, "2 minutes"),
        (3600, "About an hour"),
        (5400, "2 hours"),
        (2 * DAY, "2 days"),
        (15 * DAY, "2 weeks"),
        (70 * DAY, "2 months"),
        (800 * DAY, "2 years"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert units.age(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0B"), (1234, "1.23kB"), (77900000, "77.9MB"), (756000000, "756MB")])
def test_sizes(count: int, text: str) -> None:
    assert units.size(count) == text


def test_binary_sizes_go_both_ways() -> None:
    assert units.binary_size(4096000000) == "3.815GiB"
    assert [units.parse_bytes(text) for text in ("64m", "1.5GiB", "4096", "2KB", "1b", " 1 k ")] == [
        64 << 20,
        1536 << 20,
        4096,
        2048,
        1,
        1024,
    ]
    for text in ("x", "", "1x", "-1", "1.2.3", "1ib2", "m"):
        with pytest.raises(ValueError, match=f"invalid size: '{text}'"):
            units.parse_bytes(text)


def port(private: int, public: int = 0, kind: str = "tcp", address: str = "0.0.0.0") -> dict[str, Any]:
    return {"PrivatePort": private, "Type": kind} | ({"PublicPort": public, "IP": address} if public else {})


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ([], ""),
        ([port(9300), port(9200)], "9200/tcp, 9300/tcp"),
        ([port(p, p) for p in range(8000, 8011)], "0.0.0.0:8000-8010->8000-8010/tcp"),
        (
            [port(80, 8800), port(80, 8800, address="::"), port(53, 5353, "udp", "127.0.0.1")],
            "127.0.0.1:5353->53/udp, 0.0.0.0:8800->80/tcp, [::]:8800->80/tcp",
        ),
        ([port(1), port(2), port(3), port(5), port(7, 9007)], "1-3/tcp, 5/tcp, 0.0.0.0:9007->7/tcp"),
        ([port(80, 80, address="::")], "[::]:80->80/tcp"),
    ],
)
def test_ports_are_joined(found: list[dict[str, Any]], text: str) -> None:
    assert rows.ports(found) == text


def container(**changes: Any) -> dict[str, Any]:
    return {
        "Id": ID,
        "Names": ["/web", "/db/web"],
        "Image": "elasticsearch:2",
        "ImageID": IMAGE,
        "Command": "/docker-entrypoint.sh elasticsearch",
        "Created": 1000,
        "State": "running",
        "Status": "Up 3 seconds",
        "Labels": {"b": "2", "a": "1"},
        "Mounts": [{"Name": "f" * 64}],
        "NetworkSettings": {"Networks": {"b": {}, "a": {}}},
    } | changes


def test_a_container_is_shortened_unless_told_otherwise() -> None:
    short = rows.container_row(container(), 1004)
    assert (short["ID"], short["Command"], short["Names"]) == (ID[:12], '"/docker-entrypoint.…"', "web")
    assert (short["RunningFor"], short["Labels"], short["Networks"]) == ("4 seconds ago", "a=1,b=2", "a,b")
    assert short["Mounts"] == "f" * 14 + "…"
    full = rows.container_row(container(), 1004, trunc=False)
    assert (full["ID"], full["Names"]) == (ID, "web,db/web")
    assert full["Command"] == '"/docker-entrypoint.sh elasticsearch"'
    assert rows.container_row(container(Image=IMAGE), 0)["Image"] == "ca2b0f26964c"
    assert rows.container_row(container(SizeRw=5, SizeRootFs=2000), 0)["Size"] == "5B (virtual 2kB)"


def test_images_have_a_row_per_tag() -> None:
    found = [
        {
            "Id": IMAGE,
            "RepoTags": ["u:1", "localhost:5000/u:v1"],
            "RepoDigests": ["u@sha256:11"],
            "Created": 10,
            "Size": 1,
        },
        {"Id": "sha256:99", "RepoTags": [], "RepoDigests": [], "Created": 0, "Size": 1},
    ]
    shown = rows.image_rows(found, 20, digests=True)
    assert [(row["Repository"], row["Tag"], row["Digest"]) for row in shown] == [
        ("localhost:5000/u", "v1", "<none>"),
        ("u", "1", "sha256:11"),
        ("<none>", "<none>", "<none>"),
    ]
    assert [row["CreatedSince"] for row in shown] == ["10 seconds ago", "10 seconds ago", "N/A"]


def test_history_cuts_long_commands() -> None:
    layer = {"Id": "<missing>", "Created": 5, "CreatedBy": "x" * 60, "Size": 77900000, "Comment": ""}
    row = rows.history_row(layer, 65)
    assert (row["ID"], row["CreatedBy"], row["Size"]) == ("<missing>", "x" * 44 + "…", "77.9MB")
    assert rows.history_row(layer, 65, human=False)["Size"] == "77900000"


KIND = Listing(kind="container", columns=("ID", "Names"), type_name="*formatter.ContainerContext", labels=True)
ITEMS = [Item({"ID": "1", "Names": "a"}, {"k": "<v>"}), Item({"ID": "2", "Names": "b"}, {})]


@pytest.mark.parametrize(
    ("form", "quiet", "text"),
    [
        ("", False, "CONTAINER ID   NAMES\n1              a\n2              b\n"),
        ("", True, "1\n2\n"),
        ("{{.Names}}", True, "a\nb\n"),
        (r"{{.ID}}\t{{.Names}}", False, "1\ta\n2\tb\n"),
        (r'table {{.Names}}\t{{.Label "k"}}', False, "NAMES     k\na         <v>\nb         \n"),
        ("json", False, '{"ID":"1","Names":"a"}\n{"ID":"2","Names":"b"}\n'),
        ("{{json .Names}}", False, '"a"\n"b"\n'),
    ],
)
def test_formats(form: str, quiet: bool, text: str) -> None:
    assert listed(KIND, ITEMS, form, quiet=quiet) == text


def test_headers_stand_over_no_rows_too() -> None:
    assert listed(KIND, [], "table {{.Ports}}\t{{.Names}}") == "PORTS     NAMES\n"
    assert listed(KIND, [], "") == "CONTAINER ID   NAMES\n"


def test_bad_formats() -> None:
    with pytest.raises(CommandError, match="failed to parse template: template: :1: unclosed action"):
        listed(KIND, ITEMS, "{{")
    with pytest.raises(CommandError, match=r"failed to execute template: .*can't evaluate field Foo in type"):
        listed(KIND, ITEMS, "{{.Foo}}")


def test_indenting_leaves_everything_else_alone() -> None:
    text = r'{"b": [1.50,{"x\\":"a,{\"b"}], "a":{ }, "c":[], "d":null}'
    assert indented(text) == (
        '{\n    "b": [\n        1.50,\n        {\n            "x\\\\": "a,{\\"b"\n        }\n    ],\n'
        '    "a": {},\n    "c": [],\n    "d": null\n}'
    )
    assert indented_list([]) == "[]"
    assert indented_list(['{"a":1}', "{}"]) == '[\n    {\n        "a": 1\n    },\n    {}\n]'


def test_a_sample_of_stats() -> None:
    sample = {
        "id": ID,
        "name": "/web",
        "pids_stats": {"current": 2},
        "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 123456}, {"op": "write", "value": 99}]},
        "cpu_stats": {"cpu_usage": {"total_usage": 92130047}, "system_cpu_usage": 7250970000000, "online_cpus": 2},
        "precpu_stats": {"cpu_usage": {"total_usage": 81299429}, "system_cpu_usage": 7248970000000},
        "memory_stats": {"usage": 5000000, "stats": {"total_inactive_file": 1000000}, "limit": 4096000000},
        "networks": {"eth0": {"rx_bytes": 1234, "tx_bytes": 5678}},
    }
    row = stats_row(sample)
    assert (row["ID"], row["Name"], row["CPUPerc"]) == (ID[:12], "web", "1.08%")
    assert (row["MemUsage"], row["MemPerc"]) == ("3.815MiB / 3.815GiB", "0.10%")
    assert (row["NetIO"], row["BlockIO"], row["PIDs"]) == ("1.23kB / 5.68kB", "123kB / 99B", "2")
    assert stats_row({"id": ID})["CPUPerc"] == "0.00%"
    assert unknown_row("x")["CPUPerc"] == "--"
