"""Records on disk: one SQLite file, and the way between records and JSON.

A record is a JSON object under a kind and an id. The file is in WAL mode, so that a reader (a backup, `sqlite3`) never
waits, and `synchronous=NORMAL`: a killed process loses nothing that was committed, a power cut may lose the last
transactions but never corrupts. One connection serves all threads, behind a lock; a transaction holds that
lock from its first statement to its commit, so transactions are exclusive and happen one after the other.

What the records mean is left to those who write them. Does I/O.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
import types
import typing
from collections.abc import Callable, Generator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from netpy.errors import KernelError, NetpyError, StoreDamaged, Unsupported
from netpy.faults import point

Json = dict[str, Any]
T = TypeVar("T")
Decoder = Callable[[Any], Any]

SCHEMA = 1
MISFITS = (ValueError, TypeError, KeyError, AttributeError, NetpyError)  # what reading a record of another shape raises
_REFUSALS = frozenset(  # what the machine refuses; all else that SQLite complains of is in the file
    getattr(sqlite3, f"SQLITE_{each}")
    for each in ("PERM", "BUSY", "LOCKED", "NOMEM", "READONLY", "IOERR", "FULL", "CANTOPEN", "AUTH")
)
_TABLE = """
CREATE TABLE IF NOT EXISTS record (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (kind, id)
)
"""
_PUT = "INSERT INTO record (kind, id, body) VALUES (?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body"


class Transaction:
    """What can be done inside `Store.transaction()`: read your own writes, all or nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, kind: str, id: str) -> Json | None:
        """The record, or None."""
        query = "SELECT body FROM record WHERE kind = ? AND id = ?"
        row = self._connection.execute(query, (kind, id)).fetchone()
        return None if row is None else _parsed(kind, id, row[0])

    def all(self, kind: str) -> list[tuple[str, Json]]:
        """Every (id, record) of a kind, in the order in which they were first put."""
        query = "SELECT id, body FROM record WHERE kind = ? ORDER BY number"
        return [(id, _parsed(kind, id, body)) for id, body in self._connection.execute(query, (kind,))]

    def put(self, kind: str, id: str, body: Json) -> None:
        """Add the record, or replace it where it stands."""
        self._connection.execute(_PUT, (kind, id, _written(body)))

    def set(self, kind: str, id: str, fields: Json) -> bool:
        """Change some fields of a record in place, however large the rest; False when there is no such record."""
        values = [part for name, value in fields.items() for part in (f"$.{name}", _written(value))]
        change = f"UPDATE record SET body = json_set(body{', ?, json(?)' * len(fields)}) WHERE kind = ? AND id = ?"
        return self._connection.execute(change, (*values, kind, id)).rowcount > 0

    def delete(self, kind: str, id: str) -> None:
        """Remove the record; succeeds when there is none."""
        self._connection.execute("DELETE FROM record WHERE kind = ? AND id = ?", (kind, id))


class Store:
    """The records of one daemon. `path` is a file that is made when missing, or ":memory:". Thread-safe.

    Unsupported when a newer netpy wrote the file, StoreDamaged when it cannot be read, KernelError when SQLite refuses
    otherwise (disk full, no permission).
    """

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        self._lock = threading.RLock()
        self._depth = 0
        try:
            self._connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            self._prepare()
        except sqlite3.Error as error:
            raise self._translated_error("opening", error) from error

    @contextmanager
    def transaction(self) -> Generator[Transaction]:
        """Commits at the end, rolls back on an exception. One inside another in the same thread is part of it."""
        with self._lock:
            save = f"nested{self._depth}"
            begin, commit, rollback = (
                (f"SAVEPOINT {save}", f"RELEASE {save}", f"ROLLBACK TO {save}; RELEASE {save}")
                if self._depth
                else ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
            )
            self._depth += 1
            try:
                self._connection.execute(begin)
                try:
                    yield Transaction(self._connection)
                    point("before a commit")
                    self._connection.execute(commit)
                    point("after a commit")
                except BaseException:
                    if self._connection.in_transaction:  # a full disk has ended it already
                        for statement in rollback.split("; "):
                            self._connection.execute(statement)
                    raise
            except sqlite3.Error as error:
                raise self._translated_error("writing", error) from error
            finally:
                self._depth -= 1

    def get(self, kind: str, id: str) -> Json | None:
        """The record, or None."""
        with self._lock, self._translated():
            return Transaction(self._connection).get(kind, id)

    def all(self, kind: str) -> list[tuple[str, Json]]:
        """Every (id, record) of a kind, in the order in which they were first put."""
        with self._lock, self._translated():
            return Transaction(self._connection).all(kind)

    def load(self, kind: str, read: Callable[[Json], T]) -> list[tuple[str, T]]:
        """As `all`, each record made into what it stands for. StoreDamaged names the first that does not fit."""
        found: list[tuple[str, T]] = []
        for id, body in self.all(kind):
            try:
                found.append((id, read(body)))
            except MISFITS as error:
                raise StoreDamaged(
                    f"the store {self._path}: the record {kind} {id} cannot be read: {error!r}"
                ) from error
        return found

    def put(self, kind: str, id: str, body: Json) -> None:
        """Add the record, or replace it where it stands: a transaction of one statement."""
        with self._lock, self._translated():
            point("before a commit")
            Transaction(self._connection).put(kind, id, body)
            point("after a commit")

    def set(self, kind: str, id: str, fields: Json) -> bool:
        """Change some fields of a record in place; False when there is no such record."""
        with self._lock, self._translated():
            point("before a commit")
            found = Transaction(self._connection).set(kind, id, fields)
            point("after a commit")
            return found

    def delete(self, kind: str, id: str) -> None:
        """Remove the record; succeeds when there is none."""
        with self._lock, self._translated():
            point("before a commit")
            Transaction(self._connection).delete(kind, id)
            point("after a commit")

    def close(self) -> None:
        """Close the file. The store cannot be used afterwards; closing twice does no harm."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA:
            connection.close()
            raise Unsupported(
                f"the store {self._path} has schema {version}, this netpy knows {SCHEMA}: a newer version wrote it"
            )
        connection.execute(_TABLE)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
        wrong = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if wrong != "ok":
            raise sqlite3.DatabaseError(wrong)
        Transaction(connection).all("")  # a table of that name with other columns is not ours

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._translated_error("using", error) from error

    def _translated_error(self, doing: str, error: sqlite3.Error) -> KernelError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says more of the same
        kind = KernelError if code in _REFUSALS else StoreDamaged
        return kind(f"{doing} the store {self._path}: {error}")


def parsed(text: object) -> Json:
    """The body of a record. ValueError or TypeError when it is none."""
    body = json.loads(cast(str, text))
    if not isinstance(body, dict):
        raise ValueError("no JSON object")
    return cast(Json, body)


def _parsed(kind: str, id: str, text: object) -> Json:
    try:
        return parsed(text)
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"the record {kind} {id} is damaged: {error}") from error


def encode(obj: object) -> Json:
    """A dataclass as JSON: fields by name, tuples as lists, sets as sorted lists, mappings as objects."""
    if not dataclasses.is_dataclass(obj) or isinstance(obj, type):
        raise TypeError(f"not a dataclass: {obj!r}")
    return cast(Json, _encoded(obj))


def encode_fields(fields: Mapping[str, object]) -> Json:
    """Some fields of a dataclass by name, as `encode` writes them."""
    return {name: _encoded(value) for name, value in fields.items()}


def _written(body: object) -> str:
    return json.dumps(body, separators=(",", ":"))


def decode(cls: type[T], body: Json) -> T:
    """The dataclass `cls` from what `encode` made of it.

    A field that is missing takes its default, one that is unknown is left out: records of other versions stay readable.
    ValueError or TypeError when the body does not fit.
    """
    return cast(T, _decoder(cls)(body))


def _encoded(value: object) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if (names := _dataclass_fields(kind)) is not None:
        fields = [(name, getattr(value, name)) for name in names]
        return {name: field if type(field) in _PLAIN else _encoded(field) for name, field in fields}
    match value:
        case bool() | int() | float() | str():
            return value
        case Path():
            return str(value)
        case Mapping():
            items = cast(Mapping[str, object], value).items()
            return {str(key): _encoded(item) for key, item in items}
        case frozenset() | set():
            return sorted(_encoded(item) for item in cast(AbstractSet[object], value))
        case tuple() | list():
            return [_encoded(item) for item in cast(tuple[object, ...], value)]
        case _:
            raise TypeError(f"cannot be stored: {value!r}")


_PLAIN = frozenset({type(None), bool, int, float, str})


@cache
def _dataclass_fields(cls: type) -> tuple[str, ...] | None:
    return _field_names(cls) if dataclasses.is_dataclass(cls) else None


@cache
def _field_names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


@cache
def _decoder(kind: Any) -> Decoder:
    """A function that turns JSON into `kind`, worked out once per type."""
    if dataclasses.is_dataclass(kind):
        return _dataclass_decoder(cast(type, kind))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Path:
        return Path
    if origin is Literal:
        return _literal_decoder(arguments)
    if origin in (types.UnionType, typing.Union):
        return _union_decoder(arguments)
    if origin in (tuple, list, set, frozenset):
        return _sequence_decoder(origin, arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_decoder(_decoder(arguments[1]))
    return _scalar_decoder(kind) if kind in (str, int, bool, float) else _as_it_is


def _as_it_is(body: Any) -> Any:
    return body


def _dataclass_decoder(cls: type) -> Decoder:
    hints = typing.get_type_hints(cls)
    fields = [(name, _decoder(hints[name])) for name in _field_names(cls)]
    return lambda body: cls(**{name: convert(body[name]) for name, convert in fields if name in body})


def _scalar_decoder(kind: Any) -> Decoder:
    def scalar(body: Any) -> Any:
        if kind is float and type(body) is int:
            return float(body)
        if type(body) is not kind:
            raise ValueError(f"{body!r} is no {kind.__name__}")
        return body

    return scalar


def _literal_decoder(allowed: tuple[Any, ...]) -> Decoder:
    def literal(body: Any) -> Any:
        if body not in allowed:
            raise ValueError(f"{body!r} is not one of {allowed}")
        return body

    return literal


def _mapping_decoder(item: Decoder) -> Decoder:
    def mapping(body: Any) -> Any:
        if not isinstance(body, dict):
            raise ValueError(f"{body!r} is no object")
        return {key: item(value) for key, value in cast(Json, body).items()}

    return mapping


def _union_decoder(arguments: tuple[Any, ...]) -> Decoder:
    """Only `X | None` is told apart; what else there may be is JSON already."""
    rest = [argument for argument in arguments if argument is not types.NoneType]
    convert: Decoder = _decoder(rest[0]) if len(rest) == 1 else _as_it_is
    return lambda body: None if body is None else convert(body)


def _sequence_decoder(origin: Callable[..., Any], arguments: tuple[Any, ...]) -> Decoder:
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        each = [_decoder(argument) for argument in arguments]

        def fixed(body: Any) -> tuple[Any, ...]:
            return tuple(convert(item) for convert, item in zip(each, body, strict=True))

        return fixed
    item_decoder = _decoder(arguments[0])
    return lambda body: origin(item_decoder(item) for item in body)
