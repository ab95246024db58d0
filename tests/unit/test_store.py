"""The store keeps records through crashes and threads; the codec gives back what it was given."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpy.errors import KernelError, Unsupported
from netpy.model import Endpoint, EndpointSpec, Network, NetworkSpec, PortBinding, Sandbox, Subnet, SubnetSpec
from netpy.store import Store, decode, encode


@pytest.fixture
def store(tmp_path: Path):
    store = Store(tmp_path / "netpy.db")
    yield store
    store.close()


def test_put_get_replace_delete(store: Store):
    store.put("network", "a", {"n": 1})
    store.put("network", "b", {"n": 2})
    store.put("network", "a", {"n": 3})
    store.put("container", "a", {"n": 4})
    assert store.get("network", "a") == {"n": 3}
    assert store.all("network") == [("a", {"n": 3}), ("b", {"n": 2})]
    store.delete("network", "a")
    store.delete("network", "a")
    assert store.get("network", "a") is None
    assert store.get("container", "a") == {"n": 4}


def test_a_transaction_is_all_or_nothing(store: Store):
    store.put("k", "old", {})
    with pytest.raises(ZeroDivisionError), store.transaction() as transaction:
        transaction.put("k", "new", {})
        transaction.delete("k", "old")
        assert transaction.get("k", "new") == {}
        assert transaction.all("k") == [("new", {})]
        raise ZeroDivisionError
    assert store.all("k") == [("old", {})]
    with store.transaction() as transaction:
        transaction.put("k", "new", {})
    assert store.get("k", "new") == {}


def test_a_transaction_inside_another_is_part_of_it(store: Store):
    with store.transaction() as outer:
        outer.put("k", "a", {})
        with pytest.raises(ZeroDivisionError), store.transaction() as inner:
            inner.put("k", "b", {})
            raise ZeroDivisionError
        with store.transaction() as inner:
            inner.put("k", "c", {})
        store.put("k", "d", {})
    assert [id for id, _ in store.all("k")] == ["a", "c", "d"]
    with pytest.raises(ZeroDivisionError), store.transaction():
        with store.transaction() as inner:
            inner.put("k", "e", {})
        raise ZeroDivisionError
    assert store.get("k", "e") is None


def test_records_survive_reopening(tmp_path: Path):
    first = Store(tmp_path / "db")
    first.put("k", "a", {"text": "ü"})
    first.close()
    first.close()
    second = Store(tmp_path / "db")
    assert second.get("k", "a") == {"text": "ü"}
    second.close()


def test_nothing_committed_is_lost_when_the_process_is_killed(tmp_path: Path):
    code = (
        "import os, sys; from netpy.store import Store; s = Store(sys.argv[1])\n"
        "for n in range(50): s.put('k', str(n), {'n': n})\n"
        "t = s.transaction(); tx = t.__enter__(); tx.put('k', 'half', {}); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "db")], env=environment, check=False)
    assert ended.returncode == -9
    store = Store(tmp_path / "db")
    assert [body["n"] for _, body in store.all("k")] == list(range(50))
    store.close()


def test_threads_do_not_disturb_each_other(store: Store):
    def count_up():
        for _ in range(50):
            with store.transaction() as transaction:
                body = transaction.get("k", "counter") or {"n": 0}
                transaction.put("k", "counter", {"n": body["n"] + 1})

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("k", "counter") == {"n": 200}


def test_it_is_in_wal_mode(tmp_path: Path, store: Store):
    connection = sqlite3.connect(tmp_path / "netpy.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_newer_schema_is_refused(tmp_path: Path):
    connection = sqlite3.connect(tmp_path / "db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Unsupported, match="schema 99"):
        Store(tmp_path / "db")


def test_a_damaged_file_and_a_missing_directory_are_refused(tmp_path: Path):
    (tmp_path / "db").write_bytes(b"this is no database" * 100)
    with pytest.raises(KernelError, match="opening the store"):
        Store(tmp_path / "db")
    with pytest.raises(KernelError, match="opening the store"):
        Store(tmp_path / "none" / "db")


def test_use_after_close_is_an_error(tmp_path: Path):
    store = Store(tmp_path / "db")
    store.close()
    with pytest.raises(KernelError, match="using the store"):
        store.get("k", "a")
    with pytest.raises(KernelError, match="writing the store"), store.transaction():
        pass


# ---- codec -----------------------------------------------------------------------------------------------------------


def test_network_round_trip():
    spec = NetworkSpec(
        name="n",
        subnets=(SubnetSpec(subnet="10.9.0.0/24", aux_addresses={"router": "10.9.0.2"}),),
        ipv6=True,
        labels={"a": "b"},
    )
    network = Network(id="ab" * 32, spec=spec, subnets=(Subnet(subnet="10.9.0.0/24"),), phase="deleting")
    assert decode(Network, encode(network)) == network


text = st.text(max_size=5)
bindings = st.builds(
    PortBinding, protocol=st.sampled_from(["tcp", "udp", "sctp"]), container_port=st.integers(1, 9), host_ip=text
)
specs = st.builds(
    EndpointSpec,
    name=text,
    names=st.lists(text).map(tuple),
    links=st.dictionaries(text, text),
    ports=st.lists(bindings, max_size=3).map(tuple),
    gateway_priority=st.integers(),
)
endpoints = st.builds(
    Endpoint,
    id=text,
    network_id=text,
    sandbox=st.builds(Sandbox, id=text, netns=text, dns=st.lists(text).map(tuple), resolve=st.booleans()),
    spec=specs,
    gateways=st.frozensets(st.sampled_from([4, 6])),
    facts=st.dictionaries(text, text),
    phase=st.sampled_from(["pending", "active"]),
)


@given(endpoints)
def test_endpoint_round_trip(endpoint: Endpoint):
    assert decode(Endpoint, encode(endpoint)) == endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    where: Path
    pair: tuple[str, int] = ("", 0)
    maybe: str | None = None
    inner: SubnetSpec | None = None
    ratio: float = 0.0
    document: dict[str, Any] = field(default_factory=dict)
    documents: tuple[dict[str, Any], ...] = ()
    kinds: frozenset[Literal["a", "b"]] = frozenset()
    nested: Mapping[str, SubnetSpec] = field(default_factory=dict)
    items: list[int] = field(default_factory=list)


def test_other_types_round_trip():
    mixed = Mixed(
        where=Path("/a"),
        pair=("x", 1),
        inner=SubnetSpec(subnet="10.0.0.0/8"),
        ratio=1,
        document={"a": [1, {"b": None}]},
        documents=({"c": 1},),
        kinds=frozenset({"b", "a"}),
        nested={"n": SubnetSpec(gateway="10.0.0.1")},
        items=[1, 2],
    )
    body = encode(mixed)
    assert body["kinds"] == ["a", "b"]
    assert decode(Mixed, body) == mixed


def test_missing_fields_take_defaults_and_unknown_ones_are_ignored():
    assert decode(Sandbox, {"id": "a", "netns": "b", "future": 1}) == Sandbox(id="a", netns="b")


@pytest.mark.parametrize("body", [{"id": 1, "netns": ""}, {"id": "a"}, {"id": "a", "netns": "", "resolve": "yes"}])
def test_what_does_not_fit_is_refused(body: dict[str, Any]):
    with pytest.raises((ValueError, TypeError)):
        decode(Sandbox, body)


def test_a_literal_is_checked():
    body = {**encode(Network(id="a", spec=NetworkSpec(name="n"))), "phase": "floating"}
    with pytest.raises(ValueError, match="floating"):
        decode(Network, body)


def test_what_is_no_dataclass_is_refused():
    with pytest.raises(TypeError):
        encode({"a": 1})
    with pytest.raises(TypeError):
        encode(Mixed(where=Path("/"), document={"a": object()}))


def test_some_fields_are_changed_and_the_others_stay_as_they_were():
    store = Store(":memory:")
    body = {"phase": "pending", "text": 'ü " \\ \u2028', "numbers": [1, 2.5, True, None], "deep": {"a.b": {"c": "x"}}}
    store.put("thing", "1", body)
    assert store.set("thing", "1", {"phase": "active", "state": {"pid": 7, "names": ["x", "y"]}, "deep": {}})
    expected = {**body, "phase": "active", "state": {"pid": 7, "names": ["x", "y"]}, "deep": {}}
    assert store.get("thing", "1") == expected
    assert not store.set("thing", "2", {"phase": "active"})
    assert store.get("thing", "2") is None


def test_a_transaction_that_sqlite_has_ended_says_why(store: Store) -> None:
    with pytest.raises(KernelError, match="disk is full"), store.transaction() as inside:
        inside.put("network", "a", {})
        inside._connection.execute("ROLLBACK")  # as it does of its own accord when there is no more room
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error
    assert store.all("network") == []
    store.put("network", "b", {})
    assert len(store.all("network")) == 1
