"""Plugging a sandbox into networks and out of them: all or nothing in, everything it can out.

An attach goes through these steps, and a failure takes back what was done, last step first:

1. under the records' lock: find and check, lease addresses, choose names and gateways, remember (phase pending);
2. choose and hold host ports (sockets, outside the lock); write the pending records, in one transaction;
3. where a driver or an IPAM driver has to ask somebody outside: let them, outside of the gate, since they may be stuck;
   what they bring may move the gateways, and the ports with them;
4. open the name server's port in the sandbox; plan and apply, once for all networks asked for, under the networks'
   locks; other endpoints of the sandbox are part of the plan, since the default route and the published ports may move;
5. tell the name server; write the records with phase active; let drivers that want to know hear of it, outside again.

A detach goes the same way back and stops at nothing. What cannot be removed is reported in an ExceptionGroup and
found again by `check` and `reconcile`, since the record is gone and the mark is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address

from netpy.controller.choices import (
    FAMILIES,
    check_company,
    check_ports,
    check_request,
    interface_name,
    record,
    view,
    with_gateways,
)
from netpy.controller.context import Context
from netpy.controller.moves import Move, asking, lock_of
from netpy.controller.records import Plug
from netpy.diff import Plan
from netpy.dns import View
from netpy.drivers.registry import BUILT_IN
from netpy.errors import Forbidden, NetpyError, NotFound
from netpy.ipam import mac_for, mac_of
from netpy.model import Endpoint, EndpointSpec, Network, PortBinding, Sandbox

logger = logging.getLogger(__name__)
Requests = Sequence[tuple[str, EndpointSpec]]


class Attachment:
    """Attaches and detaches. Thread-safe; one operation at a time per sandbox."""

    def __init__(self, context: Context) -> None:
        self._context = context

    # ---- in ------------------------------------------------------------------------------------------------------

    def attach(self, sandbox: Sandbox, requests: Requests) -> list[Endpoint]:
        """Plug the sandbox into all the networks asked for, in that order, or into none."""
        context, locks = self._context, self._context.locks
        self._seek(requests)
        with locks.holding(lock_of(sandbox.id)), ExitStack() as undo:
            with locks.one_of_many():
                move = self._drafted(sandbox, requests, undo)
            asked = context.outside.asks(move.joining)
            if asked:
                move = self._asked(move, undo)
            with self._passing(undo) as inside:
                move = self._kept(move) if asked else self._published(move, inside)
                active = self._made(move, inside)
            self._attended(move, undo)
            undo.pop_all()
            ids = {plug.endpoint.id for plug in move.joining}
            return [endpoint for endpoint in active if endpoint.id in ids]

    def _seek(self, requests: Requests) -> None:
        """Load the drivers of these networks before anything is locked. Networks that are not there are told later."""
        context = self._context
        for ref, _ in requests:
            with context.records.lock, suppress(NetpyError):
                spec = context.records.find(ref).spec
                if spec.driver not in BUILT_IN or not context.outside.pools.is_built_in(spec.ipam_driver):
                    break
        else:
            return
        with context.records.lock:
            specs = [context.records.find(ref).spec for ref, _ in requests]
        for spec in specs:
            context.outside.seek(spec.driver, spec.ipam_driver)

    @contextmanager
    def _passing(self, undo: ExitStack) -> Generator[ExitStack]:
        """Through the gate. What the given stack holds is undone in there: now if the block fails, else by `undo`."""
        locks = self._context.locks
        with locks.one_of_many(), ExitStack() as inside:
            yield inside
            kept = inside.pop_all()
        undo.callback(self._unwound, kept)

    def _unwound(self, kept: ExitStack) -> None:
        with self._context.locks.one_of_many():
            kept.close()

    def _made(self, move: Move, undo: ExitStack) -> list[Endpoint]:
        """In the kernel, in DNS and in the records: the endpoints that are new or changed, active."""
        dns_port = self._opened(move, undo)
        self._wired(move, dns_port, undo)
        self._named(move, undo)
        active = [replace(each, phase="active") for each in move.changed]
        with self._context.records.lock:
            self._context.records.save_endpoints(active, dns_port=dns_port)
        return active

    def _asked(self, move: Move, undo: ExitStack) -> Move:
        """With what drivers and IPAM drivers bring from outside. Their endpoints are stored, pending, meanwhile."""
        context = self._context
        first = context.publishing.settle(move.before, move.after)
        undo.callback(context.publishing.close, first.opened)
        move = replace(move, after=first.plugs)
        with context.records.lock:
            context.records.save_endpoints(plug.endpoint for plug in move.joining)
        undo.callback(_quietly, "dropping records", lambda: self._restore(move))
        after = list(move.after)
        ids = {plug.endpoint.id for plug in move.joining}
        for number, plug in enumerate(after):
            if plug.endpoint.id in ids:
                taken = {other.endpoint.ifname for other in after if other is not plug}
                after[number] = context.outside.acquire(plug, taken, undo)
        settled = context.publishing.settle(move.after, with_gateways(after))
        undo.callback(context.publishing.close, settled.opened)
        kept = {binding for plug in move.before for binding in plug.endpoint.ports}
        context.publishing.close(binding for binding in settled.closed if binding not in kept)
        return replace(move, after=settled.plugs)

    def _kept(self, move: Move) -> Move:
        with self._context.records.lock:
            self._context.records.save_endpoints(move.changed)
        return move

    def publish(self, sandbox_id: str, ports: Sequence[PortBinding]) -> list[Endpoint]:
        """The sandbox's ports are these from now on: what is new is opened, what is not among them is closed."""
        context, locks = self._context, self._context.locks
        with locks.holding(lock_of(sandbox_id)), ExitStack() as undo:
            with context.records.lock:
                before = context.records.plugs(sandbox_id)
            if not before:
                raise NotFound(f"sandbox {sandbox_id} is in no network")
            check_ports(ports)
            after = (asking(before[0], ports), *(asking(plug, ()) for plug in before[1:]))
            move = Move(sandbox=before[0].endpoint.sandbox, before=before, after=after)
            with self._passing(undo) as inside:
                settled = context.publishing.settle(before, after)
                inside.callback(context.publishing.close, settled.opened)
                move = replace(move, after=settled.plugs)
                inside.callback(_quietly, "restoring records", lambda: self._restore(move))
                with context.records.lock:
                    context.records.save_endpoints(move.changed)
                    dns_port = context.records.dns_port(sandbox_id)
                self._wired(move, dns_port, inside)
            self._attended(move, undo)
            undo.pop_all()
            context.publishing.close(settled.closed)
            return [plug.endpoint for plug in move.after]

    def _attended(self, move: Move, undo: ExitStack) -> None:
        outside = self._context.outside
        shifted = move.shifted
        if outside.attends((*move.joining, *(new for _, new in shifted))):
            undo.callback(outside.connected_again, [old for old, _ in shifted])
            outside.disconnecting([old for old, _ in shifted])
            outside.connected([*(new for _, new in shifted), *move.joining], undo)

    def plan(self, sandbox: Sandbox, requests: Requests) -> Plan:
        """What `attach` would do, over intents. Nothing is written, held or opened."""
        context = self._context
        records = context.records
        self._seek(requests)
        with context.locks.holding(lock_of(sandbox.id)), context.locks.one_of_many():
            with records.lock, ExitStack() as undo:
                cursor = records.ports.cursor
                undo.callback(lambda: setattr(records.ports, "cursor", cursor))
                move = self._draft(sandbox, requests, undo)
                published = context.publishing.settle(move.before, move.after, hold=False)
                undo.callback(lambda: context.publishing.close(published.opened, held=False))
                move = replace(move, after=published.plugs)
                port = records.dns_port(sandbox.id)
            wiring = context.wiring
            standing = context.wiring.network_states(move.after)
            before = wiring.sandbox_state(move.before, port)
            return wiring.rehearse(before, wiring.sandbox_state(move.after, port), standing)

    def _drafted(self, sandbox: Sandbox, requests: Requests, undo: ExitStack) -> Move:
        records = self._context.records
        with records.lock, ExitStack() as inner:
            move = self._draft(sandbox, requests, inner)
            for plug in move.joining:
                records.remember(plug.endpoint)
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
        for network in there:
            with suppress(NetpyError):  # what is wrong with another network is no reason to refuse this one
                drivers[network.id] = self._context.wiring.driver(network)
        for number, (network, (_, spec)) in enumerate(zip(networks, requests, strict=True)):
            if network.id in {each.id for each in (*there, *networks[:number])}:
                raise Forbidden(f"endpoint with name {spec.name} already exists in network {network.name}")
            check_request(network, spec, drivers[network.id])
        check_company(sandbox, [*there, *networks], drivers)
        plugs = list(before)
        for network, (_, spec) in zip(networks, requests, strict=True):
            plugs.append(Plug(network=network, endpoint=self._endpoint(sandbox, network, spec, plugs, undo)))
        new = plugs[len(before) :]
        hopeful = {plug.endpoint.id for plug in new if self._context.outside.hopeful(plug.network)}
        return Move(sandbox=sandbox, before=before, after=with_gateways(plugs, hopeful))

    def _endpoint(
        self, sandbox: Sandbox, network: Network, spec: EndpointSpec, plugs: Sequence[Plug], undo: ExitStack
    ) -> Endpoint:
        context = self._context
        driver = context.wiring.driver(network)
        addresses = self._leased(sandbox, network, spec, undo)
        taken = {plug.endpoint.ifname for plug in plugs}
        plugged = bool(sandbox.netns) and not driver.traits.single
        id = context.new_id()
        mac = spec.mac.lower() or (mac_of(addresses[0].partition("/")[0]) if addresses else "")
        return Endpoint(
            id=id,
            network_id=network.id,
            sandbox=sandbox,
            spec=spec,
            ifname=interface_name(network, spec, driver, taken) if plugged else "",
            mac=mac or (mac_for(id) if plugged else ""),
            addresses=addresses,
            sequence=context.records.next_sequence(),
        )

    def _leased(self, sandbox: Sandbox, network: Network, spec: EndpointSpec, undo: ExitStack) -> tuple[str, ...]:
        if not sandbox.netns or not network.subnets or self._context.outside.pools.of(network) is not None:
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

    def _opened(self, move: Move, undo: ExitStack) -> int:
        """The name server's port in the sandbox; 0 where it is not wanted."""
        context = self._context
        if not context.wiring.wants_names(move.after):
            return 0
        if not context.wiring.wants_names(move.before):
            undo.callback(_quietly, "closing names", lambda: context.names.close(move.sandbox.id))
        with context.records.lock:
            known = context.records.dns_port(move.sandbox.id)
        if known and context.wiring.wants_names(move.before):
            return known  # it listens already, and a name server that ended is told by its successor's start
        return context.names.open(move.sandbox, known)

    def _wired(self, move: Move, dns_port: int, undo: ExitStack) -> None:
        context = self._context
        wiring = context.wiring
        changed = {endpoint.id for endpoint in move.changed}
        before, after = wiring.move_states(move, dns_port, _unless(changed))
        with context.locks.holding(*(plug.network.id for plug in move.after)):
            wanted = after | wiring.network_states(move.fresh)
            plan = wiring.plan(before, wanted, wiring.kept_keys(move), cursory=wiring.is_common(before | after))
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

    def _view(self, sandbox: Sandbox, plugs: Sequence[Plug]) -> View:
        return view(sandbox, plugs, self._context.wiring.named(plugs))


def _unless(changed: Collection[str]) -> Callable[[Plug, NetpyError], None]:
    """Bear with a driver that is missing, unless it is one of an endpoint that changes."""

    def bear(plug: Plug, error: NetpyError) -> None:
        if plug.endpoint.id in changed:
            raise error
        logger.warning("network %s: %s", plug.network.name, error)

    return bear


def _quietly(what: str, step: Callable[[], object]) -> None:
    """Run a step of taking back; its failure must not hide why."""
    try:
        step()
    except Exception as error:
        logger.warning("%s after a failure: %s", what, error)
