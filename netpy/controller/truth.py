"""Whether the machine is as the records say, and making it so: check, repair, and reconcile at the start.

All three are the same difference, over everything at once: wanted is what all records want, found is what the kernel
has under those keys and whatever else carries our mark. They run alone; nothing half-done is looked at.

Reconcile first settles the records: what was pending or being removed when the last daemon ended is dropped, and so is
what belongs to sandboxes that are gone. Then it holds the published ports again, tells the name server everything, and
mends. One broken network or sandbox never keeps the others from coming up: what fails is logged and left for `check`
to name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from netpy import render
from netpy.controller.aftercare import Aftercare, Owed
from netpy.controller.choices import record, view, with_gateways
from netpy.controller.context import Context
from netpy.controller.networks import Networks
from netpy.controller.records import Plug
from netpy.diff import Change, Delete, Plan, State, Update
from netpy.dns import Record, View
from netpy.errors import NetpyError
from netpy.model import Sandbox
from netpy.objects import Bridge, Device, Given, KernelObject, Veth

_TIMES = 3  # that a look is taken, and what it shows mended
logger = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """What should be, and the marks of links whose driver cannot say whether they should."""

    state: State
    spared: frozenset[str]


class Truth:
    """Compares records and kernel. Thread-safe: lets nobody else work meanwhile."""

    def __init__(self, context: Context, networks: Networks) -> None:
        self._context = context
        self._networks = networks
        self._aftercare = Aftercare(context)

    def check(self) -> list[str]:
        """One line per drift; empty when everything is as it should be. Changes nothing."""
        with self._context.locks.alone():
            lines = render.drift(self._difference())
        return [*lines, *self._aftercare.check()]

    def repair(self) -> list[str]:
        """Put right what `check` names. Returns the lines that are true no more."""
        with self._context.locks.alone():
            before = self._difference()
            self._mend(before)
            left = set(render.drift(self._difference())) if before else set[str]()
            return [line for line in render.drift(before) if line not in left]

    def mend(
        self, links: Collection[str] | None = None, inside: Collection[str] = (), *, wait: bool = True
    ) -> list[str] | None:
        """What somebody did to the host, undone: as `repair`, but a sandbox's inside is left to its owner.

        It is put right only along with the pair that leads there, or where a pair of `inside` leads if that sandbox is
        sealed. With `links`, nothing is looked at unless one of them is wanted. Returns what was mended; None, if it
        may not wait, when there is work going on.
        """
        locks = self._context.locks
        with locks.alone_at_once() if not wait else _true(locks.alone()) as free:
            if not free:
                return None
            wanted = self._staying(self._wanted())
            named = {o.name for o in wanted.state if isinstance(o, Bridge | Device | Veth)}
            touched = self._touched(wanted, inside)
            if links is not None and not named & set(links) and not touched:
                return []
            return self._undo(lambda: self._damage(wanted, touched))

    def reconcile(self, alive: Callable[[Sandbox], bool]) -> None:
        """After a restart: settle the records, then bring everything that should be into being again."""
        self._aftercare.seek()
        owed: list[Owed] = []
        with self._context.locks.alone():
            gone = self._settle(alive, owed)
            self._hold_ports()
            self._tell_names()
            self._mend(self._difference(gone))
        self._aftercare.start(owed)

    # ---- the difference ------------------------------------------------------------------------------------------

    def _difference(self, gone: State = frozenset()) -> Plan:
        wanted = self._wanted()
        return self._context.wiring.drift(wanted.state, gone, wanted.spared)

    def _undo(self, damage: Callable[[], Plan]) -> list[str]:
        """Mend until there is nothing to mend: the first look may have fallen into the midst of what somebody does."""
        lines: dict[str, None] = {}
        plan = damage()
        for _ in range(_TIMES):
            if not plan:
                break
            lines |= dict.fromkeys(render.drift(plan))
            self._mend(plan)
            plan = damage()
        left = set(render.drift(plan))
        return [line for line in lines if line not in left]

    def _staying(self, wanted: Wanted) -> Wanted:
        """`wanted` without the pairs of sandboxes that are about to go: their namespaces went first, which is no harm.

        What of such a pair is still there is spared: it goes with the records.
        """
        kernel = self._context.kernel
        leaving = {
            obj
            for obj in wanted.state
            if isinstance(obj, Veth) and obj.peer_netns and not kernel.has_netns(obj.peer_netns)
        }
        if not leaving:
            return wanted
        gone = {veth.peer_netns for veth in leaving}
        state = frozenset(obj for obj in wanted.state - leaving if obj.key.netns not in gone)
        return Wanted(state, wanted.spared | {veth.mark for veth in leaving})

    def _touched(self, wanted: Wanted, inside: Collection[str]) -> frozenset[str]:
        """The namespaces, of those that these pairs lead to, in which nobody but a stranger can change anything."""
        if not inside:
            return frozenset()
        records = self._context.records
        with records.lock:
            sealed = {
                plug.endpoint.sandbox.netns
                for id in records.sandbox_ids()
                for plug in records.plugs(id)
                if plug.endpoint.sandbox.sealed
            }
        return frozenset(o.peer_netns for o in wanted.state if isinstance(o, Veth) and o.name in inside) & sealed

    def _damage(self, wanted: Wanted, touched: frozenset[str]) -> Plan:
        """The difference on the host, inside of the sandboxes `touched`, and of those whose pair is gone or was down.

        A pair that goes down on either side takes routes with it that do not come back by themselves.
        """

        def drift(places: frozenset[str]) -> Plan:
            state = frozenset(obj for obj in wanted.state if obj.key.netns in places)
            return self._context.wiring.drift(state, spared=wanted.spared)

        plan = drift(touched | {""})
        pairs = frozenset(
            each.after.peer_netns
            for each in plan
            if not isinstance(each, Delete) and isinstance(each.after, Veth) and _revives(each)
        )
        return drift(touched | pairs | {""}) if pairs - touched else plan

    def _wanted(self) -> Wanted:
        """What all active records want. Where a driver cannot say, the links that it had made before are spared."""
        context = self._context
        with context.records.lock:
            networks = [each for each in context.records.networks() if each.phase == "active"]
            sandboxes = [
                (plugs, context.records.dns_port(id))
                for id in context.records.sandbox_ids()
                if (plugs := _active(context.records.plugs(id)))
            ]
        objects: set[KernelObject] = set()
        spared: set[str] = set()
        instance = context.settings.instance

        def broken(plug: Plug, error: NetpyError) -> None:
            logger.warning("%s in network %s: %s", plug.endpoint.spec.name, plug.network.name, error)
            spared.add(f"{instance}/endpoint/{plug.endpoint.id[:12]}")

        for network in networks:
            try:
                objects |= context.wiring.network_state(network)
            except NetpyError as error:
                logger.warning("network %s: %s", network.name, error)
                spared.add(f"{instance}/network/{network.id[:12]}")
        for plugs, port in sandboxes:
            objects |= context.wiring.sandbox_state(plugs, port, broken)
        return Wanted(frozenset(objects), frozenset(spared))

    def _mend(self, plan: Plan) -> None:
        """Make every change that can be made, and announce addresses that are new."""
        wiring = self._context.wiring
        for error in wiring.dismantle(plan):
            logger.warning("mending: %s", error)
        with self._context.records.lock:
            ids = self._context.records.sandbox_ids()
            plugs = [plug for id in ids for plug in self._context.records.plugs(id)] if plan else []
        wiring.act(wiring.announcements(plan, plugs))

    # ---- settling ------------------------------------------------------------------------------------------------

    def _settle(self, alive: Callable[[Sandbox], bool], owed: list[Owed]) -> State:
        """Drop what is half-done or dead. Returns what the drivers had wanted for it."""
        context = self._context
        with context.records.lock:
            unfinished = {each.id for each in context.records.networks() if each.phase != "active"}
            sandboxes = [context.records.plugs(id) for id in context.records.sandbox_ids()]
        gone: set[KernelObject] = set()
        for plugs in sandboxes:
            gone |= self._settle_sandbox(plugs, unfinished, alive, owed)
        for network in [each for each in context.records.networks() if each.id in unfinished]:
            self._networks.finish_removal(network)
            owed.append((network.spec.driver, lambda n=network: context.outside.removed(n)))
        return frozenset(gone)

    def _settle_sandbox(
        self, plugs: tuple[Plug, ...], unfinished: set[str], alive: Callable[[Sandbox], bool], owed: list[Owed]
    ) -> set[KernelObject]:
        context = self._context
        sandbox = plugs[0].endpoint.sandbox
        living = alive(sandbox)
        stay = [p for p in _active(plugs) if living and p.network.id not in unfinished]
        leave = [plug for plug in plugs if plug.endpoint.id not in {each.endpoint.id for each in stay}]
        settled = with_gateways(stay)
        changed = [new.endpoint for old, new in zip(stay, settled, strict=True) if new != old]
        if not leave and not changed:
            return set()
        gone = {obj for obj in context.wiring.sandbox_state(leave, 0, _mentioned) if not isinstance(obj, Given)}
        for plug in leave:
            owed.append((plug.network.spec.driver, lambda p=plug: context.outside.release(p)))
        context.publishing.close(binding for plug in leave for binding in plug.endpoint.ports)
        with context.records.lock:
            context.records.save_endpoints(changed, drop=[plug.endpoint for plug in leave])
        if not context.wiring.wants_names(settled):
            self._attempt("closing names", lambda: context.names.close(sandbox.id))
        return gone

    # ---- ports and names -----------------------------------------------------------------------------------------

    def _hold_ports(self) -> None:
        context = self._context
        with context.records.lock:
            plugs = [plug for id in context.records.sandbox_ids() for plug in context.records.plugs(id)]
        for plug in plugs:
            for binding in plug.endpoint.ports:
                self._attempt("published ports", lambda n=plug.network, b=binding: context.publishing.hold_again(n, b))

    def _tell_names(self) -> None:
        """Listen in every sandbox that wants it, then hand over all records and views at once."""
        context = self._context
        with context.records.lock:
            sandboxes = [context.records.plugs(id) for id in context.records.sandbox_ids()]
        records: list[Record] = []
        views: list[View] = []
        for plugs in sandboxes:
            named: set[str] = set()
            self._attempt("names", lambda p=plugs, n=named: n.update(context.wiring.named(p)))
            records += [record(plug) for plug in plugs if plug.network.id in named and plug.endpoint.spec.names]
            sandbox = plugs[0].endpoint.sandbox
            if sandbox.resolve and sandbox.netns and named:
                views.append(view(sandbox, plugs, named))
                self._attempt(f"names of {plugs[0].endpoint.spec.name}", lambda p=plugs: self._listen(p))
        self._attempt("names", lambda: context.names.replace(records, views))

    def _listen(self, plugs: Iterable[Plug]) -> None:
        context = self._context
        endpoints = [plug.endpoint for plug in plugs]
        with context.records.lock:
            known = context.records.dns_port(endpoints[0].sandbox.id)
        port = context.names.open(endpoints[0].sandbox, known)
        if port != known:
            with context.records.lock:
                context.records.save_endpoints(endpoints, dns_port=port)

    def _attempt(self, what: str, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:  # one failure must not keep the rest from coming up
            logger.warning("%s: %s", what, error)


@contextmanager
def _true(waiting: AbstractContextManager[None]) -> Generator[bool]:
    with waiting:
        yield True


def _revives(change: Change) -> bool:
    """Whether it brings a pair up that was not there, or down."""
    return not (isinstance(change, Update) and isinstance(change.before, Veth) and change.before.up)


def _mentioned(plug: Plug, error: NetpyError) -> None:
    logger.warning("%s in network %s: %s", plug.endpoint.spec.name, plug.network.name, error)


def _active(plugs: Iterable[Plug]) -> tuple[Plug, ...]:
    return tuple(plug for plug in plugs if plug.endpoint.phase == "active")
