"""Changes to an image's configuration, written as Dockerfile instructions.

`docker import --change`, `docker commit --change` and a builder all speak the same language: CMD, ENTRYPOINT, ENV,
EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR. `apply` takes a configuration (Docker's
`Config` document) and returns a new one; the old one is left alone. No I/O.
"""

from __future__ import annotations

import copy
import json
import posixpath
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from engine.images import words
from netpy.errors import InvalidArgument

Json = dict[str, Any]
SHELL = ["/bin/sh", "-c"]
_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/([A-Za-z]+))?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def apply(config: Json, changes: Sequence[str]) -> Json:
    """`config` after `changes`, in their order; one string may hold several lines.

    InvalidArgument names an instruction that is unknown or malformed.
    """
    result = copy.deepcopy(config)
    state = _State(result)
    for line in instructions("\n".join(changes)):
        keyword, _, rest = line.partition(" ")
        handler = _HANDLERS.get(keyword.upper())
        if handler is None:
            raise InvalidArgument(f"{keyword.lower()} is not a valid change command")
        if not rest.strip():
            raise InvalidArgument(f"{keyword.upper()} requires at least one argument")
        handler(state, rest.strip())
    return result


def change(  # noqa: PLR0913 - what an instruction is, and what it stands in
    config: Json,
    keyword: str,
    rest: str,
    *,
    arguments: Mapping[str, str],
    escape: str = words.BACKSLASH,
    command_set: bool = False,
) -> Json:
    """`config` after one instruction of a Dockerfile.

    `arguments` are build arguments in scope, which the environment hides; `command_set` tells that the same stage has
    a CMD already. InvalidArgument when it is malformed.
    """
    result = copy.deepcopy(config)
    state = _State(result, arguments=arguments, escape=escape)
    state.command_set = command_set
    _HANDLERS[keyword](state, rest)
    return result


def instructions(text: str) -> list[str]:
    """The instructions of `text`, one each, with comments and line continuations resolved."""
    lines: list[str] = []
    pending = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line.rstrip().endswith("\\"):
            pending += line.rstrip()[:-1]
            continue
        lines.append(" ".join((pending + line).strip().split(None, 1)))
        pending = ""
    return [*lines, pending.strip()] if pending.strip() else lines


def exec_form(rest: str) -> list[str] | None:
    """The list when `rest` is a JSON list of strings, else None: then it is the shell form."""
    try:
        value: object = json.loads(rest)
    except ValueError:
        return None
    items = cast(list[object], value) if isinstance(value, list) else None
    if items is not None and all(isinstance(item, str) for item in items):
        return cast(list[str], items)
    return None


def environment(config: Json) -> dict[str, str]:
    """The variables that a configuration sets."""
    entries: list[str] = config.get("Env") or []
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}


def pairs(
    rest: str, keyword: str, variables: Mapping[str, str], escape: str = words.BACKSLASH
) -> list[tuple[str, str]]:
    """The assignments of an ENV or LABEL instruction: `A=1 B="2 3"`, or the old form `A rest of the line`."""
    raw = words.raw_words(rest, escape)
    if "=" not in raw[0]:
        name, *value = rest.split(None, 1)
        if not value:
            raise InvalidArgument(f"{keyword} must have two arguments")
        return [(name, words.expand(value[0].strip(), variables, escape))]
    result: list[tuple[str, str]] = []
    for word in raw:
        name, equals, value = word.partition("=")
        name = words.expand(name, variables, escape)
        if not equals:
            raise InvalidArgument(f"syntax error - can't find = in {word!r}: must be of the form: name=value")
        if not name:
            raise InvalidArgument(f"{keyword} names can not be blank")
        result.append((name, words.expand(value, variables, escape)))
    return result


def ports(word: str) -> list[str]:
    """The ports an EXPOSE word names, such as `80/tcp`; a range `8000-8002/udp` names each."""
    found = _PORT.fullmatch(word)
    proto = (found[3] or "tcp").lower() if found else ""
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if found is None or not 0 < first <= last <= 65535:
        raise InvalidArgument(f"invalid containerPort: {word}")
    if proto not in ("tcp", "udp", "sctp"):
        raise InvalidArgument(f"invalid proto: {proto}")
    return [f"{port}/{proto}" for port in range(first, last + 1)]


def duration(text: str) -> int:
    """Nanoseconds of a duration such as `1m30s`. InvalidArgument when it is none."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidArgument(f"invalid duration {text!r}")
    return sum(int(float(number) * _UNITS[unit]) for number, unit in parts)


class _State:
    """The configuration under change, and what one instruction must know of the earlier ones."""

    def __init__(
        self, config: Json, *, arguments: Mapping[str, str] | None = None, escape: str = words.BACKSLASH
    ) -> None:
        self.config = config
        self.arguments = arguments or {}
        self.escape = escape
        self.command_set = False

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.config)

    @property
    def variables(self) -> dict[str, str]:
        return {**self.arguments, **self.environment}

    def words(self, rest: str) -> list[str]:
        return words.split(rest, self.variables, self.escape)

    def word(self, rest: str) -> str:
        return words.expand(rest, self.variables, self.escape)


def _command(state: _State, rest: str) -> list[str]:
    listed = exec_form(rest)
    shell: list[str] = state.config.get("Shell") or SHELL
    return listed if listed is not None else [*shell, rest]


def _cmd(state: _State, rest: str) -> None:
    state.config["Cmd"] = _command(state, rest)
    state.command_set = True


def _entrypoint(state: _State, rest: str) -> None:
    state.config["Entrypoint"] = _command(state, rest) or None
    if not state.command_set:
        # A command inherited from elsewhere was meant for the old entry point.
        state.config["Cmd"] = None


def _env(state: _State, rest: str) -> None:
    merged = state.environment
    merged.update(pairs(rest, "ENV", state.variables, state.escape))
    state.config["Env"] = [f"{name}={value}" for name, value in merged.items()]


def _label(state: _State, rest: str) -> None:
    found = dict(pairs(rest, "LABEL", state.variables, state.escape))
    state.config["Labels"] = {**(state.config.get("Labels") or {}), **found}


def _expose(state: _State, rest: str) -> None:
    exposed = dict(state.config.get("ExposedPorts") or {})
    for word in state.words(rest):
        exposed.update({port: {} for port in ports(word)})
    state.config["ExposedPorts"] = exposed


def _volume(state: _State, rest: str) -> None:
    listed = exec_form(rest)
    paths = [state.word(path) for path in listed] if listed is not None else state.words(rest)
    if not all(path.strip() for path in paths):
        raise InvalidArgument("VOLUME specified can not be an empty string")
    state.config["Volumes"] = {**(state.config.get("Volumes") or {}), **{path: {} for path in paths}}


def _workdir(state: _State, rest: str) -> None:
    path = state.word(rest)
    if not path:
        raise InvalidArgument("cannot normalize nothing")
    state.config["WorkingDir"] = posixpath.normpath(posixpath.join("/", state.config.get("WorkingDir") or "/", path))


def _user(state: _State, rest: str) -> None:
    if len(words.raw_words(rest, state.escape)) != 1:
        raise InvalidArgument("USER requires exactly one argument")
    state.config["User"] = state.word(rest)


def _stopsignal(state: _State, rest: str) -> None:
    name = state.word(rest)
    known = {item.name for item in signal.Signals}
    if not (name.isdigit() and 0 < int(name) < 65) and f"SIG{name.upper().removeprefix('SIG')}" not in known:
        raise InvalidArgument(f"invalid signal: {name}")
    state.config["StopSignal"] = name


def _onbuild(state: _State, rest: str) -> None:
    if rest.partition(" ")[0].upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidArgument(f"{rest.partition(' ')[0].upper()} isn't allowed as an ONBUILD trigger")
    state.config["OnBuild"] = [*(state.config.get("OnBuild") or []), rest]


def _shell(state: _State, rest: str) -> None:
    listed = exec_form(rest)
    if not listed:
        raise InvalidArgument("SHELL requires the arguments to be in JSON form")
    state.config["Shell"] = listed


def _healthcheck(state: _State, rest: str) -> None:
    check: Json = {}
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        name, _, value = flag[2:].partition("=")
        rest = rest.strip()
        if name in _TIMES:
            check[_TIMES[name]] = duration(value)
        elif name == "retries" and value.isdigit():
            check["Retries"] = int(value)
        else:
            raise InvalidArgument(f"unknown or malformed flag in HEALTHCHECK: {flag}")
    kind, _, command = rest.partition(" ")
    match kind.upper():
        case "NONE" if not command:
            check["Test"] = ["NONE"]
        case "CMD" if command.strip():
            listed = exec_form(command.strip())
            check["Test"] = ["CMD", *listed] if listed is not None else ["CMD-SHELL", command.strip()]
        case _:
            raise InvalidArgument(f"unknown type {kind!r} in HEALTHCHECK (try CMD)")
    state.config["Healthcheck"] = check


_HANDLERS: dict[str, Callable[[_State, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
