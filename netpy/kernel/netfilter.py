"""The firewall's seam: what a backend is, and which of the two this host gets.

`auto` takes nftables where libnftables is installed and the kernel takes a table from it, except where somebody runs
the host's firewall in the legacy tables (a Docker daemon with iptables-legacy, say): then ours belongs there too,
where that somebody can see it. A backend that is not chosen is asked to remove what an earlier daemon of this
instance left in it: one choice, never a mixture. With either, firewalld is told of our bridges (`netpy.kernel.zones`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Literal, Protocol

from netpy.diff import Change, State
from netpy.errors import NetpyError, Unsupported
from netpy.kernel.nft import library
from netpy.kernel.nft.backend import Nftables
from netpy.kernel.xt import backend as xtables
from netpy.kernel.xt.backend import Xtables
from netpy.kernel.zones import Zoning
from netpy.objects import KernelObject

Choice = Literal["auto", "iptables", "nftables"]
logger = logging.getLogger(__name__)


class Backend(Protocol):
    """A way to have firewall intents carried out. Thread-safe."""

    name: str

    def lower(self, state: Iterable[object]) -> State:
        """`state` with every intent replaced by this backend's objects. Pure."""
        ...

    def handles(self, obj: KernelObject) -> bool:
        """Whether `obj` is one of this backend's."""
        ...

    def observe(self, like: State, *, cursory: bool = False) -> State:
        """What there is under the keys of `like`, in the same terms; looked up by key.

        `cursory`: passages count as present, and where it is cheap to tell that our frame is there at all, so does
        what networks have in it.
        """
        ...

    def owned(self) -> State:
        """Everything of our instance in the host's namespace, by a dump."""
        ...

    def apply(self, changes: Sequence[Change]) -> None:
        """All of `changes` or none; KernelError says what was refused. Removing what is gone succeeds."""
        ...

    def disturbed(self) -> bool:
        """Whether somebody else changed the legacy tables since the last time this was asked; costs next to nothing."""
        ...

    def moor(self) -> None:
        """From now on have the kernel go on translating the connections that there are while somebody flushes rules."""
        ...

    def clean(self) -> None:
        """Remove everything of our instance from the host's namespace, but for a user's chain that holds rules."""
        ...

    def close(self) -> None:
        """Let go of sockets and processes; what is in the kernel stays."""
        ...


def choose(requested: Choice, instance: str) -> Backend:
    """The backend to use. Unsupported says what is missing, and which Debian package brings it."""
    if requested == "nftables" or (requested == "auto" and _nftables_fits()):
        chosen: Backend = Nftables(instance)
        others = (Xtables,)
    else:
        chosen = Xtables(instance)
        others = (Nftables,) if library.installed() else ()
    for other in others:
        try:
            # Not `clean`: passages through iptables-nft are made by both, and are not to vanish at each start.
            with closing(other(instance)) as left:
                left.clean_own()
        except NetpyError as error:
            logger.warning("cannot remove what the other firewall backend left of %s: %s", instance, error)
    return Zoning(chosen)


def _nftables_fits() -> bool:
    try:
        library.probe()
    except Unsupported as error:
        logger.info("firewall backend: %s; trying iptables", error)
        return False
    return not xtables.in_use()
