"""Command-line flags as Docker's own parser (Go's pflag) reads them: how they are declared, and how an argv is cut up.

Go's rules are not those of any parser for Python, in ways that scripts notice: `--rm=false`, where options end, and the
words of the errors. Pure.
"""

from __future__ import annotations

from engine.cli.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class FlagError(Exception):
    """An argv cannot be understood. The message is pflag's."""


class BadValue(Exception):
    """The value of one flag is wrong: raised by who interprets it, worded as pflag does by who knows the flag."""

    def __init__(self, flag: str, value: str, message: str) -> None:
        super().__init__(message)
        self.flag = flag
        self.value = value


@record
class Flag:
    """A declared flag. `kind` is how help names its value; empty for a boolean. `opts` are its spellings."""

    opts: tuple[str, ...]
    help: str
    kind: str
    default: Any
    multiple: bool = False

    @property
    def name(self) -> str:
        """What its value goes by: `memory_swap` for --memory-swap."""
        long = next((spelling for spelling in self.opts if spelling.startswith("--")), self.opts[0])
        return long.lstrip("-").replace("-", "_")


@record
class Options:
    """The values of a command's flags by name (`memory_swap`), and which of them were given."""

    values: Mapping[str, Any]
    given_names: frozenset[str] = frozenset()

    def text(self, name: str) -> str:
        return str(self.values.get(name) or "")

    def flag(self, name: str) -> bool:
        return bool(self.values.get(name))

    def number(self, name: str, default: int = 0) -> int:
        value = self.values.get(name)
        return default if value is None else int(value)

    def many(self, name: str) -> list[str]:
        return list(self.values.get(name) or ())

    def given(self, name: str) -> bool:
        return name in self.given_names


def flag(*names: str, help: str, default: bool = False) -> Flag:
    """A boolean flag: `--rm`, `--rm=false`."""
    return Flag(names, help, "", default)


def text(*names: str, help: str, default: str = "", kind: str = "string") -> Flag:
    return Flag(names, help, kind, default)


def number(*names: str, help: str, default: int | None = None) -> Flag:
    return Flag(names, help, "int", default)


def many(*names: str, help: str, kind: str = "list") -> Flag:
    """A flag that may be given several times."""
    return Flag(names, help, kind, (), True)


def listed(*names: str, help: str) -> Flag:
    """A flag that may be given several times, each with several values between commas."""
    return many(*names, help=help, kind="strings")


def choices(options: Iterable[Flag]) -> dict[str, Flag]:
    """The flags by every spelling: `-d`, `--detach`."""
    return {spelling: option for option in options for spelling in option.opts}


def spelled(option: Flag) -> str:
    """How error messages name a flag: `-m, --memory`."""
    short = [name for name in option.opts if not name.startswith("--")]
    return ", ".join([*short[:1], *(name for name in option.opts if name.startswith("--"))][: len(short[:1]) + 1])


def options_of(declared: Iterable[Flag], values: Mapping[str, Any]) -> Options:
    """The values that were given, and the defaults of all others."""
    return Options({**{option.name: option.default for option in declared}, **values}, frozenset(values))


class Parser:
    """Reads an argv. Options end at the first argument if they are not `interspersed`."""

    def __init__(self, options: Iterable[Flag], *, interspersed: bool) -> None:
        self._options = choices(options)
        self._interspersed = interspersed
        self._values: dict[str, Any] = {}
        self._order: list[Flag] = []

    def parse_args(self, args: Sequence[str]) -> tuple[dict[str, Any], list[str], list[Flag]]:
        """The values by flag name, the positional arguments, and the flags in the order given. Raises FlagError."""
        rest = list(args)
        positional: list[str] = []
        while rest:
            word = rest.pop(0)
            if word == "--":
                positional += rest
                break
            if not word.startswith("-") or word == "-":
                positional.append(word)
                if not self._interspersed:
                    positional += rest
                    break
            elif word.startswith("--"):
                self._long(word, rest)
            else:
                self._short(word, rest)
        return self._values, positional, self._order

    def _long(self, word: str, rest: list[str]) -> None:
        name, equals, value = word.partition("=")
        if len(name) < 3 or name[2] == "-":
            raise FlagError(f"bad flag syntax: {word}")
        option = self._options.get(name)
        if option is None:
            raise FlagError(f"unknown flag: {name}")
        if equals:
            self._store(option, value)
        elif not option.kind:
            self._store(option, "true")
        elif rest:
            self._store(option, rest.pop(0))
        else:
            raise FlagError(f"flag needs an argument: {name}")

    def _short(self, word: str, rest: list[str]) -> None:
        """A cluster: `-itd`, `-p80:80`, `-p=80:80`."""
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            option = self._options.get(f"-{letter}")
            if option is None:
                raise FlagError(f"unknown shorthand flag: {letter!r} in {word}")
            if letters.startswith("=") and (len(letters) > 1 or not option.kind):
                self._store(option, letters[1:])
                return
            if not option.kind:
                self._store(option, "true")
            elif letters or rest:
                self._store(option, letters or rest.pop(0))
                return
            else:
                raise FlagError(f"flag needs an argument: {letter!r} in {word}")

    def _store(self, option: Flag, value: str) -> None:
        name = option.name
        if not option.multiple:
            self._values[name] = _converted(option, value)
        elif option.kind == "strings":
            self._values.setdefault(name, []).extend(value.split(",") if value else [])
        else:
            self._values.setdefault(name, []).append(value)
        self._order.append(option)


def _converted(option: Flag, value: str) -> Any:
    if not option.kind:
        if value in _TRUE + _FALSE:
            return value in _TRUE
        raise FlagError(_invalid(option, value, f'strconv.ParseBool: parsing "{value}": invalid syntax'))
    if option.kind == "int":
        try:
            return int(value, 0)
        except ValueError:
            raise FlagError(_invalid(option, value, f'strconv.ParseInt: parsing "{value}": invalid syntax'))
    return value


def _invalid(option: Flag, value: str, why: str) -> str:
    return f'invalid argument "{value}" for "{spelled(option)}" flag: {why}'


def invalid(options: Iterable[Flag], bad: BadValue) -> str:
    """pflag's words for a bad value."""
    option = choices(options).get(f"--{bad.flag}")
    return f'invalid argument "{bad.value}" for "{spelled(option) if option else bad.flag}" flag: {bad}'
