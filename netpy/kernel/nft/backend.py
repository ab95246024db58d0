"""The nftables backend: carries out what `netpy.firewall.nft` compiles, by `netpy.kernel.nft.tables`.

Passages through the legacy tables, where a host has those as well, are left to `netpy.kernel.passages`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import groupby

from netpy.diff import Change, Delete, Plan, State
from netpy.errors import NetpyError, NotFound
from netpy.firewall import nft
from netpy.firewall.rules import Element, Opening, Passage, Ruleset, inner
from netpy.kernel import passages
from netpy.kernel.nft.mooring import Mooring
from netpy.kernel.nft.tables import Tables
from netpy.objects import KernelObject

logger = logging.getLogger(__name__)


class Nftables:
    """`netpy.kernel.netfilter.Backend` on nf_tables. The tables are `inet INSTANCE` and `bridge INSTANCE`."""

    name = "nftables"

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._tables = Tables(instance, inet=True)
        self._legacy = passages.Legacy(instance)
        self._mooring: Mooring | None = None

    def lower(self, state: Iterable[object]) -> State:
        return nft.lower(self._instance, state, bridged=self._tables.bridged)

    def handles(self, obj: KernelObject) -> bool:
        return isinstance(obj, Ruleset | Element | Opening | Passage)

    def observe(self, like: State, *, cursory: bool = False) -> State:
        standing: State = self._tables.standing(like) if cursory else frozenset()
        rest = like - standing
        legacy = {obj for obj in rest if isinstance(obj, Passage) and obj.where == "legacy"}
        return standing | self._tables.observe(rest - legacy) | {obj for obj in legacy if self._legacy.has(obj)}

    def owned(self) -> State:
        return frozenset(self._tables.owned() | self._legacy.owned())

    def apply(self, changes: Sequence[Change]) -> None:
        made: list[Change] = []
        groups = groupby(sorted(changes, key=_netns), key=_netns)
        for path, group in [(path, tuple(group)) for path, group in groups]:
            try:
                self._change(path, group)
            except NotFound:
                if not all(isinstance(change, Delete) for change in group):
                    self._take_back(made)
                    raise
            except NetpyError:
                self._take_back(made)
                raise
            made += group

    def clean(self) -> None:
        self.clean_own()
        self._tables.clean()

    def clean_own(self) -> None:
        """Remove what only this backend makes: the table `inet INSTANCE`, and passages in the legacy tables."""
        self._legacy.clean()
        self._tables.clean(family="inet")

    def disturbed(self) -> bool:
        return self._legacy.disturbed()

    def moor(self) -> None:
        self._mooring = self._mooring or Mooring(f"{self._instance}-keep")

    def close(self) -> None:
        if self._mooring is not None:
            self._mooring.close()
        self._tables.close()
        self._legacy.close()

    def _change(self, path: str, changes: Sequence[Change]) -> None:
        legacy = [change for change in changes if _is_legacy(change)]
        if legacy:
            self._legacy.apply(legacy)
        try:
            self._tables.change(path, [change for change in changes if not _is_legacy(change)])
        except NetpyError:
            if legacy:
                self._legacy.apply(list(Plan(tuple(legacy)).undo()))
            raise

    def _take_back(self, made: Sequence[Change]) -> None:
        try:
            for path, group in groupby(Plan(tuple(made)).undo(), key=_netns):
                self._change(path, tuple(group))
        except NetpyError as error:
            logger.warning("cannot take back firewall changes after a failure: %s", error)


def _netns(change: Change) -> str:
    obj = change.before if isinstance(change, Delete) else change.after
    return str(getattr(inner(obj), "netns", ""))  # as `change.key.netns`, in a tenth of the time


def _is_legacy(change: Change) -> bool:
    obj = change.before if isinstance(change, Delete) else change.after
    return isinstance(obj, Passage) and obj.where == "legacy"
