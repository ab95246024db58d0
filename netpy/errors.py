"""What can go wrong, sorted by what the caller can do about it.

Nothing here knows of HTTP or of exit codes: the engine keeps one table that maps these classes to
status codes. Messages are lower case, name the object, and say what was being done. Foreign
exceptions (netlink, libnftables, sqlite) are translated into these once, at the adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netpy.diff import Change, Plan


class NetpyError(Exception):
    """Every error that netpy raises on purpose."""


class InvalidArgument(NetpyError):
    """The request can never succeed as it stands: correct it."""


class NotFound(NetpyError):
    """The named object does not exist."""


class Conflict(NetpyError):
    """Another object has the name, the address or the port that was asked for."""


class PortTaken(Conflict):
    """A host port that was to be published is in use. Docker calls that a failure of the daemon, not of the request."""


class Forbidden(NetpyError):
    """The object exists, but its kind or its present use rules the operation out."""


class Exhausted(NetpyError):
    """A pool of subnets, addresses or ports has nothing left to give."""


class Unsupported(NetpyError):
    """This machine lacks a kernel feature or a program; the message names the package that brings it."""


class DriverError(NetpyError):
    """A driver's code failed, answered what it may not, or not in time. The message names driver and function."""


class KernelError(NetpyError):
    """The kernel, or a program that speaks to it, refused an operation."""


class StoreDamaged(KernelError):
    """The file of records, or a record in it, cannot be read. The message names it; `netpy.salvage` is the way out."""


class ApplyError(KernelError):
    """A plan failed half-way.

    `done` holds the changes that were made before the failure, ready for `done.undo()`; `failed` is
    the change that was refused; `left_behind` names what an automatic clean-up could not remove.
    """

    def __init__(self, message: str, *, done: Plan, failed: Change | None, left_behind: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.done = done
        self.failed = failed
        self.left_behind = tuple(left_behind)
