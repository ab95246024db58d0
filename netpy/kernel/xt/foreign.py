"""Passages through iptables-nft for the iptables backend, which otherwise has no business with nf_tables.

A host with rules in the legacy tables may have some in iptables-nft as well, with a FORWARD policy of DROP. Without
libnftables nothing can be done there, and nothing is asked of it: the passages then count as present.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netpy.diff import Change, Delete
from netpy.firewall.rules import Passage
from netpy.kernel import passages
from netpy.kernel.nft import library
from netpy.kernel.nft.library import Context
from netpy.kernel.nft.lookup import Reader


class Foreign:
    """The FORWARD chains of iptables-nft in the namespace in which this is made."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._context = Context() if library.installed() else None
        self._reader = Reader()

    def present(self, wanted: Iterable[Passage]) -> list[Passage]:
        native = passages.Native(self._reader)
        return [each for each in wanted if self._context is None or native.has(each)]

    def owned(self) -> set[Passage]:
        return passages.owned(self._reader, self._instance) if self._context else set()

    def apply(self, changes: Sequence[Change]) -> None:
        native = passages.Native(self._reader)
        script: list[str] = []
        for change in changes:
            wanted = not isinstance(change, Delete)
            passage = change.after if wanted else change.before
            if isinstance(passage, Passage):
                script += native.commands(passage, wanted=wanted)
        if script and self._context:
            self._context.run(script)

    def clean(self) -> None:
        script = passages.cleaning(self._reader, self._instance)
        if script and self._context:
            self._context.run(script)

    def close(self) -> None:
        self._reader.close()
        if self._context:
            self._context.close()
