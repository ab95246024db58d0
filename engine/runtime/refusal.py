"""What an OCI runtime says when it fails, in the words and with the exit codes that Docker's users know.

Pure. runc writes logfmt lines and names the executable; crun writes bare sentences of its own. Scripts look for
"executable file not found", "no such file or directory" and "permission denied", so both become the same text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from netpy.errors import InvalidArgument, KernelError

Action = Literal["create", "exec"]
NOT_FOUND, NOT_EXECUTABLE, FAILED = 127, 126, 128
_PREFIX: dict[Action, str] = {
    "create": "failed to create task for container: failed to create shim task: OCI runtime create failed: ",
    "exec": "OCI runtime exec failed: ",
}
_LOGFMT = re.compile(r'msg="((?:[^"\\]|\\.)*)"')
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+:?\s+")
_CRUN_NOT_FOUND = re.compile(r"executable file `[^`]*` not found|executable file .* not found in \$PATH")
_CRUN_FORBIDDEN = re.compile(r"open executable: (permission denied|operation not permitted|is a directory)", re.I)


class StartRefused(InvalidArgument):
    """The program of a container or an exec cannot be run. `exit_code` is 127 (not found) or 126 (not executable)."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StartFailed(KernelError):
    """The runtime failed for a reason that is not the program's name. `exit_code` is Docker's 128."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A failed start: the whole message, and the exit code that a client ends with."""

    message: str
    exit_code: int

    def error(self) -> StartRefused | StartFailed:
        """The exception to raise."""
        kind = StartFailed if self.exit_code == FAILED else StartRefused
        return kind(self.message, self.exit_code)


def explain(text: str, *, runtime: str, action: Action, executable: str) -> Refusal:
    """Docker's message for a runtime's standard error. `executable` is the first argument of the process."""
    detail = _detail(text)
    lead = f"{runtime} create failed: " if action == "create" else "exec failed: "
    if _CRUN_NOT_FOUND.search(detail):
        detail = lead + _cannot_start(executable, _missing(executable))
    elif _CRUN_FORBIDDEN.search(detail):
        detail = lead + _cannot_start(executable, "permission denied")
    return Refusal(message=f"{_PREFIX[action]}{detail}: unknown", exit_code=_exit_code(detail))


def _cannot_start(executable: str, reason: str) -> str:
    return f'unable to start container process: exec: "{executable}": {reason}'


def _missing(executable: str) -> str:
    return (
        f"stat {executable}: no such file or directory" if "/" in executable else "executable file not found in $PATH"
    )


def _detail(text: str) -> str:
    """The last error line, without its time stamp and quoting."""
    messages: list[str] = _LOGFMT.findall(text)
    if messages:
        return re.sub(r"\\(.)", r"\1", messages[-1])
    lines = [_STAMP.sub("", line.strip()) for line in text.splitlines() if line.strip()]
    return "; ".join(lines) or "the OCI runtime gave no reason"


def _exit_code(detail: str) -> int:
    lower = detail.lower()
    if "executable file not found" in lower or "no such file or directory" in lower:
        return NOT_FOUND
    if "permission denied" in lower or "is a directory" in lower:
        return NOT_EXECUTABLE
    return FAILED
