"""The walk from a name to its backends, and that snapshots are values."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpy.dns import Record, View
from netpy.dns.table import Table
from netpy.dns.zones import Snapshot, fold, snapshot
from netpy.errors import InvalidArgument

FRONT, BACK = ("n1", "front"), ("n2", "back.end")


def record(id: str, network: str, names: str, *addresses: str) -> Record:
    return Record(endpoint_id=id, network_id=network, names=tuple(names.split()), addresses=addresses)


def view(*networks: tuple[str, str], **links: str) -> View:
    return View(sandbox_id="s", networks=networks, links=links)


def found(snap: Snapshot, asking: View, name: str) -> list[str]:
    result = snap.find(asking, name)
    return [backend.endpoint_id for backend in result.backends] if result else []


WORLD = snapshot(
    [
        record("e1", "n1", "web search 0123456789ab", "10.0.0.2", "fd00::2"),
        record("e2", "n1", "api search", "10.0.0.3"),
        record("e3", "n2", "web a.b", "10.1.0.2"),
        record("e4", "n2", "db", "10.1.0.3"),
    ],
    [],
)


@pytest.mark.parametrize(
    ("networks", "name", "expected"),
    [
        ((FRONT, BACK), "web", ["e1"]),
        ((BACK, FRONT), "web", ["e3"]),  # the order of the sandbox's networks decides, nothing is merged
        ((FRONT, BACK), "search", ["e1", "e2"]),
        ((FRONT, BACK), "0123456789ab", ["e1"]),
        ((FRONT, BACK), "web.front", ["e1"]),
        ((FRONT, BACK), "web.back.end", ["e3"]),  # a network's name may have dots
        ((FRONT, BACK), "a.b", ["e3"]),  # and so may a container's
        ((FRONT, BACK), "a.b.back.end", ["e3"]),
        ((FRONT,), "db", []),
        ((FRONT,), "web.back.end", []),
        ((FRONT, BACK), "web.nowhere", []),
        ((FRONT, BACK), "front", []),
        ((), "web", []),
    ],
)
def test_walk(networks: tuple[tuple[str, str], ...], name: str, expected: list[str]) -> None:
    assert found(WORLD, view(*networks), name) == expected


def test_a_link_comes_before_a_name_and_falls_back_to_it() -> None:
    asking = view(FRONT, api="web", gone="nobody", db="web")
    assert found(WORLD, asking, "api") == ["e1"]
    assert found(WORLD, asking, "api.front") == ["e1"]
    assert found(WORLD, asking, "gone") == []
    assert found(WORLD, view(BACK, db="nobody"), "db") == ["e4"]


def test_links_and_names_ignore_case() -> None:
    snap = snapshot([record("e1", "n1", "Web", "10.0.0.2")], [view(("n1", "Front"), DataBase="WEB")])
    asking = snap.views.get("s")
    assert asking is not None
    assert found(snap, asking, "web.front") == ["e1"]
    assert found(snap, asking, "database") == ["e1"]
    assert fold("WÉB.Example.") == "wÉb.example"  # ASCII only, as the wire does


def test_reverse_gives_the_first_name_with_its_network() -> None:
    address = ip_address("fd00::2").packed
    assert WORLD.reverse(view(FRONT), address) == ("web.front",)
    assert WORLD.reverse(view(BACK), address) == ()


def test_a_change_leaves_the_old_snapshot_alone() -> None:
    before = WORLD
    after = before.changed(put=[record("e2", "n1", "api2 search", "10.0.0.9")], drop=["e1", "unknown"])
    assert found(before, view(FRONT), "search") == ["e1", "e2"]
    assert found(after, view(FRONT), "search") == ["e2"]
    assert found(after, view(FRONT), "web") == []
    assert found(after, view(FRONT), "api") == []
    assert found(after, view(FRONT), "api2") == ["e2"]
    assert after.reverse(view(FRONT), ip_address("10.0.0.3").packed) == ()
    assert after.reverse(view(FRONT), ip_address("10.0.0.9").packed) == ("api2.front",)


def test_a_bad_address_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="record of endpoint e9: 'ten' is not an address"):
        WORLD.changed(put=[record("e9", "n1", "x", "ten")])
    with pytest.raises(InvalidArgument):
        snapshot([record("e9", "n1", "x", "10.0.0.1/24")], [])


def test_names_given_twice_count_once() -> None:
    snap = snapshot([record("e1", "n1", "web WEB web.", "10.0.0.2", "10.0.0.2")], [])
    result = snap.find(view(FRONT), "web")
    assert result is not None
    assert [backend.v4 for backend in result.backends] == [(b"\x0a\0\0\x02",)]


RECORDS = st.lists(
    st.builds(
        record,
        st.sampled_from([f"e{n}" for n in range(12)]),
        st.sampled_from(["n1", "n2"]),
        st.sampled_from(["a", "a b", "b c", "c.front", "d"]),
        st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"]),
    ),
    max_size=30,
)


@given(RECORDS, st.lists(st.sampled_from([f"e{n}" for n in range(12)])))
def test_step_by_step_equals_at_once(puts: list[Record], drops: list[str]) -> None:
    stepwise = Snapshot()
    left: dict[str, Record] = {}
    for each in puts:
        stepwise = stepwise.changed(put=[each])
        left.pop(each.endpoint_id, None)
        left[each.endpoint_id] = each
    stepwise = stepwise.changed(drop=drops)
    for id in drops:
        left.pop(id, None)
    at_once = snapshot(left.values(), [])
    for name in ("a", "b", "c", "d", "c.front", "a.front", "b.back.end"):
        for asking in (view(FRONT, BACK), view(BACK, FRONT)):
            assert found(stepwise, asking, name) == found(at_once, asking, name)
    assert len(stepwise.records) == len(at_once.records)
    assert sorted(stepwise.names) == sorted(at_once.names)
    assert sorted(stepwise.pointers) == sorted(at_once.pointers)


@given(st.lists(st.tuples(st.integers(0, 2000), st.booleans()), max_size=400))
def test_table_behaves_like_a_dict(steps: list[tuple[int, bool]]) -> None:
    table: Table[int, int] = Table()
    plain: dict[int, int] = {}
    for number, (key, put) in enumerate(steps):
        if put:
            table = table.with_(key, number)
            plain[key] = number
        else:
            table = table.without(key)
            plain.pop(key, None)
    assert {key: table.get(key) for key in table} == plain
    assert len(table) == len(plain)
    assert {key: Table(plain).get(key) for key in plain} == plain


def test_one_change_touches_few_entries_of_a_large_table() -> None:
    table = Table({str(n): n for n in range(50_000)})
    changed = table.with_("x", 1)

    def leaves(node: object) -> set[int]:
        return set().union(*map(leaves, node)) if isinstance(node, tuple) else {id(node)}  # pyright: ignore

    assert len(leaves(changed._root) - leaves(table._root)) == 1  # pyright: ignore[reportPrivateUsage]
    assert changed.get("x") == 1
    assert table.get("x") is None


def test_keys_of_equal_hash_are_told_apart() -> None:
    class Same(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return 7

        def __eq__(self, other: object) -> bool:
            return str(self) == str(other)

    keys = [Same(n) for n in range(100)]
    table = Table({key: str(key) for key in keys})
    assert all(table.get(key) == str(key) for key in keys)
    assert table.without(keys[3]).get(keys[3]) is None
