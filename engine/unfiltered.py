"""`--iptables=false`: a firewall backend that writes no rule into the host's tables.

What a sandbox needs inside of itself, the way to the embedded name server, is still made: it is nobody's business but
ours. Wraps a real backend; decides nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netpy.diff import Change, State
from netpy.kernel.netfilter import Backend
from netpy.objects import AllowPort, Isolate, KernelObject, Masquerade, Publish, Source

_FILTERS = (Isolate, Source, Masquerade, AllowPort, Publish)


class Unfiltered:
    """Obeys `netpy.kernel.netfilter.Backend`."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self._backend = backend
        backend.clean()

    def lower(self, state: Iterable[object]) -> State:
        return self._backend.lower(obj for obj in state if not isinstance(obj, _FILTERS))

    def handles(self, obj: KernelObject) -> bool:
        return self._backend.handles(obj)

    def observe(self, like: State, *, cursory: bool = False) -> State:
        return self._backend.observe(like, cursory=cursory)

    def owned(self) -> State:
        return self._backend.owned()

    def apply(self, changes: Sequence[Change]) -> None:
        self._backend.apply(changes)

    def disturbed(self) -> bool:
        return self._backend.disturbed()

    def moor(self) -> None:
        """There are no rules that anything depends on."""

    def clean(self) -> None:
        self._backend.clean()

    def close(self) -> None:
        self._backend.close()
