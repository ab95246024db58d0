"""Command-line flags as Docker's own parser (Go's pflag) reads them: how they are declared, and how an argv is cut up.

Click's parser differs where scripts would notice: `--rm=false`, where options end, and the words of the errors. So the
declarations are click options, and this parser takes the place of click's. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

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


@dataclass(frozen=True, slots=True)
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


def flag(*names: str, help: str, default: bool = False) -> click.Option:
    """A boolean flag: `--rm`, `--rm=false`."""
    return click.Option(list(names), is_flag=True, default=default, help=help)


def text(*names: str, help: str, default: str = "", kind: str = "string") -> click.Option:
    return click.Option(list(names), type=str, default=default, help=help, metavar=kind)


def number(*names: str, help: str, default: int | None = None) -> click.Option:
    return click.Option(list(names), type=int, default=default, help=help, metavar="int")


def many(*names: str, help: str, kind: str = "list") -> click.Option:
    """A flag that may be given several times."""
    return click.Option(list(names), type=str, multiple=True, default=(), help=help, metavar=kind)


def listed(*names: str, help: str) -> click.Option:
    """A flag that may be given several times, each with several values between commas."""
    return many(*names, help=help, kind="strings")


def choices(options: Sequence[click.Parameter]) -> dict[str, click.Option]:
    """The options by every spelling: `-d`, `--detach`."""
    return {spelling: option for option in options if isinstance(option, click.Option) for spelling in option.opts}


def spelled(option: click.Option) -> str:
    """How error messages name an option: `-m, --memory`."""
    short = [name for name in option.opts if not name.startswith("--")]
    return ", ".join([*short[:1], *(name for name in option.opts if name.startswith("--"))][: len(short[:1]) + 1])


class Parser:
    """Reads an argv. It has the shape that click expects of a parser."""

    def __init__(self, options: Sequence[click.Parameter], *, interspersed: bool) -> None:
        self._options = choices(options)
        self._arguments = [option for option in options if isinstance(option, click.Argument)]
        self._interspersed = interspersed
        self._opt_prefixes = {"-", "--"}
        self._values: dict[str, Any] = {}
        self._order: list[click.Parameter] = []

    def parse_args(self, args: Sequence[str]) -> tuple[dict[str, Any], list[str], list[click.Parameter]]:
        """The values by option name, the positional arguments, and the options in the order given. Raises FlagError."""
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
        for argument in self._arguments:
            self._values[argument.name or ""] = tuple(positional)
            self._order.append(argument)
        return self._values, [] if self._arguments else positional, self._order

    def _long(self, word: str, rest: list[str]) -> None:
        name, equals, value = word.partition("=")
        if len(name) < 3 or name[2] == "-":
            raise FlagError(f"bad flag syntax: {word}")
        option = self._options.get(name)
        if option is None:
            raise FlagError(f"unknown flag: {name}")
        if equals:
            self._store(option, value)
        elif option.is_flag:
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
            if letters.startswith("=") and (len(letters) > 1 or option.is_flag):
                self._store(option, letters[1:])
                return
            if option.is_flag:
                self._store(option, "true")
            elif letters or rest:
                self._store(option, letters or rest.pop(0))
                return
            else:
                raise FlagError(f"flag needs an argument: {letter!r} in {word}")

    def _store(self, option: click.Option, value: str) -> None:
        name = option.name or ""
        converted = _converted(option, value)
        if not option.multiple:
            self._values[name] = converted
        elif option.metavar == "strings":
            self._values.setdefault(name, []).extend(value.split(",") if value else [])
        else:
            self._values.setdefault(name, []).append(value)
        self._order.append(option)


def _converted(option: click.Option, value: str) -> Any:
    if option.is_flag:
        if value in _TRUE + _FALSE:
            return value in _TRUE
        raise FlagError(_invalid(option, value, f'strconv.ParseBool: parsing "{value}": invalid syntax'))
    if option.type is click.INT:
        try:
            return int(value, 0)
        except ValueError:
            raise FlagError(_invalid(option, value, f'strconv.ParseInt: parsing "{value}": invalid syntax'))
    return value


def _invalid(option: click.Option, value: str, why: str) -> str:
    return f'invalid argument "{value}" for "{spelled(option)}" flag: {why}'


def invalid(options: Sequence[click.Parameter], bad: BadValue) -> str:
    """pflag's words for a bad value."""
    option = choices(options).get(f"--{bad.flag}")
    return f'invalid argument "{bad.value}" for "{spelled(option) if option else bad.flag}" flag: {bad}'
