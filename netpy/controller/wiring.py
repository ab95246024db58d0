"""From records to wanted state, and from there through the kernel: the only place that calls `kernel.apply`.

Decides which states belong to an operation and what a failure leaves: `change` makes a plan come true or takes it back,
`dismantle` removes as much as it can and says what it could not. Which records there are is left to the callers,
what an object means to the drivers. Kernel I/O, and none else.

Settings of the host itself (`net/ipv4/ip_forward`) are wanted by many networks at once. They are never taken back,
neither when a network goes nor when an operation is undone: another may have come to rely on them meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace

from netpy.controller.claims import Claims, link_kinds
from netpy.controller.followups import after_mending, followups, has_followups
from netpy.controller.moves import Move
from netpy.controller.publishing import Opener
from netpy.controller.records import Plug
from netpy.controller.settings import Settings
from netpy.diff import Change, Plan, State, by_key, diff
from netpy.drivers import Driver
from netpy.drivers.guard import Guarded
from netpy.drivers.registry import BUILT_IN, Registry
from netpy.errors import ApplyError, Conflict, KernelError, NetpyError
from netpy.firewall.rules import Opening
from netpy.kernel import Action, Kernel
from netpy.model import Network
from netpy.objects import (
    AllowPort,
    Bridge,
    Device,
    Isolate,
    KernelObject,
    Key,
    Masquerade,
    Publish,
    RedirectDns,
    Source,
    Sysctl,
)

logger = logging.getLogger(__name__)
Broken = Callable[[Plug, NetpyError], object]
_INTENTS = (Isolate, Source, Masquerade, AllowPort, Publish, RedirectDns)
_FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


class Wiring:
    """States of networks and sandboxes, and their way into the kernel. Thread-safe; callers hold the names' locks."""

    def __init__(self, kernel: Kernel, drivers: Registry, settings: Settings) -> None:
        self._kernel = kernel
        self._drivers = drivers
        self._settings = settings
        self._network_states: dict[str, tuple[Network, State]] = {}
        self._claims = Claims()

    def driver(self, network: Network) -> Driver:
        return self._drivers.get(network.spec.driver)

    # ---- wanted --------------------------------------------------------------------------------------------------

    def network_state(self, network: Network) -> State:
        """What the driver wants for the network, and forwarding for the families that it routes. Worked out once."""
        known = self._network_states.get(network.id)
        if known and (known[0] is network or known[0] == replace(network, phase=known[0].phase)):
            return known[1]
        state = self.drafted_state(network)
        self._claims.put(network.id, self._kernel.lower(state))
        self._network_states[network.id] = network, state
        return state

    def drafted_state(self, network: Network) -> State:
        """The same of a network that may never come to be: nothing is remembered."""
        return self._with_forwarding(self.driver(network).network_state(network))

    def network_states(self, plugs: Iterable[Plug]) -> State:
        """What these networks want. One whose driver is missing is told of where its endpoints are asked for."""
        states: list[State] = []
        for plug in plugs:
            with suppress(NetpyError):
                states.append(self.network_state(plug.network))
        return frozenset[KernelObject]().union(*states)

    def acquaint(self, networks: Sequence[Network]) -> None:
        """Know what all of these want, but for those whose driver is missing: then `shared` and `namesake` are true."""
        for network in [each for each in networks if each.id not in self._network_states]:
            try:
                self.network_state(network)
            except NetpyError as error:
                logger.warning("network %s: %s", network.name, error)

    def shared(self, network: Network) -> frozenset[Key]:
        """The lowered keys of what other networks want as well."""
        return self._claims.shared(network.id)

    def namesake(self, network: Network, state: State) -> tuple[str, str]:
        """A link name in `state` that another network has, and that network's id; both empty where there is none."""
        return self._claims.other(network.id, link_kinds(state))

    def _keys(self, state: State) -> frozenset[Key]:
        return frozenset(obj.key for obj in self._kernel.lower(state))

    def forget(self, network: Network) -> None:
        """The network is gone."""
        self._network_states.pop(network.id, None)
        self._claims.drop(network.id)
        if network.spec.driver not in BUILT_IN:
            with suppress(NetpyError):
                driver = self.driver(network)
                if isinstance(driver, Guarded):
                    driver.forget(network.id)

    def _with_forwarding(self, state: State) -> State:
        if not self._settings.ip_forward:
            return state
        families = {6 if ":" in obj.subnet else 4 for obj in state if isinstance(obj, Isolate)}
        return state | {Sysctl(name=_FORWARDING[family], value="1") for family in families}

    def opener(self, network: Network) -> Opener:
        """Who opens the host ports of the network's endpoints; we do where the driver is missing, and tells nothing."""
        try:
            traits = self.driver(network).traits
        except NetpyError:
            return "netpy"
        if not traits.ports:
            return "nobody"
        return "driver" if traits.publishes else "netpy"

    def sandbox_state(self, plugs: Sequence[Plug], dns_port: int, broken: Broken | None = None) -> State:
        """What the drivers want for the sandbox's endpoints, and the way to the name server where there is one.

        A driver that is missing or fails is `broken`'s to hear of, and its endpoint is left out; without it, it is
        raised.
        """
        state = self._endpoint_states(plugs, broken)
        return state | self._redirection(plugs, dns_port) if self.wants_names(plugs) else state

    def move_states(self, move: Move, dns_port: int, broken: Broken) -> tuple[State, State]:
        """As `sandbox_state` before and after a move, without what neither comes nor goes nor changes."""
        before = self._endpoint_states(move.stale, broken)
        after = self._endpoint_states(move.fresh, broken)
        was, will = self.wants_names(move.before), self.wants_names(move.after)
        if was and not will:
            before |= self._redirection(move.before, dns_port)
        if will and not was:
            after |= self._redirection(move.after, dns_port)
        return before, after

    def kept_keys(self, move: Move) -> frozenset[Key]:
        """What has to stay although one of the leaving wants it no longer: their networks', and what a foreign driver

        wants for an endpoint that stays. Built-in drivers want nothing twice.
        """
        foreign = [plug for plug in move.staying if plug.network.spec.driver not in BUILT_IN]
        return self._keys(self.network_states(move.leaving) | self._endpoint_states(foreign, lambda plug, error: None))

    def _redirection(self, plugs: Sequence[Plug], dns_port: int) -> State:
        return frozenset({RedirectDns(port=dns_port, netns=plugs[0].endpoint.sandbox.netns)})

    def _endpoint_states(self, plugs: Sequence[Plug], broken: Broken | None) -> State:
        objects: set[KernelObject] = set()
        for plug in plugs:
            try:
                state = self.driver(plug.network).endpoint_state(plug.network, plug.endpoint)
                # With a bridge it is the network's state that is isolated, and wants forwarding, once for all.
                objects |= state if plug.network.spec.driver in BUILT_IN else self._with_forwarding(state)
            except NetpyError as error:
                if broken is None:
                    raise
                broken(plug, error)
        return frozenset(objects)

    def wants_names(self, plugs: Sequence[Plug]) -> bool:
        """Whether the name server is to listen in this sandbox."""
        sandbox = plugs[0].endpoint.sandbox if plugs else None
        return bool(sandbox and sandbox.resolve and sandbox.netns and self.named(plugs))

    def named(self, plugs: Sequence[Plug]) -> set[str]:
        """The ids of those networks that the name server knows."""
        return {plug.network.id for plug in plugs if self.answers_names(plug.network)}

    def answers_names(self, network: Network) -> bool:
        """Whether the embedded DNS knows this network: user-defined ones of drivers that want it, and are there."""
        try:
            return not network.predefined and self.driver(network).traits.names
        except NetpyError:
            return False

    # ---- plans ---------------------------------------------------------------------------------------------------

    def plan(
        self, before: State, wanted: State, spared: AbstractSet[Key] = frozenset(), *, cursory: bool = False
    ) -> Plan:
        """What the kernel has to change so that `wanted` holds and what else was in `before` is gone. Lowered.

        What has one of the `spared` keys is not touched. Settings are not taken back. `cursory` as in `Kernel.observe`.
        """
        target, former = self._kernel.lower(wanted), self._kernel.lower(before)
        # One map element or chain for each of what may be thousands of ports: what the records say of them is taken for
        # true, and a backend that is refused looks for itself.
        taken_for_true = Opening if cursory else ()
        wanted_keys = {obj.key for obj in target}
        going = {obj for obj in former if obj.key in wanted_keys or obj.key not in spared}
        known = frozenset(obj for obj in going if isinstance(obj, taken_for_true))
        old = {obj for obj in going - known if obj.key not in wanted_keys and not isinstance(obj, Sysctl)}
        asked = frozenset(obj for obj in target | old if not isinstance(obj, taken_for_true))
        return diff(self._kernel.observe(asked, cursory=cursory) | known, target)

    @staticmethod
    def is_common(state: State) -> bool:
        """Whether all that isolates these endpoints is their networks', so that a cursory look is good enough."""
        return not any(isinstance(obj, Isolate | Masquerade) for obj in state)

    def rehearse(self, before: State, after: State, standing: State = frozenset()) -> Plan:
        """The same over intents, for people to read: firewall intents count as present if `before` has them.

        `standing` are the networks' own states, which `before` and `after` both build upon.
        """
        links = {obj for obj in after | standing if not isinstance(obj, _INTENTS)}
        kept = {obj.key for obj in links}
        gone = {obj for obj in before if not isinstance(obj, (*_INTENTS, Sysctl)) and obj.key not in kept}
        intents = {obj for obj in before | standing if isinstance(obj, _INTENTS)}
        return diff(self._kernel.observe(frozenset(links | gone)) | intents, after | standing)

    def foreign(self, wanted: State) -> None:
        """Conflict when a link of a wanted name exists that is not ours: it would be changed, and later removed."""
        links = frozenset(obj for obj in wanted if isinstance(obj, Bridge | Device))
        for found in self._kernel.observe(links):
            if isinstance(found, Bridge | Device) and not found.mark.startswith(f"{self._settings.instance}/"):
                advice = ", or choose another name with com.docker.network.bridge.name"
                raise Conflict(
                    f"{found.key.kind} {found.key.name} exists and is not one of {self._settings.instance}: "
                    f"remove it{advice if isinstance(found, Bridge) else ''}"
                )

    def followups(self, before: State, after: State, plugs: Iterable[Plug]) -> list[Action]:
        """What is to be done after going from one state (over intents) to the other."""
        macs = {(plug.endpoint.sandbox.netns, plug.endpoint.ifname): plug.endpoint.mac for plug in plugs}
        return followups(diff(filter(has_followups, before), filter(has_followups, after)), macs)

    def announcements(self, plan: Plan, plugs: Iterable[Plug]) -> list[Action]:
        """What is to be done after a lowered plan that mended."""
        macs = {(plug.endpoint.sandbox.netns, plug.endpoint.ifname): plug.endpoint.mac for plug in plugs}
        return after_mending(plan, macs)

    # ---- into the kernel -----------------------------------------------------------------------------------------

    def change(self, plan: Plan) -> None:
        """Make the plan come true. On failure everything is as before, and ApplyError says what is not."""
        if not plan:
            return
        try:
            self._kernel.apply(plan)
        except ApplyError as error:
            left = [str(each) for each in self.undo(error.done)]
            raise ApplyError(str(error), done=Plan(), failed=error.failed, left_behind=left) from error

    def undo(self, plan: Plan) -> list[KernelError]:
        """Take a plan back, as far as it goes. Returns what went wrong."""
        return self.dismantle(Plan(tuple(change for change in plan.undo() if not _is_host_setting(change.key))))

    def dismantle(self, plan: Plan) -> list[KernelError]:
        """Make every change that can be made; a refused one does not stop the others. Returns what was refused."""
        errors: list[KernelError] = []
        rest = plan
        while rest:
            try:
                self._kernel.apply(rest)
                break
            except ApplyError as error:
                logger.warning("going on after a failure: %s", error)
                errors.append(error)
                rest = _after(rest, error)
        if errors:
            self._kernel.doubt()
        return errors

    def act(self, actions: Iterable[Action]) -> None:
        self._kernel.act(actions)

    # ---- everything ----------------------------------------------------------------------------------------------

    def drift(self, wanted: State, before: State = frozenset(), spared: Collection[str] = ()) -> Plan:
        """What has to change so that all of `wanted` holds, and nothing else of ours is there.

        Links with one of the `spared` marks stay: their driver cannot be asked what it wants.
        """
        target = self._kernel.lower(wanted)
        keys = {obj.key for obj in target}
        old = {obj for obj in self._kernel.lower(before) if obj.key not in keys}
        found = by_key(obj for obj in self._kernel.observe(target | old) if _counts(obj, keys))
        for orphan in self._kernel.owned():
            if orphan.key not in keys and getattr(orphan, "mark", None) not in spared:
                found.setdefault(orphan.key, orphan)
        return diff(found.values(), target)


def _counts(obj: KernelObject, keys: Collection[Key]) -> bool:
    """A setting that is wanted no longer is left as it is."""
    return obj.key in keys or not isinstance(obj, Sysctl)


def _is_host_setting(key: Key) -> bool:
    return key.kind == "sysctl" and not key.netns


def _after(plan: Plan, error: ApplyError) -> Plan:
    """What is left of a plan without what was done and what failed. Always shorter than the plan."""
    done = set(error.done.changes)
    rest: list[Change] = [change for change in plan if change not in done and change != error.failed]
    return Plan(tuple(rest if len(rest) < len(plan) else rest[1:]))
