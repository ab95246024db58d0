"""A plugin that was found: its handshake and its calls, with everything that can go wrong named.

Each error says which plugin and which call, and is one of three: `Unreachable` (nothing was asked, after as many tries
as the limits allow), `Lost` (asked, without a whole answer: it may have acted) and `Refused` (the plugin said no).
Does I/O through `wire`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, cast

from netpy.errors import DriverError
from netpy_docker_remote import wire
from netpy_docker_remote.answers import Answered, folded
from netpy_docker_remote.places import Places
from netpy_docker_remote.wire import Answer, Limits

NETWORK, IPAM = "NetworkDriver", "IpamDriver"
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


class Absent(DriverError):
    """The plugin cannot be reached: it was not asked."""


class Lost(DriverError):
    """The plugin was asked and gave no answer that can be read: it may have acted or not."""


class Refused(DriverError):
    """The plugin answered with an error of its own."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def in_order(self) -> bool:
        """Whether it said so as the protocol has it; another status may stand for an accident half-way."""
        return self.status == 200


class Plugin:
    """Calls to one plugin. Thread-safe. Its file is looked up for each call: a plugin may come back elsewhere."""

    def __init__(self, name: str, places: Places, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self._places = places

    def activate(self) -> frozenset[str]:
        """The handshake: what the plugin implements."""
        answer = self.ask("Plugin.Activate")
        implements = answer.get("Implements")
        if not isinstance(implements, list) or not all(isinstance(each, str) for each in cast("list[Any]", implements)):
            raise Lost(f"plugin {self.name}: Plugin.Activate: answered {implements!r} as Implements, not names")
        return frozenset(cast("list[str]", implements))

    def ask(self, call: str, body: Mapping[str, Any] | None = None, *, retry: float | None = None) -> Answered:
        """The plugin's answer, an object whose fields are found in any case. `body` None sends `{}`.

        `retry`: seconds to go on trying to connect, instead of what the limits say.
        """
        sent = json.dumps(body or {}).encode()
        answer = self._sent(call, sent, self.limits.retry if retry is None else retry)
        return self._read(call, answer)

    def _sent(self, call: str, body: bytes, retry: float) -> Answer:
        end = time.monotonic() + retry
        pauses = iter(PAUSES)
        while True:
            try:
                address = self._places.find(self.name)
                if address is None:
                    raise wire.Unreachable(f"there is no file for it any more in {self._places}")
                return wire.post(address, f"/{call}", body, self.limits.answer)
            except wire.Unreachable as error:
                pause = next(pauses, PAUSES[-1])
                if time.monotonic() + pause > end:
                    raise Absent(f"plugin {self.name}: {call}: cannot be reached: {error}") from error
                time.sleep(pause)
            except wire.Broken as error:
                raise Lost(f"plugin {self.name}: {call}: {error}") from error

    def _read(self, call: str, answer: Answer) -> Answered:
        document, problem = _parsed(answer.body)
        said = _complaint(document)
        if answer.status != 200:
            text = said or answer.body.decode(errors="replace").strip()[:200] or "no words"
            raise Refused(f"plugin {self.name}: {call}: status {answer.status}: {text}", answer.status)
        if problem:
            kind = f" ({answer.kind})" if answer.kind else ""
            raise Lost(f"plugin {self.name}: {call}: answered what is not a JSON object{kind}: {problem}")
        if said:
            raise Refused(f"plugin {self.name}: {call}: {said}", answer.status)
        return document


def _parsed(body: bytes) -> tuple[Answered, str]:
    """The document, or what is wrong with it."""
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        return Answered({}), repr(body[:60].decode(errors="replace"))
    if not isinstance(document, dict):
        return Answered({}), repr(document)[:60]
    return folded(cast("dict[str, Any]", document)), ""


def _complaint(document: Answered) -> str:
    """Network drivers say `Err`, IPAM drivers `Error`."""
    said = document.get("Err") or document.get("Error")
    return said if isinstance(said, str) else repr(said) if said else ""
