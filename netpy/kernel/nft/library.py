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
from netpy.faults import point

_SONAME = "libnftables.so.1"
_SEPARATOR = " ; "  # with a blank before it, as no command has it inside
_SHOWN = 160
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
        text = _SEPARATOR.join(commands)
        with _lock:
            self._library.nft_ctx_set_dry_run(self._handle, check)
            point("before a transaction of rules")
            status = self._library.nft_run_cmd_from_buffer(self._handle, text.encode())
            point("after a transaction of rules")
            message = bytes(self._library.nft_ctx_get_error_buffer(self._handle)).decode(errors="replace")
        if status != 0:
            raise Refused(_reason(message, text))


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


def has_bridges(nft: Context) -> bool:
    """Whether the kernel takes a table for bridges, with what we look up in it. Changes nothing."""
    scratch = [
        "add table bridge netpy-probe",
        "add chain bridge netpy-probe c { type filter hook prerouting priority -300; policy accept; }",
        "add set bridge netpy-probe s { type ifname . ether_addr . ipv4_addr; }",
        "add rule bridge netpy-probe c ether type ip iifname . ether saddr . ip saddr @s accept",
    ]
    try:
        nft.run(scratch, check=True)
    except Refused:
        return False
    return True


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


def _reason(message: str, text: str) -> str:
    """What nft says, and of which command: `add element inet netpy port4 { … }: No such file or directory`.

    All commands were on one line, since for the kernel's errors the library shows the first line of a script, whichever
    line it was; but the column under which it puts its marker is right.
    """
    lines = message.splitlines()
    reason = lines[0].removeprefix("Error: ").removeprefix("Could not process rule: ") if lines else "no reason given"
    marker = next((line for line in lines if "^" in line and not line.strip(" ^~")), "")
    at = marker.find("^")
    if at < 0:
        return reason
    start = text.rfind(_SEPARATOR, 0, at + 1)
    start = 0 if start < 0 else start + len(_SEPARATOR)
    command = text[start:].partition(_SEPARATOR)[0]
    if len(command) > _SHOWN:  # many elements: the one that is meant
        head, _, elements = command.partition("{")
        place = max(at - start - len(head) - 1, 0)
        element = elements[elements.rfind(",", 0, place) + 1 :].partition(",")[0].strip(" }")
        command = f"{head}{{ … {element[:_SHOWN]} … }}"
    return f"{command}: {reason}"
