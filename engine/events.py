"""What happened, told to whoever asks: a bus with a short memory.

Events are Docker's documents, because clients print and filter them by their keys. The last 256 are kept, so that
`since` works for the recent past; nothing is written to disk. Publishing never waits for a subscriber: one that
falls behind by 8192 events is dropped, rather than letting it hold the engine up. No I/O; threads meet here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from engine.model import Json

MEMORY, BACKLOG = 256, 8192
Filters = Mapping[str, Sequence[str]]


class Subscription(Iterator[Json]):
    """Events as they come. Iterate in one thread; `close` from any other ends the iteration."""

    def __init__(self, events: Events, past: list[Json], until: float | None, filters: Filters) -> None:
        self._events = events
        self._queue: deque[Json] = deque(past)
        self._until = until
        self._filters = filters
        self._ready = threading.Condition()
        self._closed = False

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Json:
        event = self.next(None)
        if event is None:
            raise StopIteration
        return event

    def next(self, timeout: float | None) -> Json | None:
        """The next event; None at the end (see `ended`) or when `timeout` seconds have passed without one."""
        with self._ready:
            self._ready.wait_for(lambda: self._queue or self._closed, self._patience(timeout))
            if self._queue:
                return self._queue.popleft()
            if self._until is not None and self._events.now() >= self._until:
                self._closed = True
        if self._closed:
            self.close()
        return None

    @property
    def ended(self) -> bool:
        """Whether no event will come any more."""
        return self._closed and not self._queue

    def close(self) -> None:
        """End the iteration and leave the bus. May be called twice."""
        self._events.forget(self)
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def offer(self, event: Json) -> bool:
        """Take an event if it is wanted. False when this subscriber has fallen behind and gives up."""
        with self._ready:
            if self._closed:
                return False
            if self._until is not None and event["timeNano"] / 1e9 > self._until:
                return True
            if matches(event, self._filters):
                self._queue.append(event)
                self._ready.notify_all()
            self._closed = len(self._queue) > BACKLOG
            return not self._closed

    def _patience(self, timeout: float | None) -> float | None:
        if self._until is None:
            return timeout
        left = max(0.0, self._until - self._events.now())
        return left if timeout is None else min(left, timeout)


class Events:
    """The bus. `clock` gives nanoseconds since the epoch."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._past: deque[Json] = deque(maxlen=MEMORY)
        self._subscriptions: list[Subscription] = []

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock() / 1e9

    def publish(self, type: str, action: str, id: str, attributes: Mapping[str, str] | None = None) -> None:
        """Tell that `action` happened to the object `id` of that type ("container", "network", "image", "volume")."""
        with self._lock:
            event = document(type, action, id, attributes or {}, self._clock())
            self._past.append(event)
            self._subscriptions = [s for s in self._subscriptions if s.offer(event)]

    def subscribe(
        self, since: float | None = None, until: float | None = None, filters: Filters | None = None
    ) -> Subscription:
        """Past events from `since` on, then new ones up to `until` (seconds since the epoch; None: no end).

        With an `until` that has passed, the iteration ends after the past.
        """
        chosen = filters or {}
        with self._lock:
            past = [] if since is None else [e for e in self._past if _in_span(e, since, until) and matches(e, chosen)]
            subscription = Subscription(self, past, until, chosen)
            self._subscriptions.append(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Stop telling this subscriber."""
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)

    def listeners(self) -> int:
        """How many subscribers there are, as `docker info` shows it."""
        with self._lock:
            return len(self._subscriptions)

    def close(self) -> None:
        """End every subscription: the daemon stops."""
        with self._lock:
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription.close()


def document(type: str, action: str, id: str, attributes: Mapping[str, str], nanoseconds: int) -> Json:
    """Docker's event document. The first three keys are the old form, kept for containers and images alone."""
    old: Json = {}
    if type == "container":
        old = {"status": action, "id": id, "from": attributes.get("image", "")}
    elif type == "image":
        old = {"status": action, "id": id}
    return {key: value for key, value in old.items() if value} | {
        "Type": type,
        "Action": action,
        "Actor": {"ID": id, "Attributes": dict(sorted(attributes.items()))},
        "scope": "local",
        "time": nanoseconds // 1_000_000_000,
        "timeNano": nanoseconds,
    }


def matches(event: Json, filters: Filters) -> bool:
    """Whether the event passes every filter; the values of one filter are alternatives, except those of `label`."""
    return all(_passes(event, key, values) for key, values in filters.items() if values)


def _passes(event: Json, key: str, values: Sequence[str]) -> bool:
    kind, action, actor = event["Type"], event["Action"], event["Actor"]
    attributes: Mapping[str, str] = actor["Attributes"]
    match key:
        case "type":
            return kind in values
        case "scope":
            return event["scope"] in values
        case "event":
            return any(action == value or action.startswith(f"{value}:") for value in values)
        case "label":
            return all(_has_label(attributes, value) for value in values)
        case "image":
            names = {actor["ID"], attributes.get("image", ""), attributes.get("name", "") if kind == "image" else ""}
            return kind in ("image", "container") and any(v in names or f"{v}:latest" in names for v in values)
        case "container" | "network" | "volume" | "daemon" | "plugin":
            return _is_actor(event, key, values)
        case _:
            return True


def _is_actor(event: Json, kind: str, values: Sequence[str]) -> bool:
    attributes: Mapping[str, str] = event["Actor"]["Attributes"]
    if event["Type"] != kind:
        return kind == "container" and any(attributes.get("container", "").startswith(v) for v in values)
    identity = event["Actor"]["ID"]
    return any(identity.startswith(value) or attributes.get("name") == value.lstrip("/") for value in values)


def _has_label(attributes: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in attributes and (not equals or attributes[key] == value)


def _in_span(event: Json, since: float, until: float | None) -> bool:
    moment = event["timeNano"] / 1e9
    return moment >= since and (until is None or moment <= until)
