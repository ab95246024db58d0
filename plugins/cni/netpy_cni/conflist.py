"""Network configurations: where they are found, what they have to be, and which version of CNI is spoken with them.

A configuration is a file `*.conflist` (or `*.conf`, `*.json`: one plugin, taken for a list of one), given by its path
or looked up by the name that it states. Nothing of a plugin's own keys is understood or changed here: what is not the
protocol's passes to the plugin as it stands. Reads files; runs nothing. Errors are InvalidArgument and NotFound that
name the file.

Facts: the CNI specification 1.1, sections 1 and 3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from netpy.errors import InvalidArgument, NotFound

Json = dict[str, Any]
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
SUFFIXES = (".conflist", ".conf", ".json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_FLAGS = ("disableCheck", "disableGC", "loadOnlyInlinedPlugins")
_RESERVED = ("runtimeConfig", "args", "prevResult")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflist:
    """A network's plugins in the order of ADD, and the version that is spoken with them."""

    name: str
    version: str
    plugins: tuple[Mapping[str, Any], ...]
    disable_check: bool = False
    disable_gc: bool = False

    def at_least(self, version: str) -> bool:
        """Whether the version spoken has what came with `version`."""
        return VERSIONS.index(self.version) >= VERSIONS.index(version)

    @property
    def capabilities(self) -> frozenset[str]:
        """What the plugins together ask to be told."""
        return frozenset(each for plugin in self.plugins for each in declared(plugin))


def declared(plugin: Mapping[str, Any]) -> frozenset[str]:
    """The capabilities that one plugin declares."""
    return frozenset(name for name, wanted in plugin.get("capabilities", {}).items() if wanted)


def find(name: str, directories: Sequence[Path]) -> Path:
    """The file of the network `name`: the first, by file name, that states it. NotFound lists what there is."""
    known: list[str] = []
    for directory in directories:
        for path in sorted(each for each in directory.glob("*") if each.suffix in SUFFIXES):
            try:
                stated = _read(path).get("name")
            except InvalidArgument:
                continue  # a broken neighbour is told of when it is asked for itself
            if stated == name:
                return path
            known.append(str(stated))
    where = " and ".join(map(str, directories))
    raise NotFound(f"no CNI network {name} in {where}: there is {', '.join(known) or 'none'}")


def load(path: Path) -> Conflist:
    """The configuration in a file, with the plugins of the directory named after the network where there is one."""
    body = _read(path)
    if "type" in body and "plugins" not in body:
        body = {"cniVersion": body.get("cniVersion", ""), "name": body.get("name", ""), "plugins": [body]}
    if body.get("loadOnlyInlinedPlugins") is not True:
        name = body.get("name")
        beside = path.parent / str(name) if name else path.parent / "-"
        more = [_read(each) for each in sorted(beside.glob("*")) if each.suffix in SUFFIXES]
        if more:
            body = {**body, "plugins": [*_list(body.get("plugins", []), f"{path}: plugins"), *more]}
    return parse(body, str(path))


def parse(body: Json, origin: str) -> Conflist:
    """The list that a document describes; `origin` names it in errors."""
    name = body.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidArgument(f"{origin}: name {name!r} is no CNI network name")
    for flag in _FLAGS:
        if not isinstance(body.get(flag, False), bool):
            raise InvalidArgument(f"{origin}: {flag} must be true or false, not {body[flag]!r}")
    plugins = [_plugin(each, f"{origin}: plugin {n + 1}") for n, each in enumerate(_list(body.get("plugins"), origin))]
    if not plugins:
        raise InvalidArgument(f"{origin}: no plugins in list {name}")
    return Conflist(
        name=name,
        version=_version(body, origin),
        plugins=tuple(plugins),
        disable_check=body.get("disableCheck", False),
        disable_gc=body.get("disableGC", False),
    )


def document(conflist: Conflist) -> Json:
    """What `parse` makes the same list of: for keeping it."""
    return {
        "cniVersion": conflist.version,
        "name": conflist.name,
        "disableCheck": conflist.disable_check,
        "disableGC": conflist.disable_gc,
        "plugins": [dict(plugin) for plugin in conflist.plugins],
    }


def _version(body: Json, origin: str) -> str:
    stated = [body.get("cniVersion", ""), *_list(body.get("cniVersions", []), f"{origin}: cniVersions")]
    common = [version for version in VERSIONS if version in stated]
    if not common:
        asked = ", ".join(str(each) for each in stated if each) or "no version"
        raise InvalidArgument(f"{origin}: cniVersion: the list states {asked}, netpy speaks {', '.join(VERSIONS)}")
    return common[-1]


def _plugin(body: object, origin: str) -> Json:
    if not isinstance(body, dict):
        raise InvalidArgument(f"{origin} is {body!r}, not an object")
    plugin = cast(Json, body)
    kind = plugin.get("type")
    if not isinstance(kind, str) or not kind or "/" in kind or kind in {".", ".."}:
        raise InvalidArgument(f"{origin}: type {kind!r} does not name a plugin")
    wrong = next((key for key in plugin if key in _RESERVED or key.startswith("cni.dev/")), None)
    if wrong:
        raise InvalidArgument(f"{origin} ({kind}): the key {wrong} is the runtime's and may not be configured")
    if not isinstance(plugin.get("capabilities", {}), dict):
        raise InvalidArgument(f"{origin} ({kind}): capabilities must be an object")
    return plugin


def _list(value: object, origin: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidArgument(f"{origin}: {value!r} is not a list")
    return cast("list[Any]", value)


def _read(path: Path) -> Json:
    try:
        body = json.loads(path.read_text())
    except OSError as error:
        raise NotFound(f"cannot read the CNI configuration {path}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidArgument(f"{path}: invalid JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidArgument(f"{path}: not a JSON object")
    return cast(Json, body)
