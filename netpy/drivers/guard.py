"""Keeps a foreign driver to the rules: what it raises is named, what it answers is looked at before anybody acts on it.

The built-in drivers are not guarded. For all others each of the three pure functions is called here. An exception that
is not of `netpy.errors` and an answer that breaks a rule become a DriverError that names the driver, where it comes
from, the function and the rule. The rules are those of plugins/README.md, "What a driver may not do":

* states are frozensets of the objects of `netpy.objects`, one for each key;
* links bear the mark of their network or their endpoint, so that they are known again after a crash;
* on the host, addresses, routes, settings and firewall rules are about links of the driver's own;
* in a sandbox, everything is about the endpoint's own interface, since the others belong to other networks.

Pure. The cost is a few microseconds for an endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar, cast

from netpy.diff import State, by_key
from netpy.drivers import Driver, Option, Traits, check_options
from netpy.errors import DriverError, InvalidArgument, NetpyError
from netpy.model import Endpoint, Network, NetworkSpec
from netpy.objects import (
    Address,
    Adopt,
    AllowPort,
    Bridge,
    Child,
    Device,
    Given,
    Isolate,
    KernelObject,
    Key,
    Masquerade,
    Publish,
    Route,
    Source,
    Sysctl,
    Veth,
)

T = TypeVar("T")
_HOST_LINKS = (Bridge, Device, Veth)
_INSIDE_LINKS = (Veth, Child, Adopt, Given)
_LINKS = (Bridge, Device, Veth, Child, Adopt, Given)
_INTENTS = (Isolate, Source, Masquerade, AllowPort, Publish)
_KNOWN = frozenset({*_HOST_LINKS, *_INSIDE_LINKS, *_INTENTS, Address, Route, Sysctl})
_FORWARDING = frozenset({"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"})
_DOCKERS = "com.docker."


class Guarded:
    """A foreign driver behind the same protocol. `inner` is the driver itself, for its hooks; `origin` its package."""

    def __init__(self, driver: Driver, origin: str, instance: str) -> None:
        self.inner = driver
        self.origin = origin
        self.name: str = driver.name
        self.traits: Traits = driver.traits
        self.options: Mapping[str, Option] = driver.options
        self.endpoint_options: Mapping[str, Option] = driver.endpoint_options
        self._instance = instance
        self._links: dict[str, tuple[Network, frozenset[str]]] = {}

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        check_options(spec.options, self.options, f"network {spec.name}")
        refuse_unknown(self.name, spec.options, self.options, any_option=self.traits.any_option)
        try:
            normal = cast(object, self.inner.normalise(spec))
        except NetpyError:
            raise  # what is wrong with the request is the driver's to say
        except Exception as error:
            raise self._failure("normalise", error) from error
        if not isinstance(normal, NetworkSpec):
            raise self._broken("normalise", f"answered {_short(normal)}, not a NetworkSpec")
        if (normal.name, normal.driver) != (spec.name, spec.driver):
            raise self._broken("normalise", f"changed the network's name or driver: {normal.name}, {normal.driver}")
        return normal

    def network_state(self, network: Network) -> State:
        state = self._asked("network_state", lambda: self.inner.network_state(network))
        mark = f"{self._instance}/network/{network.id[:12]}"
        self._check("network_state", _network_problems(state, mark))
        self._links[network.id] = network, _own_links(state)
        return state

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        state = self._asked("endpoint_state", lambda: self.inner.endpoint_state(network, endpoint))
        known = self._links.get(network.id)
        if known is None or known[0] is not network:
            self.network_state(network)
            known = self._links[network.id]
        mark = f"{self._instance}/endpoint/{endpoint.id[:12]}"
        if not _is_plainly_right(state, endpoint, mark, known[1]):
            self._check("endpoint_state", _endpoint_problems(state, endpoint, mark, known[1]))
        return state

    def forget(self, network_id: str) -> None:
        """The network is gone."""
        self._links.pop(network_id, None)

    def _asked(self, function: str, ask: Callable[[], State]) -> State:
        try:
            state = cast(object, ask())
        except Exception as error:  # a plugin's code may raise anything
            raise self._failure(function, error) from error
        if not isinstance(state, frozenset):
            raise self._broken(function, f"answered {_short(state)}, not a frozenset of objects")
        for obj in cast("frozenset[object]", state):
            if type(obj) not in _KNOWN:
                raise self._broken(function, f"wants {_short(obj)}, which is no object of netpy.objects")
        return cast(State, state)

    def _check(self, function: str, problems: Iterator[str]) -> None:
        problem = next(problems, "")
        if problem:
            raise self._broken(function, problem)

    def _failure(self, function: str, error: Exception) -> DriverError:
        said = str(error) if isinstance(error, NetpyError) else f"{type(error).__name__}: {error}"
        return self._broken(function, f"failed: {said}")

    def _broken(self, function: str, problem: str) -> DriverError:
        return DriverError(f"driver {self.name} ({self.origin}): {function} {problem}")


def refuse_unknown(name: str, given: Mapping[str, str], known: Mapping[str, Option], *, any_option: bool) -> None:
    """InvalidArgument for an option that the driver does not know; those of Docker's own name space pass."""
    if any_option:
        return
    for key in given:
        if key not in known and not key.startswith(_DOCKERS):
            names = f"it knows {', '.join(sorted(known))}" if known else "it has none"
            raise InvalidArgument(f"driver {name} has no option {key}: {names}")


def _own_links(state: State) -> frozenset[str]:
    return frozenset(obj.name for obj in state if isinstance(obj, _HOST_LINKS))


def _network_problems(state: State, mark: str) -> Iterator[str]:
    yield from _unique(state)
    own = _own_links(state)
    for obj in state:
        if obj.key.netns or isinstance(obj, _INSIDE_LINKS):
            yield f"wants {_what(obj)} in a sandbox: a network's own state is on the host"
        yield from _mark_problems(obj, mark)
        yield from _host_problems(obj, own)


def _is_plainly_right(state: State, endpoint: Endpoint, mark: str, own: frozenset[str]) -> bool:
    """Whether there is nothing to look for: what nearly every endpoint of every driver wants. This is on the way of a
    container, so it is quick; False says nothing yet.
    """
    here, ifname = endpoint.sandbox.netns, endpoint.ifname
    pairs = [obj for obj in state if type(obj) is Veth]
    for pair in pairs:
        if pair.mark != mark or pair.peer_netns != here or pair.ifname != ifname or pair.netns:
            return False
        own |= {pair.name}
    for obj in state:
        match obj:
            case Address() | Route():
                fits = obj.link == ifname if obj.netns else obj.link in own
            case Publish() | AllowPort():
                fits = obj.bridge in own
            case Sysctl():
                fits = bool(obj.netns) and _link_of(obj) == ifname
            case _:
                fits = type(obj) is Veth
        if not fits or (obj.key.netns and obj.key.netns != here):
            return False
    return len({obj.key for obj in state}) == len(state)


def _endpoint_problems(state: State, endpoint: Endpoint, mark: str, network_links: frozenset[str]) -> Iterator[str]:
    own = network_links | _own_links(state)
    here, ifname = endpoint.sandbox.netns, endpoint.ifname
    seen: dict[Key, KernelObject] = {}
    for obj in state:
        key = obj.key
        if seen.setdefault(key, obj) is not obj:
            yield f"wants two objects with one key {key}"
        if key.netns and key.netns != here:
            yield f"wants {_what(obj)} in a namespace that is not the endpoint's ({key.netns})"
        if isinstance(obj, _LINKS):
            yield from _link_problems(obj, mark, (here, ifname))
        elif key.netns:
            yield from _inside_problems(obj, ifname)
        else:
            yield from _host_problems(obj, own)


def _link_problems(obj: KernelObject, mark: str, place: tuple[str, str]) -> Iterator[str]:
    yield from _mark_problems(obj, mark)
    if isinstance(obj, _INSIDE_LINKS):
        inside = obj.peer_netns if isinstance(obj, Veth) else obj.netns
        loose = isinstance(obj, Veth) and not inside  # both ends on the host, the far one for somebody else to take
        if not loose and (inside, obj.ifname) != place:
            yield f"wants the interface {obj.ifname} in {inside or 'the host'}; the endpoint's is {place[1]}"


def _unique(state: State) -> Iterator[str]:
    try:
        by_key(state)
    except ValueError as error:
        yield f"wants {error}"


def _mark_problems(obj: KernelObject, mark: str) -> Iterator[str]:
    given = getattr(obj, "mark", mark)
    if given != mark:
        yield f"wants {_what(obj)} with the mark {given!r}: it has to be {mark!r}"


def _host_problems(obj: KernelObject, own: frozenset[str]) -> Iterator[str]:
    match obj:
        case Address() | Route() if obj.link not in own:
            yield f"wants {_what(obj)} on {obj.link}, a link of the host that is not its own"
        case Isolate() | Masquerade() | AllowPort() | Publish() if obj.bridge not in own:
            yield f"wants {_what(obj)} for {obj.bridge}, a link of the host that is not its own"
        case Source() if obj.link not in own:
            yield f"wants {_what(obj)} for {obj.link}, a link of the host that is not its own"
        case Sysctl() if obj.name not in _FORWARDING and _link_of(obj) not in own:
            yield f"wants {_what(obj)}, a setting of the host that is not of a link of its own"
        case _:
            pass


def _inside_problems(obj: KernelObject, ifname: str) -> Iterator[str]:
    match obj:
        case Address() | Route() if obj.link not in (ifname, "lo"):
            yield f"wants {_what(obj)} on {obj.link}; the endpoint's interface is {ifname}"
        case Sysctl() if _link_of(obj) not in (ifname, "", "all", "default", "lo"):
            yield f"wants {_what(obj)}, a setting of another interface than {ifname}"
        case Isolate() | Source() | Masquerade() | AllowPort() | Publish():
            yield f"wants {_what(obj)} in a sandbox: the firewall's rules are on the host"
        case _:
            pass


def _link_of(setting: Sysctl) -> str:
    parts = setting.name.split("/")
    return parts[3] if len(parts) == 5 and parts[2] in ("conf", "neigh") else ""


def _what(obj: KernelObject) -> str:
    return f"{obj.key.kind} {obj.key.name}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
