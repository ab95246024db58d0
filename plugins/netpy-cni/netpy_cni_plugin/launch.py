"""The executable `netpy-cni`: reads one call, answers it, and ends. Or, by hand: `netpy-cni install DIR`.

ADD and DEL go the quick way where it will do (`quick`), everything else through the library. Errors of any kind become
the protocol's document on standard output and a code other than 0. The process ends without taking the interpreter
down in order: all is said, and closing the store would wait for the disk.
"""

from __future__ import annotations

import os
import sys

from netpy_cni_plugin import protocol
from netpy_cni_plugin.protocol import CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from netpy_cni_plugin.ledger import Ledger
    from netpy_cni_plugin.protocol import Request

INTERNAL = 999


def main() -> None:
    """Entry point."""
    if "CNI_COMMAND" not in os.environ:
        from netpy_cni_plugin.install import run

        os._exit(run(sys.argv[1:]))
    os._exit(_answered())


def _answered() -> int:
    version = protocol.VERSIONS[-1]
    try:
        request = protocol.listen()
        version = str(request.version)
        document = _done(request)
    except CniError as error:
        protocol.say(protocol.error(version, error))
        return 1
    except BaseException as error:
        protocol.say(protocol.error(version, _translated(error)))
        return 1
    if document is not None:
        protocol.say(document)
    return 0


def _done(request: Request) -> dict[str, Any] | None:
    if request.verb == "VERSION":
        return {"cniVersion": request.version, "supportedVersions": list(protocol.VERSIONS)}
    request.check()
    from netpy_cni_plugin.ledger import Ledger

    try:
        ledger = Ledger()
    except CniError as error:
        if request.verb == "STATUS":
            raise CniError(protocol.UNAVAILABLE, f"netpy-cni is not available: {error}", error.details) from error
        raise
    if request.verb in ("ADD", "DEL"):
        from netpy_cni_plugin import quick

        served, document = quick.add(request, ledger) if request.verb == "ADD" else quick.delete(request, ledger)
        if served:
            return document
    return _verb(request.verb)(request, ledger)


def _verb(verb: str) -> Callable[[Request, Ledger], Any]:
    from netpy_cni_plugin import upkeep, verbs

    known: dict[str, Callable[[Request, Ledger], Any]] = {
        "ADD": verbs.add,
        "DEL": verbs.delete,
        "CHECK": verbs.check,
        "GC": upkeep.collect,
        "STATUS": upkeep.status,
    }
    return known[verb]


def _translated(error: BaseException) -> CniError:
    import sqlite3

    from netpy import errors

    codes: tuple[tuple[type[BaseException], int], ...] = (
        (errors.InvalidArgument, protocol.INVALID),
        (errors.Exhausted, protocol.EXHAUSTED),
        (errors.Conflict, protocol.CONFLICT),
        (errors.Forbidden, protocol.CONFLICT),
        (errors.NotFound, protocol.NETNS),
        (errors.Unsupported, protocol.UNAVAILABLE),
        (errors.NetpyError, protocol.KERNEL),
        (OSError, protocol.IO),
        (sqlite3.Error, protocol.IO),
    )
    for kind, code in codes:
        if isinstance(error, kind):
            return CniError(code, str(error))
    import traceback

    traceback.print_exception(error)
    return CniError(INTERNAL, f"internal error: {type(error).__name__}: {error}")
