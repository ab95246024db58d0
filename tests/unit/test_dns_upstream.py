"""Forwarding, as a play of events: the clock and the servers are this file."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netpy.dns.upstream import DEADLINE, HEDGE, LIES, ROUND, Ask, Done, Exchange

ID = b"\xab\xcd"
QUESTION = b"\7example\3org\0\0\1\0\1"


def message(rcode: int = 0, *, id: bytes = ID, question: bytes = QUESTION, tc: bool = False, qr: bool = True) -> bytes:
    flags = bytes([(0x80 if qr else 0) | (0x02 if tc else 0) | 1, 0x80 | rcode])
    return id + flags + (b"\0\1" if question else b"\0\0") + b"\0\0\0\0\0\0" + question


def exchange(servers: int, *, upgrade: bool = True) -> Exchange:
    return Exchange(id=ID, question=QUESTION, servers=servers, upgrade=upgrade, now=100.0)


def udp(server: int) -> list[Ask | Done]:
    return [Ask(server=server, transport="udp")]


def test_the_first_good_answer_wins() -> None:
    play = exchange(2)
    assert play.expired(100.0) == udp(0)
    assert play.heard(0, "udp", message(), 100.01) == [Done(answer=message())]
    assert play.done
    assert play.heard(0, "udp", message(), 100.02) == []
    assert play.failed(1, "udp", 100.02) == []
    assert play.expired(109.0) == []


def test_nxdomain_is_an_answer() -> None:
    play = exchange(2)
    play.expired(100.0)
    assert play.heard(0, "udp", message(3), 100.01) == [Done(answer=message(3))]


def test_a_silent_server_is_not_waited_for() -> None:
    play = exchange(3)
    asked = [play.expired(100.0)]
    for _ in range(4):
        asked.append(play.expired(play.due))
    assert asked == [udp(0), udp(1), udp(2), udp(0), udp(1)]
    assert play.due == 100.0 + ROUND + 2 * HEDGE
    assert play.heard(2, "udp", message(), play.due) == [Done(answer=message())]


def test_one_silent_server_is_asked_again_and_then_given_up() -> None:
    play = exchange(1)
    moments: list[float] = []
    last: list[Ask | Done] = []
    while not play.done:
        moments.append(play.due - 100.0)
        last = play.expired(play.due)
    assert moments == [0.0, ROUND, 2 * ROUND, DEADLINE]
    assert last == [Done(answer=None)]


def test_a_refusal_moves_on_at_once() -> None:
    for rcode in (2, 4, 5):
        play = exchange(2)
        play.expired(100.0)
        assert play.heard(0, "udp", message(rcode), 100.01) == udp(1)
        assert play.heard(1, "udp", message(), 100.02) == [Done(answer=message())]


def test_a_refusal_without_the_question_counts() -> None:
    play = exchange(2)
    play.expired(100.0)
    assert play.heard(0, "udp", message(5, question=b""), 100.01) == udp(1)


def test_when_all_refuse_the_first_refusal_is_told() -> None:
    play = exchange(2)
    play.expired(100.0)
    play.heard(0, "udp", message(5), 100.01)
    assert play.heard(1, "udp", message(2), 100.02) == [Done(answer=message(5))]


def test_when_all_sockets_fail_nothing_is_told() -> None:
    play = exchange(2)
    play.expired(100.0)
    assert play.failed(0, "udp", 100.01) == udp(1)
    assert play.failed(1, "udp", 100.02) == [Done(answer=None)]


def test_a_refusing_server_is_not_asked_in_the_next_round() -> None:
    play = exchange(2)
    play.expired(100.0)
    play.heard(0, "udp", message(2), 100.01)
    assert play.expired(play.due) == udp(1)
    assert play.expired(play.due) == udp(1)
    assert play.expired(100.0 + DEADLINE) == [Done(answer=message(2))]


def test_what_is_not_an_answer_to_us_is_ignored() -> None:
    lies = [
        message(id=b"\0\0"),
        message(question=b"\4evil\3org\0\0\1\0\1"),
        message(question=QUESTION[:-3] + b"\x1c\0\1"),
        message(qr=False),
        message(question=b""),
        message()[:11],
        b"",
    ]
    play = exchange(1)
    play.expired(100.0)
    for lie in lies:
        assert play.heard(0, "udp", lie, 100.01) == []
    assert play.heard(0, "udp", message(question=QUESTION.upper()), 100.02) != []  # case is no difference


def test_who_guesses_has_only_so_many_tries() -> None:
    play = exchange(2)
    play.expired(100.0)
    said = [play.heard(0, "udp", message(id=bytes((1, n))), 100.01) for n in range(LIES)]
    assert said == [[]] * (LIES - 1) + [[Ask(server=0, transport="tcp"), Ask(server=1, transport="tcp")]]
    assert play.heard(0, "udp", message(), 100.02) == []  # whoever guessed right now guessed too late
    assert play.failed(0, "udp", 100.03) == []
    assert play.expired(play.due) == []
    assert play.heard(1, "tcp", message(), 100.04) == [Done(answer=message())]


def test_an_answer_cut_short_is_fetched_over_tcp() -> None:
    play = exchange(2)
    play.expired(100.0)
    assert play.heard(0, "udp", message(tc=True), 100.01) == [Ask(server=0, transport="tcp")]
    assert play.heard(0, "udp", message(tc=True), 100.02) == []
    assert play.failed(0, "udp", 100.03) == []
    whole = message() + b"long"
    assert play.heard(0, "tcp", whole, 100.04) == [Done(answer=whole)]


def test_a_failed_upgrade_leaves_the_short_answer() -> None:
    play = exchange(1)
    play.expired(100.0)
    play.heard(0, "udp", message(tc=True), 100.01)
    assert play.failed(0, "tcp", 100.02) == [Done(answer=message(tc=True))]
    silent = exchange(1)
    silent.expired(100.0)
    silent.heard(0, "udp", message(tc=True), 100.01)
    while not silent.done:
        last = silent.expired(silent.due)
    assert last == [Done(answer=message(tc=True))]


def test_who_cannot_take_more_gets_the_short_answer() -> None:
    play = exchange(2, upgrade=False)
    play.expired(100.0)
    assert play.heard(0, "udp", message(tc=True), 100.01) == [Done(answer=message(tc=True))]


def test_at_most_three_servers() -> None:
    play = exchange(9)
    asked = {action.server for _ in range(9) for action in play.expired(play.due) if isinstance(action, Ask)}
    assert asked == {0, 1, 2}


EVENTS = st.one_of(
    st.tuples(
        st.just("heard"),
        st.integers(0, 2),
        st.sampled_from(["udp", "tcp"]),
        st.sampled_from([message(2), message(tc=True), message(id=b"xx"), b""]),
    ),
    st.tuples(st.just("failed"), st.integers(0, 2), st.sampled_from(["udp", "tcp"]), st.just(b"")),
    st.tuples(st.just("tick"), st.just(0), st.just("udp"), st.just(b"")),
)


@given(st.integers(1, 3), st.lists(EVENTS, max_size=30))
def test_every_exchange_ends_exactly_once(servers: int, events: list[tuple[str, int, str, bytes]]) -> None:
    play = exchange(servers)
    actions = play.expired(100.0)
    now = 100.0
    for kind, server, transport, packet in events:
        now += 0.01
        if kind == "heard":
            actions += play.heard(server % servers, transport, packet, now)  # type: ignore[arg-type]
        elif kind == "failed":
            actions += play.failed(server % servers, transport, now)  # type: ignore[arg-type]
        else:
            now = max(now, play.due)
            actions += play.expired(now)
    for _ in range(20):
        actions += play.expired(max(now, play.due))
    assert sum(isinstance(action, Done) for action in actions) == 1
    assert play.due <= 100.0 + DEADLINE
