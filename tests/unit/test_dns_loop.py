"""The loop and its lanes, the batches of datagrams, and the places for forwarded queries: who gets how much of us."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from netpy.dns import loop as loops
from netpy.dns.datagrams import SIZE, Batch
from netpy.dns.forwarder import PER_SANDBOX, Places
from netpy.dns.loop import READ, Lane, Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.finish()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def ready_socket(stack: ExitStack) -> socket.socket:
    """A socket from which something can be read, for ever."""
    ours, theirs = (stack.enter_context(each) for each in socket.socketpair())
    theirs.send(b"x")
    return ours


def test_hundreds_of_sources_in_a_lane_delay_others_by_a_slice(loop: Loop, stack: ExitStack) -> None:
    clock = iter(n * loops.SLICE / 4 for n in range(10**6))  # each look at the clock is a quarter of a slice later
    loop.now = lambda: next(clock)  # type: ignore[method-assign]
    lane, calls = Lane(loop), list[str]()
    for _ in range(200):
        lane.watch(ready_socket(stack), READ, lambda _: calls.append("flood"))
    loop.watch(ready_socket(stack), READ, lambda _: calls.append("other"))
    loop.soon(lambda: loop.at(0, loop.stop))
    loop.run()
    assert calls.count("other") >= 1
    assert 1 <= calls.count("flood") <= 4 * calls.count("other")
    lane.end()


def test_every_source_of_a_lane_has_its_turn(loop: Loop, stack: ExitStack) -> None:
    lane, heard = Lane(loop), set[int]()

    def hear(n: int) -> None:
        heard.add(n)
        if len(heard) == 50:
            loop.stop()

    for n in range(50):
        lane.watch(ready_socket(stack), READ, lambda _, n=n: hear(n))
    loop.run()
    assert heard == set(range(50))
    lane.end()


def test_work_of_a_lane_is_done_in_order_and_between_others(loop: Loop, stack: ExitStack) -> None:
    clock = iter(n * loops.SLICE for n in range(10**6))
    loop.now = lambda: next(clock)  # type: ignore[method-assign]
    lane, done = Lane(loop), list[object]()
    for n in range(5):
        lane.soon(lambda n=n: done.append(n))
    lane.soon(loop.stop)
    assert lane.waiting == 6
    loop.watch(ready_socket(stack), READ, lambda _: done.append("other"))
    loop.run()
    assert [each for each in done if each != "other"] == [0, 1, 2, 3, 4]
    assert done.count("other") >= 5
    lane.soon(lambda: done.append("late"))
    lane.end()
    loop.soon(lambda: loop.soon(loop.stop))
    loop.run()
    assert "late" not in done


def test_a_socket_closed_by_its_neighbour_is_not_called(loop: Loop, stack: ExitStack) -> None:
    first, second = ready_socket(stack), ready_socket(stack)
    called: list[socket.socket] = []

    def call(this: socket.socket, other: socket.socket) -> None:
        called.append(this)
        loop.close(other)
        loop.stop()

    loop.watch(first, READ, lambda _: call(first, second))
    loop.watch(second, READ, lambda _: call(second, first))
    loop.run()
    assert len(called) == 1


def test_a_callback_that_raises_is_told_and_survived(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("what a day")

    Lane(loop).soon(fail)
    loop.at(0, loop.stop)
    loop.run()
    assert "what a day" in capsys.readouterr().err


def loopback(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind(("127.0.0.1", 0))
    server.setblocking(False)
    client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client.connect(server.getsockname())
    client.settimeout(20)
    return server, client


def test_a_batch_answers_each_asker_with_its_own(stack: ExitStack) -> None:
    server, client = loopback(stack)
    other = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    other.connect(server.getsockname())
    other.settimeout(20)
    for n in range(SIZE + 3):
        (client if n % 2 else other).send(b"%d" % n)
    batch = Batch()

    def said(packet: bytes) -> bytes | None:
        return None if int(packet) % 5 == 0 else b"answer " + packet

    left = batch.exchange(server, said)
    assert [packet for packet, _ in left] == [b"%d" % n for n in range(0, SIZE, 5)]
    assert {peer for _, peer in left} == {client.getsockname(), other.getsockname()}
    assert [packet for packet, _ in batch.exchange(server, lambda _: None)] == [b"%d" % (SIZE + n) for n in range(3)]
    assert batch.exchange(server, lambda _: None) == []
    for mine, asker in ((0, other), (1, client)):
        expected = [b"answer %d" % n for n in range(SIZE) if n % 2 == mine and n % 5]
        assert [asker.recv(100) for _ in expected] == expected


@pytest.mark.parametrize("size", [0, 1, 4097, 4353, 60_000])
def test_datagrams_of_all_sizes(stack: ExitStack, size: int) -> None:
    server, client = loopback(stack)
    client.send(b"q" * size)
    assert Batch().exchange(server, lambda packet: b"a" * size if len(packet) == min(size, 4352) else b"?") == []
    assert client.recv(65535) == b"a" * size


def test_an_answer_that_cannot_be_sent_harms_no_other(stack: ExitStack) -> None:
    server, client = loopback(stack)
    for n in range(3):
        client.send(b"%d" % n)
    assert Batch().exchange(server, lambda packet: b"x" * 70_000 if packet == b"1" else packet) == []
    assert [client.recv(10), client.recv(10)] == [b"0", b"2"]


def test_places_are_left_for_those_who_have_none() -> None:
    places = Places(1000)
    floods = [0, 0, 0]
    for _ in range(1000):
        floods = [had + places.take(had) for had in floods]
    assert floods[0] == floods[1] == floods[2] > 100
    assert places.take(0)
    places.give_back(sum(floods) + 1)
    assert [places.take(n) for n in range(300)].count(True) == 200
    assert not Places(10**6).take(PER_SANDBOX)
