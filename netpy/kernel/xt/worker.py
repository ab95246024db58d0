# pyright: basic
"""The process that runs python-iptables: reads and edits legacy x_tables for `netpy.kernel.xt.backend`, one request at
a time.

A process of its own, because the library redirects file descriptor 1 of the whole process while it works, crashes
when two threads are in it, and takes no lock. Here it has one thread at work, and serves one family (libxtables loads
an extension for one only); its standard output is nobody's, and every request is carried out under /run/xtables.lock,
from a fresh copy of the tables, with one commit per table. Knows nothing of netpy's chains: it is told which rules to
put where. It ends when its socket does.

Requests and answers are lines of JSON on the socket whose number is the first argument:

    {"op": "read", "netns": "", "tables": [[4, "nat", ["PREROUTING", …] or null for all]]}
        → {"result": [{CHAIN: [POLICY, [[COMMENT, TARGET], …]], …}, …]}      chains that do not exist are left out
    {"op": "write", "netns": "", "tables": [{"family": 4, "table": "nat", "edits": […], "undo": […]}]}
        → {"result": null}; when one table is refused, `undo` is run on those already committed
    → {"error": TEXT, "kind": "kernel" | "netns"}

Edits: ["fill", CHAIN, [[RULE, COMMENT], …]]   make it if need be, with exactly these rules
       ["make", CHAIN]   ["remove", CHAIN]   neither minds if it is so already
       ["hook", PARENT, RULE, COMMENT, FIRST]   ["unhook", PARENT, END OF COMMENT]   a rule in a chain of others
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import fcntl
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from netpy.errors import NotFound
from netpy.kernel import netns

_LIBRARIES = ("usr/lib/*-linux-gnu*", "usr/lib64", "usr/lib", "lib/*-linux-gnu*", "lib64", "lib", "usr/local/lib")
_ATTEMPTS = 5


def _directories() -> list[Path]:
    return [directory for pattern in _LIBRARIES for directory in Path("/").glob(pattern)]


def _find_library(name: str) -> str | None:
    """The shared library of that name, by looking; ctypes' own way runs gcc and ldconfig, 26 times for this import."""
    for directory in _directories():
        for stem in (name, f"lib{name}"):
            found = sorted(directory.glob(f"{stem}.so.[0-9]*"))
            if found:
                return found[0].name
    return None


def _import_iptc() -> Any:
    extensions = [directory / "xtables" for directory in _directories() if (directory / "xtables").is_dir()]
    if extensions:
        os.environ.setdefault("XTABLES_LIBDIR", str(extensions[0]))
    original, ctypes.util.find_library = ctypes.util.find_library, _find_library
    try:
        import iptc
    finally:
        ctypes.util.find_library = original
    return iptc


class Tables:
    """The tables of one namespace, as they were when this was made."""

    def __init__(self, iptc: Any) -> None:
        self._iptc = iptc
        self._fresh: dict[tuple[int, str], Any] = {}
        self._seen: dict[tuple[Any, str], list[str]] = {}  # what `_comments` has read, and edits have made of it

    def open(self, family: int, name: str) -> Any:
        """The table, read from the kernel at its first use; the library would keep the handle of the last request."""
        key = (family, name)
        if key not in self._fresh:
            kind = self._iptc.Table6 if family == 6 else self._iptc.Table
            table = kind(name, autocommit=False)
            table.refresh()
            self._fresh[key] = table
        return self._fresh[key]

    def chains(self, family: int, name: str, only: list[str] | None) -> dict[str, tuple[str, list[tuple[str, str]]]]:
        table = self.open(family, name)
        names = [chain.name for chain in table.chains] if only is None else only
        return {each: (_policy(table, each), list(self._rules(table, each))) for each in names if table.is_chain(each)}

    def edit(self, family: int, name: str, edits: list[list[Any]]) -> None:
        table = self.open(family, name)
        for verb, chain, *rest in edits:
            match verb:
                case "fill":
                    self._fill(family, table, chain, rest[0])
                case "make":
                    self._make(table, chain)
                case "remove":
                    if table.is_chain(chain):
                        table.flush_entries(chain)
                        table.delete_chain(chain)
                        self._seen.pop((table, chain), None)
                case "hook":
                    self._hook(family, table, chain, rest)
                case "unhook":
                    self._unhook(table, chain, rest[0])
                case _:
                    raise ValueError(f"unknown edit {verb}")

    def _fill(self, family: int, table: Any, chain: str, rules: list[tuple[str, str]]) -> None:
        self._make(table, chain)
        table.flush_entries(chain)
        for rule, comment in rules:
            self._iptc.Chain(table, chain).append_rule(self._rule(family, rule, comment))
        self._seen[table, chain] = [comment for _, comment in rules]

    def _hook(self, family: int, table: Any, chain: str, details: list[Any]) -> None:
        rule, comment, first = details
        self._unhook(table, chain, comment)
        place = self._iptc.Chain(table, chain)
        (place.insert_rule if first else place.append_rule)(self._rule(family, rule, comment))
        comments = self._comments(table, chain)
        comments.insert(0 if first else len(comments), comment)

    def _make(self, table: Any, chain: str) -> None:
        if not table.is_chain(chain):
            table.create_chain(chain)

    def _unhook(self, table: Any, chain: str, comment: str) -> None:
        if not table.is_chain(chain):
            return
        comments = self._comments(table, chain)
        for number in reversed([number for number, each in enumerate(comments) if each.endswith(comment)]):
            # The library's own delete_rule compares texts; libiptc can delete by number, from 0.
            if not table._iptc.iptc_delete_num_entry(chain.encode(), number, table._handle):
                raise self._iptc.IPTCError(f"can't delete rule {number} of chain {chain}: {table.strerror()}")
            del comments[number]

    def _comments(self, table: Any, chain: str) -> list[str]:
        """Those of a chain's rules, read once: a chain that networks share holds rules of each of them."""
        if (table, chain) not in self._seen:
            self._seen[table, chain] = [comment for comment, _ in self._rules(table, chain)]
        return self._seen[table, chain]

    def _rules(self, table: Any, chain: str) -> Iterator[tuple[str, str]]:
        """Comment and target of each rule, read from the raw entry: the library's own decoding costs 80 µs a rule."""
        entry = table.first_rule(chain)
        while entry:
            start = ctypes.sizeof(type(entry))
            raw = ctypes.string_at(ctypes.addressof(entry), entry.target_offset)
            yield _comment(raw, (start + 7) & ~7), (table.get_target(entry) or b"").decode()
            entry = table.next_rule(entry)

    def _rule(self, family: int, text: str, comment: str) -> Any:
        rule = self._iptc.Rule6() if family == 6 else self._iptc.Rule()
        part: Any = None
        words = iter(text.split())
        for word in words:
            negated = "!" if word == "!" else ""
            option = next(words) if negated else word
            value = next(words)
            match option:
                case "-s" | "-d" | "-i" | "-o" | "-p":
                    setattr(rule, _FIELDS[option], negated + value)
                    if option in _MASKS:
                        self._compare_whole(rule, _MASKS[option], value)
                case "-m":
                    part = rule.create_match(value)
                case "-j":
                    rule.create_match("comment").comment = comment
                    part = rule.create_target(value)
                case _:
                    part.set_parameter(option.removeprefix("--"), negated + value)
        return rule

    def _compare_whole(self, rule: Any, mask: str, interface: str) -> None:
        """Make the rule compare every bit of an interface name.

        For IPv6 the library (1.2.0) compares only the last bit of each byte, so that `br-a` is `br-i` too, and the
        listing does not show it.
        """
        entry = rule.entry.ipv6 if hasattr(rule.entry, "ipv6") else rule.entry.ip
        significant = len(interface) - 1 if interface.endswith("+") else len(interface) + 1
        setattr(entry, mask, b"\xff" * significant)


_MASKS = {"-i": "iniface_mask", "-o": "outiface_mask"}
_FIELDS = {"-s": "src", "-d": "dst", "-i": "in_interface", "-o": "out_interface", "-p": "protocol"}


def _policy(table: Any, chain: str) -> str:
    """ACCEPT or DROP of a built-in chain, empty for others."""
    return table.get_policy(chain)[0].name if table.builtin_chain(chain) else ""


def _comment(raw: bytes, offset: int) -> str:
    """The comment of a rule whose matches begin at `offset`; each is a size, a name, a revision and its data."""
    while offset + 32 <= len(raw):
        size = int.from_bytes(raw[offset : offset + 2], sys.byteorder)
        if raw[offset + 2 : offset + 31].split(b"\0", 1)[0] == b"comment":
            return raw[offset + 32 : offset + size].split(b"\0", 1)[0].decode(errors="replace")
        offset += max(size, 32)
    return ""


@contextmanager
def _locked() -> Iterator[None]:
    """The lock that every iptables-legacy takes."""
    path = os.environ.get("XTABLES_LOCKFILE", "/run/xtables.lock")
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(iptc: Any, request: dict[str, Any]) -> list[Any]:
    tables = Tables(iptc)
    return [tables.chains(family, name, only) for family, name, only in request["tables"]]


def _write(iptc: Any, request: dict[str, Any]) -> None:
    """Edits every table in memory, then commits one after the other."""
    for attempt in range(_ATTEMPTS):
        tables = Tables(iptc)
        for each in request["tables"]:
            tables.edit(each["family"], each["table"], each["edits"])
        committed: list[dict[str, Any]] = []
        try:
            for each in request["tables"]:
                tables.open(each["family"], each["table"]).commit()
                committed.append(each)
            return
        except iptc.IPTCError as error:
            _take_back(iptc, committed)
            # Somebody who takes no lock was faster: the kernel refuses a table made from an older copy.
            if "temporarily unavailable" not in str(error) or attempt + 1 == _ATTEMPTS:
                raise


def _take_back(iptc: Any, committed: list[dict[str, Any]]) -> None:
    tables = Tables(iptc)
    for each in reversed(committed):
        tables.edit(each["family"], each["table"], each["undo"])
        tables.open(each["family"], each["table"]).commit()


def _answer(iptc: Any, request: dict[str, Any]) -> dict[str, Any]:
    operations: dict[str, Callable[[Any, dict[str, Any]], Any]] = {"read": _read, "write": _write}
    try:
        with _locked():
            work = operations[request["op"]]
            return {"result": netns.run_in(request["netns"], lambda: work(iptc, request))}
    except NotFound as error:
        return {"error": str(error), "kind": "netns"}
    except Exception as error:  # the library raises anything, and one bad request must not end the worker
        return {"error": _text(error), "kind": "kernel"}


def _text(error: Exception) -> str:
    text = str(error) or repr(error)
    return text.replace("b'", "").rstrip("'").lower()


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    with connection.makefile("rb") as requests, connection.makefile("wb") as answers:
        try:
            iptc = _import_iptc()
        except Exception as error:
            answers.write(json.dumps({"error": _text(error), "kind": "missing"}).encode() + b"\n")
            return
        answers.write(b'{"result": "ready"}\n')
        answers.flush()
        for line in requests:
            answers.write(json.dumps(_answer(iptc, json.loads(line))).encode() + b"\n")
            answers.flush()


if __name__ == "__main__":
    with contextlib.suppress(OSError):  # there is nobody to answer any more, or no memory for it: another is started
        main()
