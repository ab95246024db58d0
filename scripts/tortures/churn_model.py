"""What the churn does next, and what must be there afterwards. Pure: the chances are a seeded generator's.

A `Lane` is one client's share of the load: containers, networks and host ports that nobody else touches, so that what
it expects is exact. `next_step` chooses, `follow` says what follows from a step that succeeded. A wrong step is one
that the daemon must refuse, with a status that is known, and from which nothing follows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Literal

Verb = Literal[
    "run",
    "stop",
    "kill",
    "start",
    "restart",
    "remove",
    "rename",
    "exec",
    "connect",
    "disconnect",
    "make",
    "drop",
    "wrong",
]
_WEIGHTS: dict[Verb, int] = {
    "run": 30, "stop": 5, "kill": 6, "start": 8, "restart": 2, "remove": 26, "rename": 4, "exec": 8, "connect": 8,
    "disconnect": 6, "make": 5, "drop": 4, "wrong": 10,
}  # fmt: skip
MISTAKES = (
    "start what is not there", "take a name that is taken", "publish a port that is taken", "plug into nothing",
    "plug in twice", "remove what runs", "remove a network in use", "make a network again", "run no such image",
    "execute in what is stopped",
)  # fmt: skip
MOST = 12  # containers of a lane at a time


@dataclass(slots=True)
class Box:
    """A container as it must be. `hostname` stays what its first name was; `ports` are the host's, all for port 80."""

    name: str
    hostname: str
    alias: str
    networks: set[str]
    ports: tuple[int, ...] = ()
    running: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request or a few. `what` says which mistake a wrong step is."""

    verb: Verb
    box: str = ""
    network: str = ""
    ports: tuple[int, ...] = ()
    name: str = ""
    what: str = ""


@dataclass(slots=True, kw_only=True)
class Lane:
    """What one client has made so far. `ports` are free; `begun` counts containers ever run."""

    number: int
    chance: Random
    names: tuple[str, ...]
    ports: list[int]
    networks: set[str] = field(default_factory=set[str])
    boxes: dict[str, Box] = field(default_factory=dict[str, Box])
    begun: int = 0


def lane(number: int, seed: int, networks: int) -> Lane:
    """A lane that has nothing yet, and may make that many networks."""
    return Lane(
        number=number,
        chance=Random(f"{seed}/{number}"),
        names=tuple(f"net{number}-{each}" for each in range(networks)),
        ports=list(range(20000 + number * 400, 20000 + number * 400 + 400)),
    )


def next_step(lane: Lane) -> Step:
    """Something that can be done now, or a mistake that can be made now."""
    if not lane.networks:
        return Step(verb="make", network=lane.names[0])
    verbs, weights = zip(*_WEIGHTS.items(), strict=True)
    while True:
        (verb,) = lane.chance.choices(verbs, weights)
        if step := _step(lane, verb):
            return step


def last_steps(lane: Lane) -> list[Step]:
    """What removes everything."""
    boxes = [Step(verb="remove", box=name) for name in sorted(lane.boxes)]
    return boxes + [Step(verb="drop", network=name) for name in sorted(lane.networks)]


def follow(lane: Lane, step: Step) -> None:
    """Note what is so after a step that succeeded."""
    box = lane.boxes.get(step.box)
    match step.verb:
        case "run":
            lane.begun += 1
            lane.ports = [port for port in lane.ports if port not in step.ports]
            alias = f"alias{lane.number}-{lane.begun % 5}"
            lane.boxes[step.box] = Box(step.box, step.box, alias, {step.network}, step.ports)
        case "make":
            lane.networks.add(step.network)
        case "drop":
            lane.networks.discard(step.network)
        case "wrong" | "exec":
            pass
        case _ if box is not None:
            _follow_box(lane, box, step)
        case _:
            raise ValueError(f"{step} is about nothing")


def _follow_box(lane: Lane, box: Box, step: Step) -> None:
    match step.verb:
        case "stop" | "kill":
            box.running = False
        case "start" | "restart":
            box.running = True
        case "remove":
            del lane.boxes[box.name]
            lane.ports.extend(box.ports)
        case "rename":
            del lane.boxes[box.name]
            box.name = step.name
            lane.boxes[box.name] = box
        case "connect":
            box.networks.add(step.network)
        case _:
            box.networks.discard(step.network)


def _step(lane: Lane, verb: Verb) -> Step | None:
    chance = lane.chance
    match verb:
        case "run":
            if len(lane.boxes) >= MOST:
                return None
            ports = tuple(chance.sample(lane.ports, chance.choice((0, 0, 1, 1, 2))))
            return Step(verb=verb, box=f"box{lane.number}-{lane.begun}", network=_any(lane, lane.networks), ports=ports)
        case "make":
            fresh = set(lane.names) - lane.networks
            return Step(verb=verb, network=_any(lane, fresh)) if fresh else None
        case "drop":
            idle = lane.networks - {name for box in lane.boxes.values() for name in box.networks}
            return Step(verb=verb, network=_any(lane, idle)) if len(idle) > 1 else None
        case "wrong":
            return _mistake(lane, chance.choice(MISTAKES))
        case _:
            return _box_step(lane, verb)


def _box_step(lane: Lane, verb: Verb) -> Step | None:
    suits = [box for box in lane.boxes.values() if _suits(lane, box, verb)]
    if not suits:
        return None
    box = lane.chance.choice(suits)
    match verb:
        case "connect":
            return Step(verb=verb, box=box.name, network=_any(lane, lane.networks - box.networks))
        case "disconnect":
            return Step(verb=verb, box=box.name, network=_any(lane, box.networks))
        case "rename":
            return Step(verb=verb, box=box.name, name=f"{box.name.partition('.')[0]}.{lane.chance.randrange(10**6)}")
        case _:
            return Step(verb=verb, box=box.name)


def _suits(lane: Lane, box: Box, verb: Verb) -> bool:
    match verb:
        case "stop" | "kill" | "exec" | "restart":
            return box.running
        case "start":
            return not box.running
        case "connect":
            return len(box.networks) < 3 and bool(lane.networks - box.networks)
        case "disconnect":
            return len(box.networks) > 1
        case _:
            return True


def _mistake(lane: Lane, what: str) -> Step | None:
    """A step that must be refused, if there is what it takes to make it."""
    running = [box for box in lane.boxes.values() if box.running]
    stopped = [box for box in lane.boxes.values() if not box.running]
    with_ports = [box for box in running if box.ports]
    chance = lane.chance
    match what:
        case "publish a port that is taken":
            ports = chance.choice(with_ports).ports[:1] if with_ports else ()
            return Step(verb="wrong", what=what, ports=ports, network=_any(lane, lane.networks)) if ports else None
        case "execute in what is stopped":
            return Step(verb="wrong", what=what, box=chance.choice(stopped).name) if stopped else None
        case "start what is not there" | "run no such image":
            return Step(verb="wrong", what=what)
        case "make a network again":
            return Step(verb="wrong", what=what, network=_any(lane, lane.networks))
        case _:
            if not running:
                return None
            box = chance.choice(running)
            return Step(verb="wrong", what=what, box=box.name, network=_any(lane, box.networks))


def _any(lane: Lane, names: set[str]) -> str:
    return lane.chance.choice(sorted(names))
