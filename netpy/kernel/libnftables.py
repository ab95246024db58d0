"""libnftables.so.1 in process, by ctypes: runs commands in nft's language, as one transaction each call.

`nft` itself costs 2 ms a call, most of it starting; this 0.1 to 0.3. A context owns a netlink socket, so it works in
the namespace of the thread that made it, from whichever thread it is used. The library keeps some things in static
variables: one lock for all contexts.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Sequence
from typing import Any

from netpy.errors import KernelError, Unsupported

_SONAME = "libnftables.so.1"
_lock = threading.Lock()


class Refused(KernelError):
    """The library or the kernel did not take a script; nothing of it was done."""


class Context:
    """One libnftables context. `with Context() as nft: nft.run([...])`"""

    def __init__(self) -> None:
        self._library = _load()
        with _lock:
            handle = self._library.nft_ctx_new(0)
            if not handle:
                raise KernelError("libnftables cannot open its netlink socket")
            self._handle: ctypes.c_void_p | None = ctypes.c_void_p(handle)
            self._library.nft_ctx_buffer_output(self._handle)
            self._library.nft_ctx_buffer_error(self._handle)

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with _lock:
            handle, self._handle = self._handle, None
            if handle:
                self._library.nft_ctx_free(handle)

    def run(self, commands: Sequence[str], *, check: bool = False) -> None:
        """The commands, in one transaction: all or nothing. Refused names the command. `check` only tries: `nft -c`."""
        text = "\n".join(commands).encode() + b"\n"
        with _lock:
            self._library.nft_ctx_set_dry_run(self._handle, check)
            status = self._library.nft_run_cmd_from_buffer(self._handle, text)
            message = bytes(self._library.nft_ctx_get_error_buffer(self._handle)).decode(errors="replace")
        if status != 0:
            raise Refused(_reason(message))


def installed() -> bool:
    """Whether the library can be loaded."""
    try:
        _load()
    except Unsupported:
        return False
    return True


def probe() -> None:
    """Unsupported unless the kernel would take a NAT chain that looks up local addresses. Changes nothing."""
    chain = "type nat hook prerouting priority -100; policy accept;"
    scratch = [
        "add table inet netpy-probe",
        f"add chain inet netpy-probe c {{ {chain} }}",
        "add rule inet netpy-probe c fib daddr type local meta l4proto tcp dnat ip to 127.0.0.1",
    ]
    with Context() as nft:
        try:
            nft.run(scratch, check=True)
        except Refused as error:
            raise Unsupported(f"the kernel's nf_tables is missing or incomplete: {error}") from error


@functools.cache
def _load() -> Any:
    try:
        library = ctypes.CDLL(_SONAME)
    except OSError as error:
        raise Unsupported(f"{_SONAME} cannot be loaded: install the package libnftables1 ({error})") from error
    context = ctypes.c_void_p
    library.nft_ctx_new.restype = context
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [context]
    library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    library.nft_ctx_set_dry_run.argtypes = [context, ctypes.c_bool]
    library.nft_run_cmd_from_buffer.argtypes = [context, ctypes.c_char_p]
    return library


def _reason(message: str) -> str:
    """What nft says, without the markers: `add element …: No such file or directory`."""
    lines = [line for line in message.splitlines() if line.strip() and not set(line.strip()) <= {"^", "~"}]
    if not lines:
        return "nft failed without a word"
    reason = lines[0].removeprefix("Error: ").removeprefix("Could not process rule: ")
    command = lines[1].strip() if len(lines) > 1 else ""
    shown = command if len(command) <= 160 else f"{command[:157]}..."
    return f"{shown}: {reason}" if command else reason
