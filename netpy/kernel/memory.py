"""A kernel in memory: obeys `netpy.kernel.Kernel`, needs no root, and refuses what the real one refuses.

It is a verified fake: the integration tests run on it and on Linux alike. What it knows of the real one: names are
unique per namespace; a pair needs both its namespaces and its bridge; an address needs its link, a route its link and
an address that reaches the next hop; a link that goes takes addresses, routes and settings with it, a namespace takes
everything; a setting is there as long as its link is. Firewall intents are kept as they are: `lower` changes nothing.

Faults are injected: `fail_at = n` makes the n-th change from now on fail, and `busy` is a set of host ports that
another program sits on. No I/O.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from netpy.diff import Change, Create, Delete, Plan, State, Update
from netpy.errors import ApplyError, Conflict, KernelError
from netpy.kernel import Action
from netpy.model import Protocol
from netpy.objects import Address, Adopt, Bridge, Child, Device, Given, KernelObject, Key, Route, Sysctl, Veth

_ANY = ("0.0.0.0", "::")
_GLOBAL = ("all", "default")
Place = tuple[str, str]


class MemoryKernel:
    """The whole machine as a dictionary. Thread-safe.

    `objects` is what there is, by key; `actions` what `act` was asked to do; `held` the ports held;
    `prefixes` what the host routes apart from our own bridges; `missing` the kinds of links that it cannot make.
    """

    def __init__(self, instance: str = "netpy") -> None:
        self.objects: dict[Key, KernelObject] = {}
        self.namespaces: set[str] = {""}
        self.actions: list[Action] = []
        self.held: set[tuple[Protocol, str, int]] = set()
        self.busy: set[tuple[Protocol, str, int]] = set()
        self.prefixes: list[str] = ["0.0.0.0/0"]
        self.ephemeral: tuple[int, int] = (32768, 60999)
        self.missing: set[str] = set()
        self.doubted = False
        self.fail_at = 0
        self.applied: list[Plan] = []
        self._instance = instance
        self._lock = threading.RLock()

    # ---- plans ---------------------------------------------------------------------------------------------------

    def lower(self, state: Iterable[object]) -> State:
        return frozenset(state)  # pyright: ignore[reportReturnType]

    def observe(self, like: State, *, cursory: bool = False) -> State:
        del cursory  # every look costs the same here
        with self._lock:
            return frozenset(found for obj in like if (found := self._look(obj)) is not None)

    def owned(self) -> State:
        with self._lock:
            return frozenset(self._marked())

    def apply(self, plan: Plan) -> None:
        with self._lock:
            self.applied.append(plan)
            done: list[Change] = []
            for change in plan:
                try:
                    self._count_down()
                    self._make(change)
                except KernelError as error:
                    raise ApplyError(
                        f"{change.key.kind} {change.key.name}: {error}", done=Plan(tuple(done)), failed=change
                    ) from error
                done.append(change)

    def act(self, actions: Iterable[Action]) -> None:
        with self._lock:
            self.actions.extend(actions)

    # ---- ports, namespaces, facts --------------------------------------------------------------------------------

    def hold(self, protocol: Protocol, host_ip: str, host_port: int) -> int:
        with self._lock:
            port = host_port or next(p for p in range(*self.ephemeral) if not self._clashes(protocol, host_ip, p))
            if self._clashes(protocol, host_ip, port):
                where = f"[{host_ip}]" if ":" in host_ip else host_ip
                raise Conflict(f"failed to bind host port {where}:{port}/{protocol}: address already in use")
            self.held.add((protocol, host_ip, port))
            return port

    def release(self, protocol: Protocol, host_ip: str, host_port: int) -> None:
        with self._lock:
            self.held.discard((protocol, host_ip, host_port))

    def create_netns(self, path: str) -> None:
        with self._lock:
            if path in self.namespaces:
                raise Conflict(f"network namespace {path} exists")
            self.namespaces.add(path)

    def delete_netns(self, path: str) -> None:
        with self._lock:
            self.namespaces.discard(path)
            taken = {o.source for o in self.objects.values() if isinstance(o, Adopt) and o.netns == path}
            for made in [o for o in self.objects.values() if _ends(o) & {("", name) for name in taken}]:
                self._remove(made)
            pairs = [o for o in self.objects.values() if isinstance(o, Veth) and path in (o.netns, o.peer_netns)]
            for veth in pairs:
                self._remove(veth)
            self.objects = {key: obj for key, obj in self.objects.items() if key.netns != path}

    def has_netns(self, path: str) -> bool:
        return path in self.namespaces

    def host_prefixes(self) -> list[str]:
        with self._lock:
            on_link = {
                str(ip_interface(obj.address).network)
                for obj in self.objects.values()
                if isinstance(obj, Address) and not obj.netns
            }
            return sorted({*self.prefixes, *on_link})

    def doubt(self) -> None:
        self.doubted = True

    def lacks(self, kind: str) -> str:
        return f"this kernel has no {kind} links" if kind in self.missing else ""

    def local_port_range(self) -> tuple[int, int]:
        return self.ephemeral

    # ---- one change ----------------------------------------------------------------------------------------------

    def _count_down(self) -> None:
        if self.fail_at:
            self.fail_at -= 1
            if not self.fail_at:
                raise KernelError("fault injected")

    def _make(self, change: Change) -> None:
        match change:
            case Create(after):
                # `ip route replace` and a write below /proc/sys do not mind what was there.
                if after.key in self.objects and not isinstance(after, Route | Sysctl):
                    raise KernelError("file exists")
                self._check(after)
                self.objects[after.key] = after
            case Update(_, after):
                # A route may have gone with its link, earlier in the plan; replacing it makes it anew.
                if self._look(after) is None and not isinstance(after, Route):
                    raise KernelError("no such object")
                self._check(after, is_new=False)
                self.objects[after.key] = after
            case Delete(before):
                if not isinstance(before, Sysctl):
                    self._remove(self.objects.get(before.key, before))

    def _check(self, obj: KernelObject, *, is_new: bool = True) -> None:
        if obj.key.netns not in self.namespaces:
            raise KernelError(f"network namespace {obj.key.netns} does not exist")
        match obj:
            case Veth():
                self._check_veth(obj, is_new)
            case Device() | Child() | Adopt() | Given():
                self._check_placed(obj, is_new)
            case Address() | Route() | Sysctl():
                self._check_ground(obj)
            case _:
                if is_new and _ends(obj) & self._links():
                    raise KernelError("file exists")

    def _check_veth(self, veth: Veth, is_new: bool) -> None:
        if veth.peer_netns not in self.namespaces:
            raise KernelError(f"network namespace {veth.peer_netns} does not exist")
        if is_new and _ends(veth) & self._links():
            raise KernelError("file exists")
        if veth.bridge and Key("bridge", veth.netns, veth.bridge) not in self.objects:
            raise KernelError(f"link {veth.bridge} does not exist")

    def _check_placed(self, link: Device | Child | Adopt | Given, is_new: bool) -> None:
        if isinstance(link, Given):
            raise KernelError(f"{link.ifname} is not there or not as {link.maker} said: only {link.maker} can make it")
        if is_new and _ends(link) & self._links():
            raise KernelError("file exists")
        below = link.source if isinstance(link, Adopt) else link.parent
        if below and is_new:
            self._need_link("", below)

    def _check_ground(self, obj: Address | Route | Sysctl) -> None:
        link = _link_of_setting(obj.name) if isinstance(obj, Sysctl) else obj.link
        if link:
            self._need_link(obj.netns, link)
        if isinstance(obj, Route):
            self._check_route(obj)

    def _check_route(self, route: Route) -> None:
        if route.via and not route.onlink and not self._reaches(route):
            raise KernelError("network is unreachable")

    def _need_link(self, netns: str, link: str) -> None:
        if (netns, link) not in self._links() and link != "lo":
            raise KernelError(f"link {link} does not exist")

    def _links(self) -> set[Place]:
        ends = {end for obj in self.objects.values() for end in _ends(obj)}
        return ends - {("", obj.source) for obj in self.objects.values() if isinstance(obj, Adopt)}

    def _reaches(self, route: Route) -> bool:
        via = ip_address(route.via)
        here = [obj for obj in self.objects.values() if isinstance(obj, Address | Route)]
        here = [obj for obj in here if (obj.netns, obj.link) == (route.netns, route.link)]
        on_link = [ip_interface(obj.address).network for obj in here if isinstance(obj, Address)]
        on_link += [ip_network(obj.destination) for obj in here if isinstance(obj, Route) and not obj.via]
        return via.is_link_local or any(via in network for network in on_link)

    def _remove(self, obj: KernelObject) -> None:
        if self.objects.pop(obj.key, None) is None:
            return
        ends = _ends(obj)
        for above in [each for each in self.objects.values() if _stands_on(each, ends)]:
            self._remove(above)
        if isinstance(obj, Bridge):
            self._free_ports(obj)
        if isinstance(obj, Address):
            self._drop_unreachable(obj)

    def _drop_unreachable(self, address: Address) -> None:
        routes = [each for each in self.objects.values() if isinstance(each, Route)]
        for route in routes:
            same = (route.netns, route.link) == (address.netns, address.link)
            if same and route.via and not route.onlink and not self._reaches(route):
                del self.objects[route.key]

    def _free_ports(self, bridge: Bridge) -> None:
        for key, veth in list(self.objects.items()):
            if isinstance(veth, Veth) and (veth.netns, veth.bridge) == (bridge.netns, bridge.name):
                self.objects[key] = replace(veth, bridge="", hairpin=False, isolated=False, locked=False)

    # ---- what is seen --------------------------------------------------------------------------------------------

    def _look(self, obj: KernelObject) -> KernelObject | None:
        found = self.objects.get(obj.key)
        if found is None and isinstance(obj, Sysctl) and self._has_setting(obj):
            return Sysctl(name=obj.name, value="0", netns=obj.netns)
        return found

    def _has_setting(self, obj: Sysctl) -> bool:
        link = _link_of_setting(obj.name)
        return obj.netns in self.namespaces and (not link or (obj.netns, link) in self._links())

    def _marked(self) -> Iterator[KernelObject]:
        """Links by their mark, with no more than a dump of aliases tells; and the host's firewall, which is ours."""
        for obj in self.objects.values():
            match obj:
                case Bridge() if obj.mark.startswith(f"{self._instance}/"):
                    yield Bridge(name=obj.name, mac="", mtu=0, mark=obj.mark)
                case Veth() if obj.mark.startswith(f"{self._instance}/"):
                    yield Veth(name=obj.name, peer_netns="", ifname="", mac="", mtu=0, mark=obj.mark)
                case Device() if obj.mark.startswith(f"{self._instance}/"):
                    yield Device(kind=obj.kind, name=obj.name, mark=obj.mark)
                case Bridge() | Veth() | Address() | Route() | Sysctl():
                    pass
                case _ if not obj.key.netns and not _ends(obj):
                    yield obj
                case _:
                    pass

    def _clashes(self, protocol: Protocol, host_ip: str, port: int) -> bool:
        taken = {ip for proto, ip, p in self.held | self.busy if (proto, p) == (protocol, port)}
        same_family = {ip for ip in taken if (":" in ip) == (":" in host_ip)}
        return bool(same_family) and (host_ip in _ANY or host_ip in same_family or not same_family.isdisjoint(_ANY))


def _ends(obj: KernelObject) -> set[Place]:
    """The interfaces that an object is, as (namespace, name). Plugins' links are told by their rank."""
    match obj:
        case Bridge():
            return {(obj.netns, obj.name)}
        case Veth():
            return {(obj.netns, obj.name), (obj.peer_netns, obj.ifname)}
        case _ if Bridge.RANK <= obj.RANK < Sysctl.RANK:
            inside = getattr(obj, "peer_netns", "") or obj.key.netns
            return {(inside, getattr(obj, "ifname", "") or getattr(obj, "name", obj.key.name))}
        case _:
            return set()


def _stands_on(obj: KernelObject, ends: set[Place]) -> bool:
    match obj:
        case Address() | Route():
            return (obj.netns, obj.link) in ends
        case Sysctl():
            return (obj.netns, _link_of_setting(obj.name)) in ends
        case Device() | Child():
            return ("", obj.parent) in ends
        case _:
            return False


def _link_of_setting(name: str) -> str:
    """The link that a setting belongs to: `net/ipv6/conf/LINK/…`; empty for one of the namespace."""
    parts = name.split("/")
    is_of_link = len(parts) == 5 and parts[2] in ("conf", "neigh") and parts[3] not in _GLOBAL
    return parts[3] if is_of_link else ""
