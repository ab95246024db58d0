"""Runs one plugin, for one verb: finds the executable, feeds it, waits for so long, and reads what it says.

Errors name the plugin and the verb, and carry what the plugin said, be it the protocol's error document or whatever
else it printed. A plugin that does not end in time is killed with everything that it started. I/O: processes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from netpy.errors import DriverError, InvalidArgument, NotFound

Json = dict[str, Any]
_SHOWN = 300
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Runs plugins out of these directories, each for `timeout` seconds at most."""

    directories: tuple[Path, ...]
    timeout: float = 20.0
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    def path(self, kind: str) -> Path:
        """The executable of a plugin type. NotFound names the directories that were searched."""
        for directory in self.directories:
            path = directory / kind
            if path.is_file() and os.access(path, os.X_OK):
                return path
        where = ", ".join(map(str, self.directories))
        raise NotFound(f"the CNI plugin {kind} is in none of {where} (Debian: containernetworking-plugins)")

    def run(self, kind: str, verb: str, config: Mapping[str, Any], variables: Mapping[str, str]) -> Json | None:
        """What the plugin answered, or None where it printed nothing. DriverError when it failed, or is too slow."""
        environment = {
            "PATH": os.environ.get("PATH", _SBIN),
            **self.environment,
            **variables,
            "CNI_COMMAND": verb,
            "CNI_PATH": ":".join(map(str, self.directories)),
        }
        if "/sbin" not in environment["PATH"]:
            environment["PATH"] += f":{_SBIN}"  # plugins run iptables
        said, noise, code = self._communicate([str(self.path(kind))], json.dumps(config).encode(), environment, verb)
        return _answer(f"plugin {kind}: {verb}", said, noise, code)

    def _communicate(
        self, command: Sequence[str], stdin: bytes, environment: Mapping[str, str], verb: str
    ) -> tuple[bytes, bytes, int]:
        what = f"plugin {Path(command[0]).name}: {verb}"
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            raise DriverError(f"{what}: cannot be run: {error.strerror}") from error
        with process:
            try:
                said, noise = process.communicate(stdin, timeout=self.timeout)
            except subprocess.TimeoutExpired:
                raise DriverError(f"{what}: no answer within {self.timeout:g} s: killed") from None
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # also what it left running, which could hold our pipes
        return said, noise, process.returncode


def _answer(what: str, said: bytes, noise: bytes, code: int) -> Json | None:
    text = said.decode(errors="replace").strip()
    try:
        body: object = json.loads(text) if text else None
    except ValueError:
        body = text
    if code != 0:
        raise _failed(what, body, noise, code)
    if isinstance(body, dict):
        return cast(Json, body)
    if body is not None:
        raise DriverError(f"{what}: printed what is no JSON object: {_short(text)}")
    return None


def _failed(what: str, body: object, noise: bytes, code: int) -> Exception:
    ending = f"signal {-code}" if code < 0 else f"exit code {code}"
    if isinstance(body, dict) and "msg" in body:
        told = cast(Json, body)
        number = told.get("code")
        words = ": ".join(str(told[key]) for key in ("msg", "details") if told.get(key))
        kind = InvalidArgument if number in (2, 7) else DriverError
        return kind(f"{what}: {words} (code {number})")
    words = _short(noise.decode(errors="replace").strip() or str(cast(object, body) or ""))
    return DriverError(f"{what}: {ending}" + (f": {words}" if words else ""))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
