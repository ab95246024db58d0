"""Plugging a sandbox out of networks, and what follows a new name: everything it can, whatever goes wrong.

A detach goes the way of an attach (`netpy.controller.attachment`) backwards and stops at nothing. What cannot be
removed is reported in an ExceptionGroup and found again by `check` and `reconcile`, since the record is gone and the
mark is not.

Inside the gate the kernel is cleared; then, outside, drivers and IPAM drivers get back what they gave. Meanwhile
the endpoints' phase is deleting, so that nobody wants them any more and their addresses are not given anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from netpy.controller.choices import record, view, with_gateways
from netpy.controller.context import Context
from netpy.controller.moves import Move, lock_of, renamed
from netpy.controller.records import Plug
from netpy.errors import NetpyError
from netpy.objects import Given


def _nothing() -> None: ...


class Detachment:
    """Detaches and renames. Thread-safe; one operation at a time per sandbox."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def detach(self, sandbox_id: str, network: str = "", first: Callable[[], object] = _nothing) -> None:
        """Unplug the sandbox from one network, or from all. Does nothing but `first` where it is not plugged in.

        `first` is done inside the gate: what it takes away is not missed by anybody who compares kernel and records.
        """
        context, locks = self._context, self._context.locks
        with locks.holding(lock_of(sandbox_id)):
            with context.records.lock:
                before = context.records.plugs(sandbox_id)
                id = context.records.find(network).id if network else ""
            rest = [plug for plug in before if id and plug.network.id != id]
            if len(rest) == len(before):
                first()
                return
            sandbox = before[0].endpoint.sandbox
            errors = self._out(Move(sandbox=sandbox, before=before, after=with_gateways(rest)), first)
        if errors:
            context.kernel.doubt()
            name = before[0].endpoint.spec.name
            distinct = list({str(error): error for error in errors}.values())  # a missing driver is missed at each step
            raise ExceptionGroup(f"detaching {name} from {network or 'its networks'}", distinct)

    def _out(self, move: Move, first: Callable[[], object]) -> list[Exception]:
        """Out of the kernel inside the gate, then whatever has to be given back to somebody outside."""
        context, outside = self._context, self._context.outside
        foreign = [plug for plug in move.before if outside.concerns(plug)]
        errors: list[Exception] = []
        for plug in foreign:
            _collected(errors, lambda p=plug: outside.seek(p.network.spec.driver, p.network.spec.ipam_driver))
        gone = [plug for plug in foreign if plug in move.leaving]
        errors += outside.disconnecting([*gone, *(old for old, _ in move.shifted if old in foreign)])
        with context.locks.one_of_many():
            _collected(errors, first)
            move = self._cleared(move, errors)
            _collected(errors, lambda: self._doomed(gone) if gone else self._dropped(move))
        for plug in gone:
            errors += outside.release(plug)
        if gone:
            _collected(errors, lambda: self._dropped(move))
        return [*errors, *outside.connected_again([new for _, new in move.shifted if outside.concerns(new)])]

    def _doomed(self, plugs: Sequence[Plug]) -> None:
        """What is released now is not wanted any more, whoever compares the kernel with the records meanwhile."""
        with self._context.records.lock:
            self._context.records.save_endpoints(replace(plug.endpoint, phase="deleting") for plug in plugs)

    def _cleared(self, move: Move, errors: list[Exception]) -> Move:
        context = self._context
        closed = [binding for plug in move.leaving for binding in plug.endpoint.ports]
        try:
            published = context.publishing.settle(move.before, move.after)
            move, closed = replace(move, after=published.plugs), list(published.closed)
        except NetpyError as error:  # a port could not be had at the new gateway: those of before are given up
            errors.append(error)
        steps: tuple[Callable[[], object], ...] = (
            lambda: errors.extend(self._unwired(move)),
            lambda: self._unnamed(move),
            lambda: None if context.wiring.wants_names(move.after) else context.names.close(move.sandbox.id),
            lambda: context.publishing.close(closed),
        )
        for step in steps:
            _collected(errors, step)
        return move

    def _unwired(self, move: Move) -> list[NetpyError]:
        context, wiring = self._context, self._context.wiring
        with context.records.lock:
            port = context.records.dns_port(move.sandbox.id)
        broken: dict[str, NetpyError] = {}

        def tell(plug: Plug, error: NetpyError) -> None:
            broken.setdefault(plug.network.id, error)

        before, after = wiring.move_states(move, port, tell)
        before -= {obj for obj in before if isinstance(obj, Given)}  # whoever made it removes it
        with context.locks.holding(*(plug.network.id for plug in move.before)):
            wanted = after | wiring.network_states(move.fresh)
            plan = wiring.plan(before, wanted, wiring.kept_keys(move), cursory=wiring.is_common(before | after))
            errors = wiring.dismantle(plan)
        wiring.act(wiring.followups(before, after, move.before))
        left = {plug.network.id for plug in move.leaving}
        return [*(error for id, error in broken.items() if id in left), *errors]

    def _unnamed(self, move: Move) -> None:
        context = self._context
        if not context.wiring.named(move.before):
            return
        still = context.wiring.wants_names(move.after)
        drop = [plug.endpoint.id for plug in move.leaving]
        context.names.update(
            drop=drop, views=[view(move.sandbox, move.after, context.wiring.named(move.after))] if still else []
        )

    def _dropped(self, move: Move) -> None:
        with self._context.records.lock:
            self._context.records.save_endpoints(move.changed, drop=[plug.endpoint for plug in move.leaving])

    def rename(self, sandbox_id: str, old: str, new: str) -> None:
        """The owner has another name: its endpoints and their DNS names follow."""
        context = self._context
        with context.locks.holding(lock_of(sandbox_id)), context.locks.one_of_many():
            with context.records.lock:
                plugs = [renamed(plug, old, new) for plug in context.records.plugs(sandbox_id)]
                context.records.save_endpoints(plug.endpoint for plug in plugs)
            known = context.wiring.named(plugs)
            put = [record(plug) for plug in plugs if plug.network.id in known and plug.endpoint.spec.names]
            if put:
                context.names.update(put=put)


def _collected(errors: list[Exception], step: Callable[[], object]) -> None:
    """Clean-up never stops at a failure."""
    try:
        step()
    except Exception as error:
        errors.append(error)
