"""Seccomp filters, compiled once.

A runtime compiles the filter of every container from its rules, 5 ms of processor time for the default one. crun keeps
the program it made among its records (`seccomp.bpf`), and takes a ready one in an annotation instead of the rules. So
the first container of a filter has it compiled, and all others get what it got: not a byte is of our own making. A
crun that does not know the annotation obeys the rules, which stay in the configuration; runc knows nothing of the kind.

Programs are kept in memory, by the rules. Reads files; any number of threads may call.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from pathlib import Path
from typing import cast

from engine.model import Json

ANNOTATION = "run.oci.seccomp_bpf_data"
PROGRAM = "seccomp.bpf"
_MOST = 32
_INSTRUCTION = 8  # bytes of a struct sock_filter


class Filters:
    """The programs of filters that have been seen. Empty at first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._programs: dict[str, str] = {}

    def hinted(self, spec: Json) -> Json:
        """The configuration, with the program of its filter if that is known."""
        program = self._programs.get(_key(spec))
        return spec if program is None else spec | {"annotations": spec.get("annotations", {}) | {ANNOTATION: program}}

    def learn(self, spec: Json, records: Path) -> None:
        """Keep the program that the runtime has made for this configuration."""
        key = _key(spec)
        if not key or key in self._programs:
            return
        try:
            program = (records / PROGRAM).read_bytes()
        except OSError:
            return
        if not program or len(program) % _INSTRUCTION:
            return
        with self._lock:
            self._programs[key] = base64.b64encode(program).decode()
            while len(self._programs) > _MOST:
                del self._programs[next(iter(self._programs))]


def _key(spec: Json) -> str:
    """What the rules are told apart by; empty where there are none, or more to them than a program."""
    rules = cast("Json", spec["linux"].get("seccomp") or {})
    if not rules or not rules.keys().isdisjoint(("flags", "listenerPath", "listenerMetadata")):
        return ""
    return hashlib.sha256(json.dumps(rules).encode()).hexdigest()
