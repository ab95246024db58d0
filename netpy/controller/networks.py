"""Creating and removing networks, and the three that are there from the start.

Decides names, subnets and who may remove what. Creation: draft and record under the records' lock (phase pending), then
the kernel, then phase active; a failure takes everything back. Removal: phase deleting, so that nobody joins any more,
then the kernel as far as it goes, then the record. I/O only by way of `Wiring` and the store.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from ipaddress import ip_interface

from netpy.controller.claims import link_kinds
from netpy.controller.context import Context
from netpy.controller.settings import Settings
from netpy.diff import Plan
from netpy.drivers import Driver
from netpy.drivers.bridge import BINDING, DEFAULT_BRIDGE, ICC, MASQUERADE, MTU, NAME
from netpy.drivers.registry import BUILT_IN
from netpy.errors import Conflict, Forbidden, InvalidArgument, NetpyError, NotFound, Unsupported
from netpy.ipam import allocate
from netpy.model import Network, NetworkSpec, Subnet, SubnetSpec

logger = logging.getLogger(__name__)
RESERVED_NAMES = ("bridge", "host", "none", "default")
_NAME = re.compile(r"[^\s/\x00-\x1f\x7f](?:[^/\x00-\x1f\x7f]*[^\s/\x00-\x1f\x7f])?")


class Networks:
    """The life of networks. Thread-safe."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(self, spec: NetworkSpec) -> Network:
        """Make a network. `docker network create`."""
        context = self._context
        _check_name(spec.name)
        context.outside.seek(spec.driver, spec.ipam_driver)
        host = context.kernel.host_prefixes()
        with ExitStack() as undo:
            with context.locks.one_of_many(), context.records.lock:
                network = replace(self._draft(spec, host), phase="pending")
                context.records.save_network(network)
            undo.callback(self._abandon, network)
            network = self._acquired(network, undo)
            with context.locks.one_of_many():
                made = self._realise(network)
            undo.pop_all()
            return made

    def plan(self, spec: NetworkSpec) -> Plan:
        """What `create` would do, over intents."""
        context = self._context
        _check_name(spec.name)
        context.outside.seek(spec.driver, spec.ipam_driver)
        host = context.kernel.host_prefixes()
        with context.records.lock:
            network = self._draft(spec, host)
        wanted = context.wiring.drafted_state(network)
        context.wiring.foreign(wanted)
        return context.wiring.rehearse(frozenset(), wanted)

    def remove(self, ref: str) -> Network:
        """Remove a network that nobody is plugged into. `docker network rm`."""
        context = self._context
        with context.records.lock:
            network = context.records.find(ref)
        with suppress(NetpyError):  # what is missing is told by what cannot be done without it
            context.outside.seek(network.spec.driver, network.spec.ipam_driver)
        with context.locks.one_of_many():
            with context.records.lock:
                network = context.records.find(network.id)
                if network.predefined:
                    raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
                self._refuse_if_used(network)
                context.records.save_network(replace(network, phase="deleting"))
            errors = self._cleared_or_kept(network)
        errors += context.outside.removed(network)
        try:
            self._forget(network)
        except NetpyError:  # a full disk: it stays in the list, and its removal can be asked for again
            with context.records.lock:
                context.records.keep_network(network)
            raise
        if errors:
            distinct = list({str(error): error for error in errors}.values())
            raise ExceptionGroup(f"removing network {network.name}", distinct)
        return network

    def clear(self, network: Network) -> list[NetpyError]:
        """Take a network out of the kernel, going on after what is refused. Returns what was. Its record stays.

        Raises, with nothing changed, when the kernel cannot be asked what there is.
        """
        context = self._context
        with context.locks.holding(network.id):
            try:
                state = context.wiring.network_state(network)
            except NetpyError as error:  # its driver is gone: whoever looks next takes what it made for left over
                context.kernel.doubt()
                return [error]
            self._acquaint()
            plan = context.wiring.plan(state, frozenset(), context.wiring.shared(network))
            return list(context.wiring.dismantle(plan))

    def finish_removal(self, network: Network) -> None:
        """Take a network out of the kernel and the records, whatever goes wrong: a full look at the kernel follows."""
        try:
            errors: list[Exception] = [*self.clear(network)]
        except (NetpyError, OSError) as error:
            errors = [error]
        for error in errors:
            logger.warning("removing network %s: %s", network.name, error)
        self._forget(network)

    def _cleared_or_kept(self, network: Network) -> list[NetpyError]:
        """As `clear`; what nothing was changed of is a network as before."""
        try:
            return self.clear(network)
        except BaseException:
            with self._context.records.lock:
                self._context.records.keep_network(network)
                self._context.records.save_network(network)
            raise

    def _forget(self, network: Network) -> None:
        with self._context.records.lock:
            self._context.records.drop_network(network)
        self._context.wiring.forget(network)

    def _abandon(self, network: Network) -> None:
        with self._context.records.lock:
            self._context.records.abandon_network(network)
        self._context.wiring.forget(network)

    def ensure_predefined(self) -> None:
        """The networks bridge, host and none exist, and `bridge` is as the settings say.

        A default network that is in use stays as it is until nobody uses it.
        """
        for spec in predefined(self._context.settings):
            with self._context.records.lock:
                existing = self._context.records.named(spec.name)
            if existing is None:
                self._add_predefined(spec)
            elif (
                existing.phase != "active" or existing.spec.options != spec.options or not _has_subnets(existing, spec)
            ):
                self._replace_predefined(existing, spec)

    # ---- steps ---------------------------------------------------------------------------------------------------

    def _add_predefined(self, spec: NetworkSpec, id: str = "") -> None:
        context = self._context
        host = context.kernel.host_prefixes()
        with context.locks.one_of_many():
            with context.records.lock:
                draft = self._draft(spec, host, predefined=True)
                network = replace(draft, id=id or draft.id, phase="pending")
                context.records.save_network(network)
            try:
                self._realise(network)
            except BaseException:
                self._abandon(network)
                raise

    def _replace_predefined(self, existing: Network, spec: NetworkSpec) -> None:
        context = self._context
        with context.records.lock:
            if context.records.in_use(existing.id):
                logger.warning("there are running containers, updated network configuration will not take effect")
                return
        self.finish_removal(existing)
        self._add_predefined(spec, existing.id)

    def _draft(self, spec: NetworkSpec, host: list[str], *, predefined: bool = False) -> Network:
        """The network as it would be. Every refusal that needs no kernel happens here, under the records' lock."""
        context = self._context
        if context.records.named(spec.name):
            raise Conflict(f"network with name {spec.name} already exists")
        driver = context.drivers.get(spec.driver)
        if driver.traits.single and not predefined:
            raise Forbidden(f'only one instance of "{driver.name}" network is allowed')
        normal = driver.normalise(spec)
        self._refuse_missing(driver)
        subnets: tuple[Subnet, ...] = ()
        if not context.outside.pools.is_built_in(spec.ipam_driver):
            context.outside.pools.check(normal)
        elif spec.ipam_driver == "null":
            _refuse_addressing(normal)
        elif driver.traits.addressing:
            subnets = allocate(normal, pools=context.settings.pools(), networks=context.records.subnets, host=host)
        network = Network(
            id=context.new_id(), spec=normal, subnets=subnets, created=context.clock(), predefined=predefined
        )
        self._refuse_shared_links(network)
        return network

    def _acquired(self, network: Network, undo: ExitStack) -> Network:
        """The network with what its IPAM driver and its driver bring from outside, written down."""
        context = self._context
        if network.spec.driver in BUILT_IN and context.outside.pools.is_built_in(network.spec.ipam_driver):
            return network
        acquired = context.outside.acquire_network(network, undo)
        return acquired if acquired is network else context.outside.pools.settle(acquired)

    def _realise(self, network: Network) -> Network:
        """Bring a pending network about; on failure the kernel is as before, and the record still pending."""
        context = self._context
        with context.locks.holding(network.id):
            if network.spec.driver not in BUILT_IN:  # what it brought from outside may have changed what it wants
                self._refuse_shared_links(network)
            wanted = context.wiring.network_state(network)
            context.wiring.foreign(wanted)
            plan = context.wiring.plan(frozenset(), wanted)
            context.wiring.change(plan)
            active = replace(network, phase="active")
            try:
                with context.records.lock:
                    context.records.save_network(active)
            except BaseException:
                context.wiring.undo(plan)
                raise
        return active

    def _refuse_if_used(self, network: Network) -> None:
        endpoints = self._context.records.endpoints(network_id=network.id)
        if endpoints:
            users = ", ".join(f'name:"{each.spec.name}" id:"{each.id[:12]}"' for each in endpoints)
            raise Forbidden(f"network {network.name} has active endpoints ({users})")

    def _refuse_missing(self, driver: Driver) -> None:
        for kind in driver.traits.links:
            if missing := self._context.kernel.lacks(kind):
                raise Unsupported(f"driver {driver.name}: {missing}")

    def _refuse_shared_links(self, network: Network) -> None:
        wiring = self._context.wiring
        state = wiring.drafted_state(network)
        mine = link_kinds(state)
        if not mine:
            return
        self._acquaint()
        name, other = wiring.namesake(network, state)
        if name:
            what = "bridge name" if mine[name] == "bridge" else "link name"
            raise Forbidden(
                f"cannot create network {network.id} ({name}): conflicts with network {other} "
                f"({name}): networks have same {what}"
            )

    def _acquaint(self) -> None:
        """What all networks want is known, so that it can be told what they share."""
        with self._context.records.lock:
            networks = self._context.records.networks()
        self._context.wiring.acquaint(networks)


def predefined(settings: Settings) -> list[NetworkSpec]:
    """The requests for the three networks of the first start."""
    options = {
        DEFAULT_BRIDGE: "true",
        ICC: str(settings.icc).lower(),
        MASQUERADE: str(settings.masquerade).lower(),
        BINDING: settings.host_binding,
        NAME: settings.default_bridge,
        MTU: str(settings.mtu),
    }
    subnets: tuple[SubnetSpec, ...] = ()
    if settings.bip:
        try:
            bip = ip_interface(settings.bip)
        except ValueError as error:
            raise InvalidArgument(f"invalid --bip {settings.bip}: {error}") from error
        subnets = (SubnetSpec(subnet=str(bip.network), gateway=str(bip.ip)),)
    return [
        NetworkSpec(name="bridge", subnets=subnets, options=options),
        NetworkSpec(name="host", driver="host"),
        NetworkSpec(name="none", driver="null"),
    ]


def prune(networks: Networks, candidates: list[Network], keep: Callable[[Network], bool]) -> list[str]:
    """Remove what nobody uses and `keep` does not want. Names of the removed."""
    gone: list[str] = []
    for network in candidates:
        if network.predefined or keep(network):
            continue
        try:
            networks.remove(network.id)
        except (Forbidden, NotFound):
            continue  # in use, or somebody was faster
        except ExceptionGroup as error:  # gone all the same; `check` names what it left in the kernel
            logger.warning("pruning network %s: %s", network.name, "; ".join(map(str, error.exceptions)))
        gone.append(network.name)
    return gone


def _check_name(name: str) -> None:
    if name in RESERVED_NAMES:
        raise Forbidden(f"operation is not permitted on predefined {name} network ")
    if not _NAME.fullmatch(name):
        what = "no slashes, no control characters, no blanks at its ends"
        raise InvalidArgument(f'invalid network name "{name}": {what}, please')


def _has_subnets(network: Network, spec: NetworkSpec) -> bool:
    """Whether the network has the subnets that the request states; none stated fits any."""
    stated = {(each.subnet, each.gateway) for each in spec.subnets}
    return stated <= {(each.subnet, each.gateway) for each in network.subnets}


def _refuse_addressing(spec: NetworkSpec) -> None:
    if spec.subnets:
        raise InvalidArgument(f'network {spec.name}: ipam driver "null" gives no addresses and takes no subnets')
    if spec.ipam_options:
        raise InvalidArgument(f'network {spec.name}: ipam driver "null" has no options')
