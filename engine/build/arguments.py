"""Build arguments: what ARG declares, what the user gave, and who sees which of them. No I/O.

An argument is seen from its ARG on, within its stage. One declared before the first FROM is seen by FROM lines, and by
a stage that declares it again. The proxies are known without being declared, and are not part of what the cache looks
at unless they are. A variable of the image's environment hides an argument of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping

BUILTIN = frozenset(
    {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy"}
    | {"NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"}
)


class Arguments:
    """The arguments of one build. `given` are the user's; None stands for a name without a value."""

    def __init__(self, given: Mapping[str, str | None]) -> None:
        self._given = given
        self._global: dict[str, str | None] = {}
        self._stage: dict[str, str | None] = {}
        self._referenced: set[str] = set()
        self._consumed: set[str] = set()

    def declare_global(self, name: str, default: str | None) -> None:
        """An ARG before the first FROM."""
        self._consumed.add(name)
        self._global[name] = self._given.get(name) if self._given.get(name) is not None else default

    def begin_stage(self) -> None:
        """A FROM: what was declared in the stage before is forgotten."""
        self._stage = {}
        self._referenced = set()

    def declare(self, name: str, default: str | None) -> None:
        """An ARG within a stage."""
        self._stage[name] = default
        self._referenced.add(name)
        self._consumed.add(name)

    @property
    def for_from(self) -> dict[str, str]:
        """What FROM lines see."""
        return {name: value for name, value in self._global.items() if value is not None}

    def visible(self) -> dict[str, str]:
        """What the instructions of the stage see, by name."""
        found: dict[str, str] = {}
        for name in sorted({*self._stage, *(BUILTIN & self._given.keys())}):
            value = self._value(name)
            if value is not None:
                found[name] = value
        return found

    def for_run(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What a RUN gets in its environment besides the image's own."""
        return {name: value for name, value in self.visible().items() if name not in environment}

    def for_cache(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What of `for_run` makes a RUN another one: proxies only if they were declared."""
        chosen = self.for_run(environment)
        return {name: value for name, value in chosen.items() if name in self._referenced or name not in BUILTIN}

    def unconsumed(self) -> list[str]:
        """What the user gave and nobody asked for, sorted."""
        return sorted(name for name in self._given if name not in self._consumed and name not in BUILTIN)

    def _value(self, name: str) -> str | None:
        given = self._given.get(name)
        if given is not None:
            return given
        default = self._stage.get(name)
        return self._global.get(name) if default is None else default
