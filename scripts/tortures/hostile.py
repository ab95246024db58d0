"""The part `hostile`: everything that a container or a machine outside may try against others, on both firewalls.

A finding is an attack that got through. The same forgeries are sent where the check is switched off: one that does not
arrive there either would show nothing, and is a finding, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from .arena import Arena, arena, arrives
from .forgeries import ALL, CREDIBLE
from .intrusions import BETWEEN_NEIGHBOURS, INTRUSIONS, LOOSE
from .strangers import met
from .tally import Options, Tally


def run(options: Options) -> Tally:
    tally = Tally(part="hostile")
    for backend in options.backends:
        with arena(backend) as place:
            for name, through in (*forged(place), *intruded(place), *met(place)):
                tally.count("attacks")
                if through:
                    tally.count("got through")
                    tally.blame(f"{backend}: {name}: {through}")
            for name, through in believed(place):
                tally.count("counter-checks")
                if not through:
                    tally.blame(f"{backend}: {name} does not arrive even where it may: the attack shows nothing")
            for line in place.netpy("network", "check").splitlines():
                tally.blame(f"{backend}: afterwards: {line}")
    tally.counts.setdefault("got through", 0)
    return tally


def forged(place: Arena) -> Iterator[tuple[str, str]]:
    """(name, what happened) of every forgery; nothing happened if it is empty."""
    attacker, victim, neighbour = (place.party(name) for name in ("mallory", "alice", "bob"))
    for name, forge in ALL.items():
        yield name, "arrived" if arrives(attacker, victim, forge(attacker, victim, neighbour)) else ""


def intruded(place: Arena) -> Iterator[tuple[str, str]]:
    """(name, what happened) of every intrusion."""
    for name, intrude in INTRUSIONS.items():
        yield name, "; ".join(intrude(place))


def believed(place: Arena) -> Iterator[tuple[str, bool]]:
    """Where nothing is checked: (name, whether it arrived) of the forgeries that have to."""
    attacker, victim, neighbour = (place.party(name) for name in ("punch", "judy", "toby"))
    for name in CREDIBLE:
        yield name, arrives(attacker, victim, ALL[name](attacker, victim, neighbour))
    for intrude in BETWEEN_NEIGHBOURS:
        yield intrude.__name__.replace("_", " "), bool(list(intrude(place, LOOSE)))
