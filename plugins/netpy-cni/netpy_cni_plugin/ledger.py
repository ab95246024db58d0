"""What the plugin remembers: networks, attachments and their host ports, in SQLite, shared by many processes at once.

A row is written before the kernel is touched and dropped after, so whatever is in the kernel has a row, and a process
that dies leaves one behind: for the runtime's DEL, or for GC. Addresses and ports are unique by the tables' own keys.
WAL without a sync per commit: what a power cut takes away is the memory of namespaces that it took away as well. The
process ends without closing the file, which would sync (`launch`).

A lock file keeps what changes whole networks (exclusive) apart from attachments (shared). I/O: two files.
"""

from __future__ import annotations

import _sqlite3 as sqlite3  # the package around it loads datetime, for adapters that are not used here
import fcntl
import os

from netpy_cni_plugin.protocol import CONFLICT, EXHAUSTED, INVALID, IO, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS network (
    name TEXT PRIMARY KEY, conf TEXT NOT NULL, record TEXT NOT NULL, pools TEXT NOT NULL,
    cursor4 INTEGER NOT NULL DEFAULT 0, cursor6 INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS recipe (network TEXT, ifname TEXT, body BLOB NOT NULL, PRIMARY KEY (network, ifname));
CREATE TABLE IF NOT EXISTS attachment (
    network TEXT, container TEXT, ifname TEXT, id TEXT NOT NULL, netns TEXT NOT NULL, phase TEXT NOT NULL,
    address4 TEXT, address6 TEXT, mac TEXT NOT NULL, more TEXT NOT NULL, PRIMARY KEY (network, container, ifname)
);
CREATE UNIQUE INDEX IF NOT EXISTS address4 ON attachment (network, address4);
CREATE UNIQUE INDEX IF NOT EXISTS address6 ON attachment (network, address6);
CREATE TABLE IF NOT EXISTS port (
    protocol TEXT, port INTEGER, host TEXT, id TEXT NOT NULL, target INTEGER NOT NULL,
    PRIMARY KEY (protocol, port, host)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS port_id ON port (id);
"""
_COLUMNS = "network, container, ifname, id, netns, phase, address4, address6, mac, more"
_CURSORS = 1 << 62  # SQLite's numbers have 64 bits; a subnet of IPv6 may have more addresses
_ANY = {"4": "0.0.0.0", "6": "::"}


def directory() -> str:
    """Where the state is: `$NETPY_CNI_STATE`, else /var/lib/netpy-cni."""
    return os.environ.get("NETPY_CNI_STATE") or "/var/lib/netpy-cni"


class Ledger:
    """The open store, and the lock on it."""

    def __init__(self, *, exclusive: bool = False) -> None:
        path = directory()
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)  # noqa: PTH103 - pathlib is slow to load
            self._lock = os.open(f"{path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.hold(exclusive=exclusive)
            self._db = sqlite3.connect(f"{path}/state.db", isolation_level=None, timeout=20)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise CniError(IO, f"cannot open the store in {path}", str(error)) from error

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise CniError(IO, f"the store in {directory()} has schema {version}, this netpy-cni knows {SCHEMA}")
        if version < SCHEMA:
            self._db.executescript(f"BEGIN IMMEDIATE;{_TABLES}PRAGMA user_version = {SCHEMA};COMMIT;")

    def hold(self, *, exclusive: bool) -> None:
        """Wait until nobody changes networks; `exclusive`: until nobody does anything."""
        fcntl.flock(self._lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)

    def begin(self) -> None:
        """A transaction of writing; others wait."""
        self._db.execute("BEGIN IMMEDIATE")

    def end(self, *, commit: bool = True) -> None:
        self._db.execute("COMMIT" if commit else "ROLLBACK")

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)

    # ---- small things --------------------------------------------------------------------------------------------

    def fact(self, name: str) -> str:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def note(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    # ---- networks ------------------------------------------------------------------------------------------------

    def networks(self) -> list[tuple[str, str]]:
        """(name, record) of every network."""
        return self._db.execute("SELECT name, record FROM network ORDER BY name").fetchall()

    def network(self, name: str) -> tuple[str, str, str] | None:
        """(fixed configuration, record, pools) of a network."""
        return self._db.execute("SELECT conf, record, pools FROM network WHERE name = ?", (name,)).fetchone()

    def keep_network(self, name: str, conf: str, record: str, pools: str) -> None:
        values = (name, conf, record, pools)
        self._db.execute("INSERT OR REPLACE INTO network (name, conf, record, pools) VALUES (?, ?, ?, ?)", values)
        self._db.execute("DELETE FROM recipe WHERE network = ?", (name,))

    def drop_network(self, name: str) -> None:
        self._db.execute("DELETE FROM network WHERE name = ?", (name,))
        self._db.execute("DELETE FROM recipe WHERE network = ?", (name,))

    def recipe(self, network: str, ifname: str) -> str:
        query = "SELECT body FROM recipe WHERE network = ? AND ifname = ?"
        row = self._db.execute(query, (network, ifname)).fetchone()
        return row[0] if row else ""

    def keep_recipe(self, network: str, ifname: str, body: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO recipe VALUES (?, ?, ?)", (network, ifname, body))

    # ---- attachments ---------------------------------------------------------------------------------------------

    def attachment(self, network: str, container: str, ifname: str) -> tuple[Any, ...] | None:
        query = f"SELECT {_COLUMNS} FROM attachment WHERE network = ? AND container = ? AND ifname = ?"
        return self._db.execute(query, (network, container, ifname)).fetchone()

    def attachments(self, network: str = "") -> list[tuple[Any, ...]]:
        """Those of one network, or all."""
        query = f"SELECT {_COLUMNS} FROM attachment WHERE ? IN ('', network) ORDER BY network, container, ifname"
        return self._db.execute(query, (network,)).fetchall()

    def count(self, network: str) -> int:
        return self._db.execute("SELECT COUNT(*) FROM attachment WHERE network = ?", (network,)).fetchone()[0]

    def keep(self, row: tuple[Any, ...]) -> None:
        """Add an attachment. CniError when it is there, or its address is somebody's."""
        try:
            self._db.execute(f"INSERT INTO attachment ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError as error:
            if self.attachment(*row[:3]):
                message = f"container {row[1]} has the interface {row[2]} in network {row[0]} already"
                raise CniError(INVALID, message, "DEL has to come before another ADD") from error
            addresses = ", ".join(each for each in row[6:8] if each)
            raise CniError(CONFLICT, f"address already in use: {addresses} in network {row[0]}") from error

    def activate(self, id: str, more: str) -> None:
        self._db.execute("UPDATE attachment SET phase = 'active', more = ? WHERE id = ?", (more, id))

    def drop(self, id: str) -> None:
        """Forget an attachment: its addresses and ports are free."""
        self._db.execute("DELETE FROM port WHERE id = ?", (id,))
        self._db.execute("DELETE FROM attachment WHERE id = ?", (id,))

    # ---- addresses and ports -------------------------------------------------------------------------------------

    def free_address(self, network: str, pool: list[Any]) -> int:
        """The next free address of a pool (family, first, last, taken…) as a number. Freed ones rest longest."""
        family, first, last, *taken = pool
        cursor = self._db.execute(f"SELECT cursor{family} FROM network WHERE name = ?", (network,)).fetchone()[0]
        start = first + cursor if first + cursor <= last else first
        query = f"SELECT 1 FROM attachment WHERE network = ? AND address{family} = ?"
        number, tried = start, 0
        limit = min(last - first + 1, self.count(network) + len(taken) + 1)
        while number in taken or self._db.execute(query, (network, text(number, family))).fetchone():
            number, tried = (number + 1 if number < last else first), tried + 1
            if tried >= limit:
                span = f"{text(first, family)} to {text(last, family)}"
                raise CniError(EXHAUSTED, f"no free address in network {network}", f"{span} are all given")
        self._db.execute(
            f"UPDATE network SET cursor{family} = ? WHERE name = ?", ((number + 1 - first) % _CURSORS, network)
        )
        return number

    def give_ports(self, id: str, wanted: Iterable[tuple[str, int, str, int]]) -> None:
        """(protocol, host port, host address, container port) each. CniError when another attachment has it."""
        for protocol, port, host, target in wanted:
            everywhere = _ANY["6" if ":" in host else "4"]
            query = "SELECT host FROM port WHERE protocol = ? AND port = ?"
            for (other,) in self._db.execute(query, (protocol, port)).fetchall():
                if other == host or (everywhere in (other, host) and (":" in other) == (":" in host)):
                    where = f"[{host}]" if ":" in host else host
                    raise CniError(CONFLICT, f"host port {where}:{port}/{protocol} is already allocated")
            self._db.execute("INSERT INTO port VALUES (?, ?, ?, ?, ?)", (protocol, port, host, id, target))

    def ports(self, id: str) -> list[tuple[str, int, str, int]]:
        """(protocol, host port, host address, container port) of an attachment."""
        return self._db.execute("SELECT protocol, port, host, target FROM port WHERE id = ?", (id,)).fetchall()

    def probe(self) -> None:
        """CniError unless the store can be read and written."""
        try:
            self.begin()
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('probe', '')")
            self.end(commit=False)
            check = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            raise CniError(IO, f"cannot write the store in {directory()}", str(error)) from error
        if check != "ok":
            raise CniError(IO, f"the store in {directory()} is damaged", check)


def text(number: int, family: int) -> str:
    """The address of that number, as text."""
    from _socket import AF_INET, AF_INET6, inet_ntop

    return inet_ntop(*((AF_INET6, number.to_bytes(16, "big")) if family == 6 else (AF_INET, number.to_bytes(4, "big"))))
