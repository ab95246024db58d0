"""The daemon's end of the x_tables worker: starts it when it is first needed, asks it, starts it again when it died.

The worker (`netpy.kernel.xt.worker`) works in the namespace in which this object was made, whoever uses it.
Starting it costs 150 ms, a request 1 ms or so. Thread-safe: one request at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netpy
from netpy.errors import KernelError, NotFound, Unsupported
from netpy.faults import point
from netpy.kernel.netns import run_in
from netpy.kernel.xt.sizes import Sizes
from netpy.model import Family

_NAMES: dict[Family, str] = {4: "ip_tables_names", 6: "ip6_tables_names"}
_MISSING = "legacy x_tables cannot be used: install the package iptables, or choose the nftables backend"


@dataclass(frozen=True, slots=True)
class ChainRules:
    """A chain as it is: its policy, if it is a built-in one, and comment and target of each rule."""

    policy: str
    rules: tuple[tuple[str, str], ...]

    @property
    def comments(self) -> list[str]:
        return [comment for comment, _ in self.rules]


@dataclass(frozen=True, slots=True)
class TableEdits:
    """Edits of one table (see the worker), and those that take them back."""

    family: Family
    table: str
    edits: list[list[Any]]
    undo: list[list[Any]]


Wanted = tuple[Family, str, Sequence[str] | None]


class Worker:
    """Legacy x_tables, through a process for each family: libxtables loads an extension for one family only."""

    def __init__(self) -> None:
        self._namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._processes: dict[Family, _Process] = {}
        self._sizes = Sizes(lambda work: run_in(f"/proc/self/fd/{self._namespace}", work))
        self.disturbed = self._sizes.disturbed

    def tables(self, family: Family) -> list[str]:
        """The legacy tables that are there; looking does not make them, and does not start the worker."""
        path = Path("/proc/thread-self/net") / _NAMES[family]

        def names() -> list[str]:
            return path.read_text().split() if path.exists() else []

        return run_in(f"/proc/self/fd/{self._namespace}", names)

    def read(self, netns: str, wanted: Sequence[Wanted]) -> list[dict[str, ChainRules]]:
        """For each (family, table, chain names or None for all) the chains that are there. NotFound: no namespace."""
        known = netns or all(self._sizes.knows(family, table) for family, table, _ in wanted)
        with nullcontext() if known else self._sizes.writing():
            return self._read(netns, wanted)

    def _read(self, netns: str, wanted: Sequence[Wanted]) -> list[dict[str, ChainRules]]:
        found: dict[int, dict[str, ChainRules]] = {}
        families: dict[Family, None] = dict.fromkeys(each[0] for each in wanted)
        for family in families:
            places = [place for place, each in enumerate(wanted) if each[0] == family]
            tables = [wanted[place] for place in places]
            answer = self._request(family, {"op": "read", "netns": netns, "tables": tables})
            found.update(zip(places, map(_chains, answer), strict=True))
        return [found[place] for place in range(len(wanted))]

    def write(self, netns: str, edits: Sequence[TableEdits]) -> None:
        """Carry out edits, all or none, one commit per table. KernelError says what was refused."""
        with nullcontext() if netns else self._sizes.writing():
            self._write_all(netns, edits)

    def _write_all(self, netns: str, edits: Sequence[TableEdits]) -> None:
        done: list[TableEdits] = []
        families: dict[Family, None] = dict.fromkeys(each.family for each in edits)
        for family in families:
            part = [each for each in edits if each.family == family]
            try:
                self._write(family, netns, part)
            except KernelError:
                for each in done:
                    self._write(each.family, netns, [dataclasses.replace(each, edits=each.undo, undo=[])])
                raise
            done += part

    def close(self) -> None:
        with self._lock:
            for process in self._processes.values():
                process.end()
            self._processes.clear()
            self._sizes.close()
            if self._namespace >= 0:
                os.close(self._namespace)
            self._namespace = -1

    def _write(self, family: Family, netns: str, edits: Sequence[TableEdits]) -> None:
        tables = [dataclasses.asdict(each) for each in edits]
        point("before a transaction of rules")
        self._request(family, {"op": "write", "netns": netns, "tables": tables})
        point("after a transaction of rules")

    def _request(self, family: Family, request: dict[str, Any]) -> Any:
        with self._lock:
            if self._namespace < 0:
                raise KernelError("the x_tables worker has been closed")
            process = self._processes.get(family)
            if process is None:
                process = self._processes[family] = _Process(self._namespace)
            return process.ask(request | {"netns": request["netns"] or f"/proc/self/fd/{self._namespace}"})


class _Process:
    """One worker process, running or not."""

    def __init__(self, namespace: int) -> None:
        self._namespace = namespace
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: Any = None

    def ask(self, request: dict[str, Any]) -> Any:
        if self._process is None or self._process.poll() is not None:
            self._start()
        try:
            return self._exchange(request)
        except (OSError, EOFError):
            # It died since the last request, or over this one: edits say what should be, so they can be repeated.
            self._start()
        try:
            return self._exchange(request)
        except (OSError, EOFError) as error:
            self.end()
            raise KernelError("the x_tables worker died twice over one request") from error

    def end(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):  # what a dead worker did not read any more
                self._stream.close()
        if self._process is not None:
            self._process.wait()
        self._process = self._stream = None

    def _exchange(self, request: dict[str, Any]) -> Any:
        self._stream.write(json.dumps(request).encode() + b"\n")
        self._stream.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._stream.readline()
        if not line:
            raise EOFError
        answer = json.loads(line)
        if "error" not in answer:
            return answer["result"]
        match answer["kind"]:
            case "netns":
                raise NotFound(answer["error"])
            case "missing":
                raise Unsupported(f"{_MISSING} ({answer['error']})")
            case _:
                raise KernelError(f"iptables refused: {answer['error']}")

    def _start(self) -> None:
        self.end()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "netpy.kernel.xt.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._namespace),
                env=os.environ | {"PYTHONPATH": str(Path(netpy.__file__).parent.parent)},
            )
            # The stream keeps the connection open by itself.
            self._stream = ours.makefile("rwb")
        try:
            self._answer()
        except EOFError:
            self.end()
            raise KernelError("the x_tables worker ended as it started") from None
        except Unsupported:
            self.end()
            raise


def _chains(table: dict[str, Any]) -> dict[str, ChainRules]:
    return {name: ChainRules(policy, tuple((c, t) for c, t in rules)) for name, (policy, rules) in table.items()}
