"""Runs a netavark plugin for one call: feeds it, waits for so long, and reads what it says.

Errors name the plugin and the call, and carry the plugin's own words: those of its error document, or whatever else it
printed. A plugin that does not end in time is killed with everything that it started, as is what it leaves running in
its process group. I/O: processes.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from netpy.errors import DriverError

Json = dict[str, Any]
LIMIT = 30.0
_SHOWN = 300
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
logger = logging.getLogger(__name__)


class Refusal(DriverError):
    """The plugin answered with its error document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """An executable, and the seconds that one call may take."""

    path: Path
    limit: float = LIMIT

    @property
    def name(self) -> str:
        return self.path.name

    def ask(self, *arguments: str, document: Mapping[str, Any] | None = None) -> Json:
        """The JSON object that the call answers. DriverError where there is none, Refusal when it says why."""
        body = self._run(arguments, document)
        if body is None:
            raise DriverError(f"{self._what(arguments)}: ended without an answer")
        return body

    def tell(self, *arguments: str, document: Mapping[str, Any]) -> None:
        """The same where no answer is wanted; one that is given is not looked at."""
        self._run(arguments, document)

    def _run(self, arguments: tuple[str, ...], document: Mapping[str, Any] | None) -> Json | None:
        what = self._what(arguments)
        given = b"" if document is None else json.dumps(document).encode()
        said, noise, code = self._communicate(what, arguments, given)
        if noise.strip():
            logger.info("%s: %s", what, _short(noise))
        return _answer(what, said, noise, code)

    def _communicate(self, what: str, arguments: tuple[str, ...], given: bytes) -> tuple[bytes, bytes, int]:
        path = os.environ.get("PATH", _SBIN)
        try:
            process = subprocess.Popen(
                [str(self.path), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PATH": path if "/sbin" in path else f"{path}:{_SBIN}"},
                start_new_session=True,
            )
        except OSError as error:
            raise DriverError(f"{what}: {self.path} cannot be run: {(error.strerror or str(error)).lower()}") from error
        with process:
            try:
                said, noise = process.communicate(given, timeout=self.limit)
            except subprocess.TimeoutExpired:
                raise DriverError(f"{what}: no answer within {self.limit:g} s: killed") from None
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # also what it left running, which could hold our pipes
        return said, noise, process.returncode

    def _what(self, arguments: tuple[str, ...]) -> str:
        return f"netavark plugin {self.name}: {arguments[0]}"


def _answer(what: str, said: bytes, noise: bytes, code: int) -> Json | None:
    text = said.decode(errors="replace").strip()
    try:
        body: object = json.loads(text) if text else None
    except ValueError:
        body = text
    if isinstance(body, dict) and isinstance(cast(Json, body).get("error"), str):
        raise Refusal(f"{what}: {cast(Json, body)['error']}")
    if code != 0:
        ending = f"signal {-code}" if code < 0 else f"exit code {code}"
        words = _short(noise) or _short(said)
        raise DriverError(f"{what}: {ending}" + (f": {words}" if words else ""))
    if body is not None and not isinstance(body, dict):
        raise DriverError(f"{what}: printed what is no JSON object: {_short(said)}")
    return cast("Json | None", body)


def _short(printed: bytes) -> str:
    text = printed.decode(errors="replace").strip()
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
