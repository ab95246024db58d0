"""A damaged file of records: told plainly, never begun anew in silence, and salvaged with all that can be read."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from engine.opening import READERS, open_store
from netpy.errors import NetpyError, StoreDamaged, Unsupported
from netpy.model import Network, NetworkSpec
from netpy.salvage import salvage
from netpy.store import Store, decode, encode


def network(number: int) -> Network:
    return Network(id=f"{number:064x}", spec=NetworkSpec(name=f"net{number}"), subnets=())


def filled(path: Path, count: int = 300) -> None:
    store = Store(path)
    with store.transaction() as transaction:
        for number in range(count):
            transaction.put("network", network(number).id, encode(network(number)))
    store.close()


def names(store: Store) -> set[str]:
    return {each.name for _, each in store.load("network", lambda body: decode(Network, body))}


def spoil(path: Path, *places: int) -> None:
    data = bytearray(path.read_bytes())
    for place in places:
        data[place : place + 64] = random.Random(place).randbytes(64)
    path.write_bytes(data)


@pytest.mark.parametrize("kept", [50, 99, 512, 4096, 5000, 40960])
def test_a_file_that_was_cut_off_is_damaged(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "netpy.db"
    filled(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StoreDamaged, match=r"netpy\.db"):
        Store(path)


@pytest.mark.parametrize("seed", range(20))
def test_a_spoilt_file_is_damaged_or_reads_as_it_was(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "netpy.db"
    filled(path)
    size = path.stat().st_size
    spoil(path, *(random.Random(seed).randrange(size - 64) for _ in range(3)))
    try:
        store = Store(path)
        found = names(store)
        store.close()
    except (StoreDamaged, Unsupported):
        return
    assert found <= {f"net{n}" for n in range(300)} or len(found) <= 300


def test_another_programs_database_is_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "netpy.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE record (name TEXT)")
    other.commit()
    other.close()
    with pytest.raises(StoreDamaged, match="no such column"):
        Store(path)


def test_a_record_that_is_none_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "netpy.db")
    store.put("network", "abc", {"id": 7})
    with pytest.raises(StoreDamaged, match="the record network abc cannot be read"):
        names(store)
    store.close()
    raw = sqlite3.connect(tmp_path / "netpy.db")
    raw.execute("UPDATE record SET body = '{'")
    raw.commit()
    raw.close()
    again = Store(tmp_path / "netpy.db")
    with pytest.raises(StoreDamaged, match="the record network abc is damaged"):
        names(again)
    again.close()


def test_salvage_keeps_what_can_be_read_and_names_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "netpy.db"
    filled(path)
    store = Store(path)
    store.put("network", "strange", {"id": 7})
    store.put("something", "else", {"kept": "as it is"})
    store.close()
    whole = path.read_bytes()
    done = salvage(path, READERS)
    assert (done.kept, done.lost) == (301, ("network strange",))
    assert done.aside.read_bytes() == whole, "the damaged file stays as it was"
    again = Store(path)
    assert names(again) == {f"net{n}" for n in range(300)}
    assert again.get("something", "else") == {"kept": "as it is"}
    again.close()


@pytest.mark.parametrize("seed", range(8))
def test_salvage_reads_most_of_a_spoilt_file(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "netpy.db"
    filled(path)
    size = path.stat().st_size
    spoil(path, *(random.Random(seed).randrange(4096, size - 64) for _ in range(3)))
    done = salvage(path, READERS)
    store = Store(path)
    assert len(names(store)) == done.kept
    assert done.kept >= 200
    store.close()


def test_of_rubbish_nothing_is_salvaged_and_a_second_time_keeps_both(tmp_path: Path) -> None:
    path = tmp_path / "netpy.db"
    path.write_bytes(b"rubbish" * 1000)
    first = salvage(path, READERS)
    assert (first.kept, first.aside.name) == (0, "netpy.db.damaged-1")
    assert salvage(path, READERS).aside.name == "netpy.db.damaged-2"
    assert first.aside.read_bytes() == b"rubbish" * 1000


def test_an_empty_store_beside_containers_is_not_begun_anew(tmp_path: Path) -> None:
    open_store(tmp_path, salvaging=False).close()
    (tmp_path / "containers" / "abc").mkdir(parents=True)
    open_store(tmp_path, salvaging=False).close()
    (tmp_path / "netpy.db").unlink()
    with pytest.raises(StoreDamaged, match="is empty, while there are containers"):
        open_store(tmp_path, salvaging=False)
    assert not (tmp_path / "netpy.db").exists()
    open_store(tmp_path, salvaging=True).close()


def test_what_is_no_directory_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(NetpyError) as told:
        Store(tmp_path / "missing" / "netpy.db")
    assert not isinstance(told.value, StoreDamaged)
