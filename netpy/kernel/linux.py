"""The real kernel: applies plans and observes states, through netlink, /proc/sys and the firewall backend.

A plan is cut into steps: runs of neighbouring changes that one adapter can make in one go in one namespace
(everything inside a sandbox in one visit, all rules in one transaction). Steps keep the plan's order. When one fails,
what was made so far is handed back with the error, as a plan that can be undone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from netpy.diff import Change, Create, Delete, Plan, State, Update
from netpy.errors import ApplyError, NetpyError, NotFound
from netpy.kernel import (
    Action,
    Announce,
    FlushConntrack,
    ForgetUnanswered,
    devices,
    links,
    netns,
    survey,
    sysctl,
)
from netpy.kernel.announce import Announcer
from netpy.kernel.conntrack import Flows
from netpy.kernel.holds import Holds
from netpy.kernel.netfilter import Backend
from netpy.kernel.pairs import Pairs
from netpy.kernel.rtnetlink import Channel
from netpy.objects import Address, Adopt, Bridge, Child, Device, Given, KernelObject, Key, Route, Sysctl, Veth

RESPITE = 5.0  # seconds between looks at what refuses to be put right


class LinuxKernel:
    """`netpy.kernel.Kernel` on this machine. Needs CAP_NET_ADMIN and CAP_SYS_ADMIN. Thread-safe."""

    def __init__(self, backend: Backend, instance: str) -> None:
        self._backend = backend
        self._instance = instance
        self._pairs = Pairs()
        self._announcer = Announcer()
        self._flows = Flows()
        self._settings = sysctl.Kept()
        self._doubted, self._patient_until = False, 0.0
        holds = Holds()
        self.hold = holds.hold
        self.release = holds.release
        self.create_netns = netns.create
        self.delete_netns = netns.delete
        self.has_netns = netns.exists
        self.host_prefixes = survey.prefixes
        self.lacks = devices.lacks

    @property
    def firewall(self) -> str:
        """The name of the firewall backend in use: `nftables` or `iptables`."""
        return self._backend.name

    def lower(self, state: Iterable[object]) -> State:
        return self._backend.lower(state)

    def observe(self, like: State, *, cursory: bool = False) -> State:
        rules = frozenset(obj for obj in like if self._backend.handles(obj))
        found: set[KernelObject] = set(self._backend.observe(rules, cursory=cursory)) if rules else set()
        placed = frozenset(obj for obj in like if isinstance(obj, devices.PLACED))
        found.update(seen for obj in placed if (seen := devices.observe(obj)) is not None)
        rest = sorted(like - rules - placed, key=lambda obj: obj.key.netns)
        for path, group in groupby(rest, key=lambda obj: obj.key.netns):
            try:
                found.update(netns.run_in(path, lambda wanted=tuple(group): self._observe_here(wanted)))
            except NotFound:
                continue  # a sandbox that is gone holds nothing
        return frozenset(found)

    def owned(self) -> State:
        found: set[KernelObject] = set(self._backend.owned())
        for name, kind, mark in survey.marked_links(f"{self._instance}/"):
            if kind == "bridge":
                found.add(Bridge(name=name, mac="", mtu=0, mark=mark))
            elif kind == "veth":
                found.add(Veth(name=name, peer_netns="", ifname="", mac="", mtu=0, mark=mark))
            elif kind in ("dummy", "vlan"):
                found.add(Device(kind="vlan" if kind == "vlan" else "dummy", name=name, mark=mark))
        return frozenset(found)

    def disturbed(self) -> bool:
        """Whether somebody else changed the legacy tables or a setting of the host, or we left something undone.

        Since this was last asked; of what was left undone it is told now and then, until it could be done.
        """
        settings, tables = self._settings.disturbed(), self._backend.disturbed()
        doubted = self._doubted and time.monotonic() >= self._patient_until
        if doubted:
            self._doubted, self._patient_until = False, time.monotonic() + RESPITE
        return settings or tables or doubted

    def doubt(self) -> None:
        self._doubted = True

    def moor(self) -> None:
        """Keep the connections that there are alive while somebody flushes rules, until this is closed."""
        self._backend.moor()

    def apply(self, plan: Plan) -> None:
        done: list[Change] = []
        for step in self._steps(plan):
            try:
                self._make(step, done)
            except (OSError, NetpyError) as error:
                failed = next(change for change in step if change not in done)
                reason = error.strerror if isinstance(error, OSError) else error
                raise ApplyError(f"{_describe(failed)}: {reason}", done=Plan(tuple(done)), failed=failed) from error

    def act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Announce():
                    self._announcer.announce(action)
                case FlushConntrack() | ForgetUnanswered():
                    self._flows.flush(action)

    def local_port_range(self) -> tuple[int, int]:
        first, last = (sysctl.read("net/ipv4/ip_local_port_range") or "49153 65535").split()
        return int(first), int(last)

    def close(self) -> None:
        """Let go of the firewall backend. What is in the kernel stays."""
        self._flows.close()
        self._backend.close()

    def _steps(self, plan: Plan) -> Iterator[list[Change]]:
        carried = _carried_away(plan)

        def adapter(change: Change) -> tuple[str, str]:
            obj = _object(change)
            if carried and change.key in carried:
                return "carried", ""
            if self._backend.handles(obj):
                return "rules", ""
            if isinstance(obj, devices.PLACED):
                return "placed", ""
            return ("veth", "") if isinstance(obj, Veth) else ("inside", obj.key.netns)

        for _, group in groupby(plan, key=adapter):
            yield list(group)

    def _make(self, step: Sequence[Change], done: list[Change]) -> None:
        """Make every change of a step and add it to `done` as soon as it is made; raise at the first failure."""
        first = _object(step[0])
        if self._backend.handles(first):
            self._backend.apply(step)
            done += step
        elif isinstance(first, Veth):
            for change in step:
                self._pairs.make(change)
                done.append(change)
        elif isinstance(first, devices.PLACED):
            for change in step:
                devices.make(change)
                done.append(change)
        elif self._is_gone(step):
            done += step
        else:
            netns.run_in(first.key.netns, lambda: self._make_here(step, done))

    def _is_gone(self, step: Sequence[Change]) -> bool:
        """Nothing to do: the changes only remove what its link or its namespace has taken along."""
        if not all(isinstance(change, Delete) for change in step):
            return False
        path = step[0].key.netns
        return bool(path and not netns.exists(path))

    def _make_here(self, step: Sequence[Change], done: list[Change]) -> None:
        with Channel() as channel:
            for change in step:
                match change:
                    case Create(Sysctl() as setting) | Update(_, Sysctl() as setting):
                        sysctl.write(setting.name, setting.value)
                        if not setting.netns:
                            self._settings.remember(setting.name, setting.value)
                    case Delete(Sysctl()):
                        pass
                    case _:
                        links.make(channel, change, self._instance)
                done.append(change)

    def _observe_here(self, wanted: Sequence[KernelObject]) -> set[KernelObject]:
        found: set[KernelObject] = set()
        with Channel() as channel:
            observer = links.Observer(channel)
            for obj in wanted:
                match obj:
                    case Sysctl():
                        value = sysctl.read(obj.name)
                        if value == obj.value and not obj.netns:
                            self._settings.remember(obj.name, obj.value)
                        seen = None if value is None else Sysctl(name=obj.name, value=value, netns=obj.netns)
                    case Veth():
                        seen = self._pairs.observe(channel, obj)
                    case _:
                        seen = observer.look(obj)
                if seen is not None:
                    found.add(seen)
        return found


def _carried_away(plan: Plan) -> set[Key]:
    """Keys of what goes by itself when its link goes: no need to tell the kernel twice."""
    gone: set[tuple[str, str]] = set()
    for change in plan:
        match change:
            case Delete(Veth() as veth):
                gone.add((veth.peer_netns, veth.ifname))
            case Delete((Bridge() | Device()) as link):
                gone.add((link.netns, link.name))
            case Delete((Child() | Adopt() | Given()) as link):
                gone.add((link.netns, link.ifname))
            case _:
                pass
    return {
        change.key
        for change in plan
        if isinstance(change, Delete)
        and isinstance(obj := change.before, Address | Route)
        and (obj.netns, obj.link) in gone
    }


def _object(change: Change) -> KernelObject:
    return change.before if isinstance(change, Delete) else change.after


def _describe(change: Change) -> str:
    verb = {Create: "creating", Update: "changing", Delete: "deleting"}[type(change)]
    return f"{verb} {change.key.kind} {change.key.name}"
