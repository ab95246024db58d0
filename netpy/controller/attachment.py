"""Plugging a sandbox into networks and out of them: all or nothing in, everything it can out.

An attach goes through these steps, and a failure takes back what was done, last step first:

1. under the records' lock: find and check, lease addresses, choose names and gateways, remember (phase pending);
2. choose and hold host ports (sockets, outside the lock); write the pending records, in one transaction;
3. let drivers that ask somebody outside do so; open the name server's port in the sandbox;
4. plan and apply, once for all networks asked for, under the networks' locks; other endpoints of the sandbox are part
   of the plan, since the default route and the published ports may move;
5. tell the name server; write the records with phase active.

A detach goes the same way back and stops at nothing. What cannot be removed is reported in an ExceptionGroup and
found again by `check` and `reconcile`, since the record is gone and the mark is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import ip_address

from netpy.controller.choices import (
    FAMILIES,
    check_company,
    check_request,
    interface_name,
    record,
    view,
    with_gateways,
)
from netpy.controller.context import Context
from netpy.controller.records import Plug
from netpy.diff import Plan, State
from netpy.dns import View
from netpy.drivers import Acquirer, answers
from netpy.errors import Forbidden, NetpyError
from netpy.ipam import mac_of
from netpy.model import Endpoint, EndpointSpec, Network, Sandbox

logger = logging.getLogger(__name__)
Requests = Sequence[tuple[str, EndpointSpec]]
_MUTE: State = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A sandbox's way from one set of plugs to another."""

    sandbox: Sandbox
    before: tuple[Plug, ...]
    after: tuple[Plug, ...]

    @property
    def joining(self) -> tuple[Plug, ...]:
        ids = {plug.endpoint.id for plug in self.before}
        return tuple(plug for plug in self.after if plug.endpoint.id not in ids)

    @property
    def leaving(self) -> tuple[Plug, ...]:
        ids = {plug.endpoint.id for plug in self.after}
        return tuple(plug for plug in self.before if plug.endpoint.id not in ids)

    @property
    def changed(self) -> list[Endpoint]:
        """The endpoints that are new or other than before."""
        known = {plug.endpoint.id: plug.endpoint for plug in self.before}
        return [plug.endpoint for plug in self.after if known.get(plug.endpoint.id) != plug.endpoint]

    @property
    def former(self) -> list[Endpoint]:
        """The endpoints that stay but change, as they were before."""
        ids = {endpoint.id for endpoint in self.changed}
        return [plug.endpoint for plug in self.before if plug.endpoint.id in ids]


class Attachment:
    """Attaches and detaches. Thread-safe; one operation at a time per sandbox."""

    def __init__(self, context: Context) -> None:
        self._context = context

    # ---- in ------------------------------------------------------------------------------------------------------

    def attach(self, sandbox: Sandbox, requests: Requests) -> list[Endpoint]:
        """Plug the sandbox into all the networks asked for, in that order, or into none."""
        locks = self._context.locks
        with locks.one_of_many(), locks.holding(_lock_of(sandbox.id)), ExitStack() as undo:
            move = self._drafted(sandbox, requests, undo)
            move = self._published(move, undo)
            move = self._acquired(move, undo)
            dns_port = self._opened(move, undo)
            self._wired(move, dns_port, undo)
            self._named(move, undo)
            active = [replace(each, phase="active") for each in move.changed]
            with self._context.records.lock:
                self._context.records.save_endpoints(active, dns_port=dns_port)
            undo.pop_all()
            ids = {plug.endpoint.id for plug in move.joining}
            return [endpoint for endpoint in active if endpoint.id in ids]

    def plan(self, sandbox: Sandbox, requests: Requests) -> Plan:
        """What `attach` would do, over intents. Nothing is written, held or opened."""
        context = self._context
        records = context.records
        with context.locks.one_of_many(), context.locks.holding(_lock_of(sandbox.id)):
            with records.lock, ExitStack() as undo:
                cursor = records.ports.cursor
                undo.callback(lambda: setattr(records.ports, "cursor", cursor))
                move = self._draft(sandbox, requests, undo)
                published = context.publishing.settle(move.before, move.after, hold=False)
                undo.callback(lambda: context.publishing.close(published.opened, held=False))
                move = replace(move, after=published.plugs)
                port = records.dns_port(sandbox.id)
            wiring = context.wiring
            standing = self._network_states(move.after)
            before = wiring.sandbox_state(move.before, port)
            return wiring.rehearse(before, wiring.sandbox_state(move.after, port), standing)

    def _drafted(self, sandbox: Sandbox, requests: Requests, undo: ExitStack) -> Move:
        records = self._context.records
        with records.lock, ExitStack() as inner:
            move = self._draft(sandbox, requests, inner)
            for endpoint in move.changed:
                records.remember(endpoint)
            inner.pop_all()
        undo.callback(self._forget, move)
        return move

    def _draft(self, sandbox: Sandbox, requests: Requests, undo: ExitStack) -> Move:
        """The sandbox with its new plugs. What is leased is given back by `undo`. Under the records' lock."""
        records = self._context.records
        before = records.plugs(sandbox.id)
        networks = [records.find(ref) for ref, _ in requests]
        drivers = {network.id: self._context.wiring.driver(network) for network in networks}
        there = [plug.network for plug in before]
        drivers |= {network.id: self._context.wiring.driver(network) for network in there}
        for number, (network, (_, spec)) in enumerate(zip(networks, requests, strict=True)):
            if network.id in {each.id for each in (*there, *networks[:number])}:
                raise Forbidden(f"endpoint with name {spec.name} already exists in network {network.name}")
            check_request(network, spec, drivers[network.id])
        check_company(sandbox, [*there, *networks], drivers)
        plugs = list(before)
        for network, (_, spec) in zip(networks, requests, strict=True):
            plugs.append(Plug(network=network, endpoint=self._endpoint(sandbox, network, spec, plugs, undo)))
        return Move(sandbox=sandbox, before=before, after=with_gateways(plugs))

    def _endpoint(
        self, sandbox: Sandbox, network: Network, spec: EndpointSpec, plugs: Sequence[Plug], undo: ExitStack
    ) -> Endpoint:
        context = self._context
        driver = context.wiring.driver(network)
        addresses = self._leased(sandbox, network, spec, undo)
        mac = spec.mac.lower() or (mac_of(addresses[0].partition("/")[0]) if addresses else "")
        taken = {plug.endpoint.ifname for plug in plugs}
        traits = driver.traits
        plugged = bool(sandbox.netns) and not traits.single
        return Endpoint(
            id=context.new_id(),
            network_id=network.id,
            sandbox=sandbox,
            spec=spec,
            ifname=interface_name(network, spec, driver, taken) if plugged else "",
            mac=mac,
            addresses=addresses,
            sequence=context.records.next_sequence(),
        )

    def _leased(self, sandbox: Sandbox, network: Network, spec: EndpointSpec, undo: ExitStack) -> tuple[str, ...]:
        if not sandbox.netns or not network.subnets:
            return ()
        leases = self._context.records.leases
        cursors = leases.cursors(network.id)
        undo.callback(lambda: leases.rewind(network.id, cursors))
        stated = {ip_address(text).version: text for text in spec.addresses}
        addresses: list[str] = []
        for family in FAMILIES:
            if network.subnet_of(family):
                address = leases.lease(network.id, family, sandbox.id, stated.get(family, ""))
                undo.callback(leases.give_back, network.id, address)
                addresses.append(address)
        return tuple(addresses)

    def _published(self, move: Move, undo: ExitStack) -> Move:
        context = self._context
        published = context.publishing.settle(move.before, move.after)
        undo.callback(context.publishing.close, published.opened)
        move = replace(move, after=published.plugs)
        with context.records.lock:
            context.records.save_endpoints(move.changed)
        undo.callback(_quietly, "dropping records", lambda: self._restore(move))
        return move

    def _acquired(self, move: Move, undo: ExitStack) -> Move:
        after = list(move.after)
        ids = {plug.endpoint.id for plug in move.joining}
        for number, plug in enumerate(after):
            driver = self._context.wiring.driver(plug.network)
            if plug.endpoint.id in ids and isinstance(driver, Acquirer):
                undo.callback(_quietly, "release", lambda d=driver, p=plug: d.release(p.network, p.endpoint))
                got = answers.acquired(driver.acquire(plug.network, plug.endpoint))
                after[number] = replace(plug, endpoint=answers.with_acquired(plug.endpoint, got))
        return replace(move, after=tuple(after))

    def _opened(self, move: Move, undo: ExitStack) -> int:
        """The name server's port in the sandbox; 0 where it is not wanted."""
        context = self._context
        if not context.wiring.wants_names(move.after):
            return 0
        if not context.wiring.wants_names(move.before):
            undo.callback(_quietly, "closing names", lambda: context.names.close(move.sandbox.id))
        with context.records.lock:
            known = context.records.dns_port(move.sandbox.id)
        return context.names.open(move.sandbox, known)

    def _wired(self, move: Move, dns_port: int, undo: ExitStack) -> None:
        context = self._context
        wiring = context.wiring
        before, after = wiring.sandbox_state(move.before, dns_port), wiring.sandbox_state(move.after, dns_port)
        with context.locks.holding(*(plug.network.id for plug in move.after)):
            plan = wiring.plan(before, after | self._network_states(move.after), cursory=True)
            wiring.change(plan)
        undo.callback(wiring.undo, plan)
        wiring.act(wiring.followups(before, after, move.after))

    def _named(self, move: Move, undo: ExitStack) -> None:
        context = self._context
        known = context.wiring.named(move.joining)
        records = [record(plug) for plug in move.joining if plug.network.id in known and plug.endpoint.spec.names]
        views = [self._view(move.sandbox, move.after)] if context.wiring.wants_names(move.after) else []
        if not records and not views:
            return
        former = [self._view(move.sandbox, move.before)] if context.wiring.wants_names(move.before) else []
        drop = [each.endpoint_id for each in records]
        undo.callback(_quietly, "taking names back", lambda: context.names.update(drop=drop, views=former))
        context.names.update(put=records, views=views)

    # ---- taking back ---------------------------------------------------------------------------------------------

    def _forget(self, move: Move) -> None:
        """As if the new endpoints had never been: out of memory, their addresses free."""
        with self._context.records.lock:
            for endpoint in move.former:
                self._context.records.remember(endpoint)
            for plug in move.joining:
                self._context.records.forget(plug.endpoint)

    def _restore(self, move: Move) -> None:
        """The same in the store."""
        with self._context.records.lock:
            self._context.records.save_endpoints(move.former, drop=[plug.endpoint for plug in move.joining])

    # ---- out -----------------------------------------------------------------------------------------------------

    def detach(self, sandbox_id: str, network: str = "") -> None:
        """Unplug the sandbox from one network, or from all. Does nothing where it is not plugged in."""
        locks = self._context.locks
        with locks.one_of_many(), locks.holding(_lock_of(sandbox_id)):
            with self._context.records.lock:
                before = self._context.records.plugs(sandbox_id)
                id = self._context.records.find(network).id if network else ""
            rest = [plug for plug in before if id and plug.network.id != id]
            if len(rest) == len(before):
                return
            sandbox = before[0].endpoint.sandbox
            errors = self._out(Move(sandbox=sandbox, before=before, after=with_gateways(rest)))
        if errors:
            name = before[0].endpoint.spec.name
            raise ExceptionGroup(f"detaching {name} from {network or 'its networks'}", errors)

    def _out(self, move: Move) -> list[Exception]:
        context = self._context
        errors: list[Exception] = []
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
            *(lambda plug=plug: self._released(plug) for plug in move.leaving),
            lambda: self._dropped(move),
        )
        for step in steps:
            try:
                step()
            except Exception as error:  # clean-up never stops at a failure
                errors.append(error)
        return errors

    def _unwired(self, move: Move) -> list[NetpyError]:
        context, wiring = self._context, self._context.wiring
        with context.records.lock:
            port = context.records.dns_port(move.sandbox.id)
        before, after = wiring.sandbox_state(move.before, port), wiring.sandbox_state(move.after, port)
        with context.locks.holding(*(plug.network.id for plug in move.before)):
            wanted = after | (self._network_states(move.after) if move.after else _MUTE)
            plan = wiring.plan(before, wanted, self._network_states(move.leaving), cursory=True)
            errors = wiring.dismantle(plan)
        wiring.act(wiring.followups(before, after, move.before))
        return list(errors)

    def _unnamed(self, move: Move) -> None:
        context = self._context
        if not context.wiring.named(move.before):
            return
        still = context.wiring.wants_names(move.after)
        drop = [plug.endpoint.id for plug in move.leaving]
        context.names.update(drop=drop, views=[self._view(move.sandbox, move.after)] if still else [])

    def _released(self, plug: Plug) -> None:
        driver = self._context.wiring.driver(plug.network)
        if isinstance(driver, Acquirer):
            driver.release(plug.network, plug.endpoint)

    def _dropped(self, move: Move) -> None:
        with self._context.records.lock:
            self._context.records.save_endpoints(move.changed, drop=[plug.endpoint for plug in move.leaving])

    # ---- names ---------------------------------------------------------------------------------------------------

    def rename(self, sandbox_id: str, old: str, new: str) -> None:
        """The owner has another name: its endpoints and their DNS names follow."""
        context = self._context
        with context.locks.one_of_many(), context.locks.holding(_lock_of(sandbox_id)):
            with context.records.lock:
                plugs = [_renamed(plug, old, new) for plug in context.records.plugs(sandbox_id)]
                context.records.save_endpoints(plug.endpoint for plug in plugs)
            known = context.wiring.named(plugs)
            put = [record(plug) for plug in plugs if plug.network.id in known and plug.endpoint.spec.names]
            if put:
                context.names.update(put=put)

    def _view(self, sandbox: Sandbox, plugs: Sequence[Plug]) -> View:
        return view(sandbox, plugs, self._context.wiring.named(plugs))

    def _network_states(self, plugs: Sequence[Plug]) -> State:
        return _MUTE.union(*(self._context.wiring.network_state(plug.network) for plug in plugs))


def _renamed(plug: Plug, old: str, new: str) -> Plug:
    spec = plug.endpoint.spec
    names = tuple(new if name == old else name for name in spec.names)
    spec = replace(spec, name=new if spec.name == old else spec.name, names=names)
    return replace(plug, endpoint=replace(plug.endpoint, spec=spec))


def _quietly(what: str, step: Callable[[], object]) -> None:
    """Run a step of taking back; its failure must not hide why."""
    try:
        step()
    except Exception as error:
        logger.warning("%s after a failure: %s", what, error)


def _lock_of(sandbox_id: str) -> str:
    return f"sandbox {sandbox_id}"
