"""The bus of events."""

from __future__ import annotations

import threading

import pytest

from engine.events import BACKLOG, MEMORY, Events, Filters


class Clock:
    """Nanoseconds that go on by a second with each look."""

    def __init__(self, start: int = 1_000) -> None:
        self.seconds = start

    def __call__(self) -> int:
        self.seconds += 1
        return self.seconds * 1_000_000_000


@pytest.fixture
def events() -> Events:
    return Events(Clock())


def test_a_document_is_dockers(events: Events) -> None:
    stream = events.subscribe()
    events.publish("container", "start", "ab" * 32, {"name": "web", "image": "busybox", "k": "v"})
    assert next(stream) == {
        "status": "start",
        "id": "ab" * 32,
        "from": "busybox",
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": "ab" * 32, "Attributes": {"image": "busybox", "k": "v", "name": "web"}},
        "scope": "local",
        "time": 1001,
        "timeNano": 1001_000_000_000,
    }
    events.publish("network", "connect", "n1", {"name": "net"})
    assert "status" not in next(stream)


def test_the_past_is_told_on_request_only(events: Events) -> None:
    for number in range(3):
        events.publish("network", "create", f"n{number}")
    past = events.subscribe(since=1002, until=1003)
    assert [e["Actor"]["ID"] for e in past] == ["n1", "n2"]
    fresh = events.subscribe()
    assert fresh.next(0) is None
    assert not fresh.ended


def test_memory_is_short(events: Events) -> None:
    for number in range(MEMORY + 5):
        events.publish("network", "create", f"n{number}")
    found = list(events.subscribe(since=0, until=1))
    assert found == []
    assert events.subscribe(since=0).next(0)["Actor"]["ID"] == "n5"  # pyright: ignore[reportOptionalSubscript]


def test_close_wakes_the_reader(events: Events) -> None:
    stream = events.subscribe()
    seen: list[object] = []
    reader = threading.Thread(target=lambda: seen.extend(stream))
    reader.start()
    events.publish("network", "create", "n")
    stream.close()
    reader.join(5)
    assert not reader.is_alive()
    assert len(seen) == 1
    assert events.listeners() == 0


def test_the_end_of_the_bus_ends_everybody(events: Events) -> None:
    streams = [events.subscribe() for _ in range(3)]
    events.close()
    assert [list(stream) for stream in streams] == [[], [], []]


def test_who_falls_behind_is_dropped(events: Events) -> None:
    slow = events.subscribe()
    for number in range(BACKLOG + 10):
        events.publish("network", "create", str(number))
    assert events.listeners() == 0
    assert len(list(slow)) == BACKLOG + 1


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"type": ["network"]}, ["n"]),
        ({"event": ["start", "create"]}, ["c", "n"]),
        ({"event": ["exec_create"]}, ["x"]),
        ({"container": ["web"]}, ["c", "n", "x"]),
        ({"container": ["/web"]}, ["c", "x"]),
        ({"container": ["c"]}, ["c"]),
        ({"label": ["k"]}, ["c"]),
        ({"label": ["k=w"]}, []),
        ({"label": ["k=v", "name=web"]}, ["c"]),
        ({"image": ["busybox"]}, ["c"]),
        ({"network": ["net"]}, ["n"]),
        ({"type": ["container"], "event": ["start"]}, ["c"]),
        ({}, ["c", "n", "x"]),
    ],
)
def test_filters(events: Events, filters: Filters, expected: list[str]) -> None:
    stream = events.subscribe(filters=filters)
    events.publish("container", "start", "c", {"name": "web", "image": "busybox:latest", "k": "v"})
    events.publish("network", "create", "n", {"name": "net", "container": "web"})
    events.publish("container", "exec_create: ls", "x", {"name": "web"})
    found = []
    while (event := stream.next(0)) is not None:
        found.append(event["Actor"]["ID"])
    assert found == expected
