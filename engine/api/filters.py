"""The filters of list and prune requests: which containers and networks pass. Pure.

The values of one filter are alternatives, except those of `label`, which must all hold; a filter that does not exist
for the noun is refused. `name` and `id` are regular expressions, as in Docker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from engine.api.views.status import moment
from engine.model import NEVER, Container
from netpy.errors import InvalidArgument
from netpy.model import Endpoint, Network

Filters = Mapping[str, Sequence[str]]

_CONTAINER_KEYS = frozenset(
    {"ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name", "network"}
    | {"publish", "since", "status", "volume"}
)
_NETWORK_KEYS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
_VOLUME_KEYS = frozenset({"dangling", "driver", "label", "name"})
PRUNE_KEYS = frozenset({"until", "label", "label!"})
_STATUSES = frozenset({"created", "running", "paused", "restarting", "removing", "exited", "dead"})
_VERDICTS = frozenset({"none", "starting", "healthy", "unhealthy"})
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


def check(filters: Filters, known: Iterable[str]) -> None:
    """InvalidArgument for a filter that does not exist."""
    for name in filters:
        if name not in known:
            raise InvalidArgument(f"invalid filter '{name}'")


def has_labels(labels: Mapping[str, str], wanted: Sequence[str]) -> bool:
    """Whether every `key` or `key=value` is among the labels."""
    return all(_has_label(labels, text) for text in wanted)


def is_unlabelled(labels: Mapping[str, str], unwanted: Sequence[str]) -> bool:
    """Whether none of them is (`label!=`)."""
    return not any(_has_label(labels, text) for text in unwanted)


def matches_pattern(values: Sequence[str], text: str) -> bool:
    """Whether the text is one of the values or is found by one of them as a regular expression."""
    return any(value == text or _search(value, text) for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A container and what filters may ask of it. `image_ids` are its image and tags by which that is known."""

    container: Container
    endpoints: Sequence[Endpoint] = ()
    ports: Mapping[str, object]
    exposed: Sequence[str] = ()
    image_names: Sequence[str] = ()
    network_ids: Sequence[str] = ()


def container_filter(filters: Filters, find: Callable[[str], Container]) -> Callable[[Candidate], bool]:
    """A predicate for the containers list. `find` resolves the refs of `before` and `since`."""
    check(filters, _CONTAINER_KEYS)
    for status in filters.get("status", ()):
        if status not in _STATUSES:
            raise InvalidArgument(f"invalid filter 'status={status}'")
    for verdict in filters.get("health", ()):
        if verdict not in _VERDICTS:
            raise InvalidArgument(f"Unrecognised filter value for health: {verdict}")
    exits = [_number(value, "exited") for value in filters.get("exited", ())]
    before = [find(ref).created for ref in filters.get("before", ())]
    since = [find(ref).created for ref in filters.get("since", ())]
    tests = [(test, filters[name]) for name, test in _TESTS.items() if filters.get(name)]

    def passes(candidate: Candidate) -> bool:
        container = candidate.container
        if any(container.created >= limit for limit in before) or any(container.created <= limit for limit in since):
            return False
        if exits and not (_has_ended(container) and container.state.exit_code in exits):
            return False
        return all(test(candidate, values) for test, values in tests)

    return passes


def network_filter(filters: Filters, in_use: Callable[[Network], bool]) -> Callable[[Network], bool]:
    """A predicate for the networks list."""
    check(filters, _NETWORK_KEYS)
    dangling = [_truth(value, "dangling") for value in filters.get("dangling", ())]
    for kind in filters.get("type", ()):
        if kind not in ("builtin", "custom"):
            raise InvalidArgument(f"invalid filter: 'type'='{kind}'")

    def passes(network: Network) -> bool:
        spec = network.spec
        exact = {"driver": spec.driver, "scope": "local", "type": "builtin" if network.predefined else "custom"}
        if any(filters.get(key) and value not in filters[key] for key, value in exact.items()):
            return False
        if any((not network.predefined and not in_use(network)) != wanted for wanted in dangling):
            return False
        patterns = {"name": network.name, "id": network.id}
        if any(filters.get(key) and not matches_pattern(filters[key], text) for key, text in patterns.items()):
            return False
        return has_labels(spec.labels, filters.get("label", ()))

    return passes


def volume_filter(filters: Filters, used: AbstractSet[str]) -> Callable[[Mapping[str, Any]], bool]:
    """A predicate for the volumes list. `used` are the names of those that containers mount."""
    check(filters, _VOLUME_KEYS)
    dangling = [_truth(value, "dangling") for value in filters.get("dangling", ())]

    def passes(volume: Mapping[str, Any]) -> bool:
        name = str(volume["Name"])
        if any((name not in used) != wanted for wanted in dangling):
            return False
        if filters.get("driver") and volume["Driver"] not in filters["driver"]:
            return False
        if filters.get("name") and not matches_pattern(filters["name"], name):
            return False
        return has_labels(volume.get("Labels") or {}, filters.get("label", ()))

    return passes


def truth(filters: Filters, name: str) -> bool:
    """What a filter that is true or false says; false when it is absent."""
    return any(_truth(value, name) for value in filters.get(name, ()))


def prune_filter(filters: Filters, now: float) -> Callable[[str, Mapping[str, str]], bool]:
    """A predicate over (created, labels): whether pruning may take the object. `until` is a Unix time or `24h`."""
    check(filters, PRUNE_KEYS)
    limits = [_until(value, now) for value in filters.get("until", ())]

    def passes(created: str, labels: Mapping[str, str]) -> bool:
        if any(moment(created).timestamp() > limit for limit in limits):
            return False
        return has_labels(labels, filters.get("label", ())) and is_unlabelled(labels, filters.get("label!", ()))

    return passes


def _has_ended(container: Container) -> bool:
    return not container.state.running and container.state.started_at != NEVER


def _by_name(candidate: Candidate, values: Sequence[str]) -> bool:
    name = candidate.container.name
    return any(_search(value.removeprefix("/"), name) or _search(value, f"/{name}") for value in values)


def _by_network(candidate: Candidate, values: Sequence[str]) -> bool:
    names = [a.network for a in candidate.container.attachments]
    return any(v in names or any(i.startswith(v) for i in candidate.network_ids) for v in values if v)


def _by_volume(candidate: Candidate, values: Sequence[str]) -> bool:
    places = {str(m.get(key)) for m in candidate.container.mounts for key in ("Name", "Source", "Destination")}
    return any(value in places for value in values)


def _by_ancestor(candidate: Candidate, values: Sequence[str]) -> bool:
    image = candidate.container.image_id
    digest = image.removeprefix("sha256:")
    names = {candidate.container.image, image, *candidate.image_names}
    return any(v in names or f"{v}:latest" in names or (len(v) >= 4 and digest.startswith(v)) for v in values)


def _by_health(candidate: Candidate, values: Sequence[str]) -> bool:
    health = candidate.container.state.health
    return (health.status if health else "none") in values


_TESTS: Mapping[str, Callable[[Candidate, Sequence[str]], bool]] = {
    "name": _by_name,
    "id": lambda c, values: matches_pattern(values, c.container.id),
    "label": lambda c, values: has_labels(c.container.config.get("Labels") or {}, values),
    "status": lambda c, values: c.container.state.status in values,
    "network": _by_network,
    "volume": _by_volume,
    "ancestor": _by_ancestor,
    "publish": lambda c, values: any(_covers(value, [k for k, v in c.ports.items() if v]) for value in values),
    "expose": lambda c, values: any(_covers(value, c.exposed) for value in values),
    "health": _by_health,
    "is-task": lambda c, values: not any(_truth(value, "is-task") for value in values),
}


def _covers(wanted: str, ports: Iterable[str]) -> bool:
    """Whether `80`, `80/udp` or `8000-8010/tcp` takes in one of the ports, written as `80/tcp`."""
    span, _, protocol = wanted.partition("/")
    first, _, last = span.partition("-")
    low = _number(first, "port")
    high = _number(last, "port") if last else low
    for port in ports:
        number, _, kind = port.partition("/")
        if low <= int(number.partition("-")[0]) <= high and kind == (protocol or "tcp"):
            return True
    return False


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _search(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error as error:
        raise InvalidArgument(f"invalid filter {pattern!r}: not a regular expression: {error}") from None


def _number(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidArgument(f"invalid filter '{what}={text}': a number is wanted") from None


def _truth(text: str, what: str) -> bool:
    found = _TRUTH.get(text.lower())
    if found is None:
        raise InvalidArgument(f"invalid filter '{what}={text}': true or false is wanted")
    return found


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")


def _until(text: str, now: float) -> float:
    """A Unix time, an RFC 3339 moment, or a duration before now, as a Unix time."""
    if _DURATION.sub("", text) == "" and text:
        return now - sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return moment(text).timestamp()
    except ValueError:
        raise InvalidArgument(f"invalid filter 'until={text}': a timestamp or a duration is wanted") from None
