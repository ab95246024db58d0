"""Names of containers: which are valid, who has them, and made-up ones. Pure; chance comes in as an argument."""

from __future__ import annotations

import re
from collections.abc import Callable

from netpy.errors import Conflict, InvalidArgument

_VALID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def _words(text: str) -> list[str]:
    return text.split()


_MOODS = _words("""
amber ample ardent astute balmy bold brave breezy brisk calm candid cheery civil clever cosy crisp curious daring deft
eager earnest easy fair fancy fearless fond frank fresh gentle glad golden grand handy happy hardy hearty honest hopeful
jolly keen kind lively loyal lucid lucky mellow merry mild modest neat nimble noble patient peaceful placid plucky
polite prompt proud quick quiet rapid ready robust serene sharp silent sincere sleek smart snug sober solid spry steady
sturdy subtle sunny swift tender thrifty tidy upbeat vivid warm wise witty worthy zesty
""")
_PEOPLE = _words("""
abel ampere archimedes babbage baird bassi bell bernoulli bohr boole born bose boyle brahe carson cauchy chandrasekhar
clarke cori curie darwin dijkstra dirac edison einstein engelbart erdos euclid euler faraday fermat fermi feynman
franklin galileo galois gauss germain goedel goodall hamilton hawking heisenberg hertz hodgkin hopper hubble huygens
hypatia jackson johnson joliot kalam kepler khayyam knuth kovalevskaya lamarr lamport laplace leavitt leibniz liskov
lovelace mayer maxwell mcclintock meitner mendel mirzakhani morse napier nash newton nobel noether pascal pasteur
pauli perlman planck poincare ptolemy raman ramanujan ritchie rosalind rutherford sagan shannon shockley snyder
stonebraker swirles tesla thompson torvalds turing volta wiles wing wozniak wright wu yalow yonath
""")


def check(name: str, *, shown: str = "") -> str:
    """The name without its leading slash. InvalidArgument, in Docker's words, where it is not one.

    `shown` is how the complaint is to write it, where not bare.
    """
    bare = name.removeprefix("/")
    if not _VALID.fullmatch(bare):
        raise InvalidArgument(f"Invalid container name ({shown or bare}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return bare


def taken(name: str, owner_id: str) -> Conflict:
    """The complaint that another container has the name."""
    return Conflict(
        f'Conflict. The container name "/{name}" is already in use by container "{owner_id}". You have to remove '
        "(or rename) that container to be able to reuse that name."
    )


def invent(pick: Callable[[list[str]], str], is_free: Callable[[str], bool]) -> str:
    """A free `mood_surname`; with a number behind it when the first tries are taken."""
    for attempt in range(1000):
        name = f"{pick(_MOODS)}_{pick(_PEOPLE)}{attempt if attempt > 5 else ''}"
        if is_free(name):
            return name
    raise Conflict("no free name for the container was found: give one with --name")
