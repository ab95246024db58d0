"""`stats`: one look at the resources of containers, or a table that is redrawn until it is interrupted.

A thread per container follows its stream of samples; the main thread draws. Does I/O.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from contextlib import closing

from engine.cli.command import Call, CommandError, command
from engine.cli.flags import flag, text
from engine.cli.formatting import Item, Listing, listed
from engine.cli.samples import COLUMNS, Row, stats_row, unknown_row
from engine.client import ApiError, Client, ClientError

_KIND = Listing(kind="container", columns=COLUMNS, type_name="*container.statsContext")
_REDRAW = 0.5


@command(
    "stats",
    "[CONTAINER...]",
    flag("-a", "--all", help="Show all containers (default shows just running)"),
    text("--format", help='Print with a Go template, "table TEMPLATE" for columns, or "json"'),
    flag("--no-stream", help="Print one sample and end"),
    flag("--no-trunc", help="Don't cut anything short"),
    most=None,
)
def stats(call: Call) -> int | None:
    """Display a live stream of container(s) resource usage statistics"""
    if call.options.flag("no_stream"):
        return _once(call)
    return _stream(call)


def _names(call: Call) -> list[str]:
    if call.arguments:
        return list(call.arguments)
    query = {"all": call.options.flag("all") or None}
    return [str(found["Id"])[:12] for found in call.client.request("GET", "/containers/json", query).json()]


def _draw(call: Call, rows: Sequence[Row]) -> str:
    return listed(_KIND, [Item(row, {}) for row in rows], call.options.text("format"))


class _Samples:
    """The last row of every container; each is fed by a thread of its own."""

    def __init__(self, host: str, *, trunc: bool, stream: bool) -> None:
        self._host = host
        self._trunc = trunc
        self._stream = stream
        self._threads: dict[str, threading.Thread] = {}
        self.rows: dict[str, Row] = {}
        self.errors: dict[str, str] = {}

    def follow(self, name: str) -> None:
        if name not in self._threads:
            self._threads[name] = threading.Thread(target=self._read, args=(name,), daemon=True)
            self._threads[name].start()

    def forget(self, names: Sequence[str]) -> None:
        """Drop the containers that are not among `names`."""
        for gone in set(self._threads) - set(names):
            del self._threads[gone]
            self.rows.pop(gone, None)

    def settle(self) -> None:
        for thread in list(self._threads.values()):
            thread.join()

    def alive(self) -> bool:
        return any(thread.is_alive() for thread in self._threads.values())

    def _read(self, name: str) -> None:
        try:
            with closing(Client(self._host)) as client:
                answer = client.request("GET", f"/containers/{name}/stats", {"stream": self._stream})
                for sample in answer.objects():
                    self.rows[name] = stats_row(sample, trunc=self._trunc) if sample.get("id") else unknown_row(name)
        except ApiError as error:
            self.errors[name] = f"Error response from daemon: {error}"
        except ClientError as error:
            self.errors[name] = str(error)


def _once(call: Call) -> int:
    names = _names(call)
    samples = _Samples(call.client.host, trunc=not call.options.flag("no_trunc"), stream=False)
    for name in names:
        samples.follow(name)
    samples.settle()
    if call.arguments and samples.errors:
        raise CommandError("\n".join(samples.errors.values()))
    sys.stdout.write(_draw(call, [samples.rows[name] for name in names if name in samples.rows]))
    return 0


def _stream(call: Call) -> int:
    samples = _Samples(call.client.host, trunc=not call.options.flag("no_trunc"), stream=True)
    pause = threading.Event()
    while True:
        names = _names(call)
        for name in names:
            samples.follow(name)
        samples.forget(names)
        pause.wait(_REDRAW)
        if call.arguments and samples.errors:
            raise CommandError("\n".join(samples.errors.values()))
        rows = [samples.rows[name] for name in names if name in samples.rows]
        sys.stdout.write("\x1b[H\x1b[J" + _draw(call, rows))
        sys.stdout.flush()
        if call.arguments and not samples.alive():
            return 0
