"""A way out when the file of records is damaged: what can be read is kept, and the damaged file stays beside it.

A damaged page takes the rows on it, and a scan ends there; so the walk goes on behind it, by the rows' numbers, and
only those are lost to which no way leads. Of the rest those stay that whoever keeps such records can read; the others
are named. The store must not be open. Does I/O.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from netpy.store import MISFITS, Json, Store, parsed

Readers = Mapping[str, Callable[[Json], object]]
Row = tuple[str, str, str]  # kind, id, text
_WIDEST_GAP = 10_000  # numbers in a row that lead nowhere: then that was the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvaged:
    """What came of it: how many records were kept, which were not (`kind id`), where the damaged file is now."""

    kept: int
    lost: tuple[str, ...]
    aside: Path


def salvage(path: Path, readers: Readers) -> Salvaged:
    """Put a new store in place of the one at `path`, with its readable records.

    `readers` raise for a record of their kind that they cannot read; records of other kinds are kept as they are.
    Whatever happens, the old file is not changed: it gets another name, last of all.
    """
    rows = _rows(path)
    fresh = path.with_name(f"{path.name}.salvaged")
    fresh.unlink(missing_ok=True)
    store = Store(fresh)
    lost: list[str] = []
    with store.transaction() as transaction:
        for kind, id, text in rows:
            try:
                body = parsed(text)
                readers.get(kind, _as_it_is)(body)
            except MISFITS:
                lost.append(f"{kind} {id}")
            else:
                transaction.put(kind, id, body)
    store.close()
    aside = _set_aside(path)
    fresh.rename(path)
    return Salvaged(kept=len(rows) - len(lost), lost=tuple(lost), aside=aside)


def _as_it_is(body: Json) -> object:
    return body


def _rows(path: Path) -> list[Row]:
    """Every row that can still be found, in the order in which they were put. Works on a copy, as looking may write."""
    with tempfile.TemporaryDirectory(prefix="salvage-", dir=path.parent) as place:
        copy = Path(place) / path.name
        for suffix in ("", "-wal"):
            if path.with_name(path.name + suffix).exists():
                shutil.copyfile(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
        connection = sqlite3.connect(copy)
        connection.text_factory = _text
        try:
            return list(_walk(connection))
        finally:
            connection.close()


def _walk(connection: sqlite3.Connection) -> Iterator[Row]:
    """The rows one by one; where the way to the next is damaged, from the number after."""
    query = "SELECT number, kind, id, body FROM record WHERE number > ? ORDER BY number LIMIT 1"
    number, stumbled = 0, 0
    while stumbled < _WIDEST_GAP:
        try:
            row = connection.execute(query, (number,)).fetchone()
        except sqlite3.Error:
            row = (0, "", "", "")
        if row is None:
            return
        if row[0] <= number:  # damage can also lead back
            number, stumbled = number + 1, stumbled + 1
            continue
        number, stumbled = int(row[0]), 0
        yield row[1], row[2], row[3]


def _text(data: bytes) -> str:
    """Text as it is, or with a mark where it is none: such a row is looked at, and found to be no record."""
    return data.decode(errors="replace")


def _set_aside(path: Path) -> Path:
    """Rename the file, with the log that belongs to it, to the next free name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm", ""):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(aside.with_name(aside.name + suffix))
    return aside
