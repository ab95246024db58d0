"""What the parts of the controller share: the records, the ways into the kernel, and who may do what when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netpy.controller.locks import Locks
from netpy.controller.outside import Outside
from netpy.controller.publishing import Publishing
from netpy.controller.records import Records
from netpy.controller.settings import Settings
from netpy.controller.wiring import Wiring
from netpy.dns import NameService
from netpy.drivers.registry import Registry
from netpy.kernel import Kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One daemon's controller, taken apart."""

    settings: Settings
    kernel: Kernel
    drivers: Registry
    names: NameService
    records: Records
    locks: Locks
    wiring: Wiring
    publishing: Publishing
    outside: Outside
    clock: Callable[[], str]
    new_id: Callable[[], str]
