"""A list of plugins, run for one verb, as the specification's section 3 has it.

ADD goes forward, and each plugin gets the result of the one before; when one fails, DEL goes over all of them. DEL goes
backward and on after a failure. CHECK and DEL give every plugin the final result of ADD. GC and STATUS know of no
attachment. What came with a later version of CNI is not asked of a list of an earlier one (CHECK, and `prevResult` for
DEL, with 0.4.0; GC and STATUS with 1.1.0). Runs plugins; keeps nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from netpy.errors import DriverError, NetpyError, Unsupported
from netpy_cni.capabilities import granted
from netpy_cni.conflist import Conflist
from netpy_cni.execution import Executor

Json = dict[str, Any]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One container's plug: what ADD, DEL and CHECK are told. `wanted` are capability arguments."""

    container: str
    netns: str
    ifname: str
    arguments: str = ""
    wanted: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def variables(self) -> dict[str, str]:
        return {
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.ifname,
            "CNI_ARGS": self.arguments,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The plugins of one network."""

    conflist: Conflist
    executor: Executor

    def add(self, attachment: Attachment) -> Json:
        """The final result. On failure everything that was set up is taken down before the error is raised."""
        result: Json | None = None
        try:
            for plugin in self.conflist.plugins:
                what = f"plugin {plugin['type']}: ADD"
                result = self._run(plugin, "ADD", attachment, result)
                if result is None:
                    raise DriverError(f"{what}: exited with success and printed no result")
                if not {"ips", "interfaces", "ip4", "ip6", "cniVersion"} & result.keys():
                    raise DriverError(f"{what}: printed a document that is no result: {str(result)[:200]}")
            return result or {}
        except NetpyError:
            for error in self.delete(attachment, None):
                logger.warning("CNI network %s, after a failed ADD: %s", self.conflist.name, error)
            raise

    def delete(self, attachment: Attachment, result: Json | None) -> list[NetpyError]:
        """Take everything down, whatever fails. Returns what did."""
        errors: list[NetpyError] = []
        known = result if self.conflist.at_least("0.4.0") else None
        for plugin in reversed(self.conflist.plugins):
            try:
                self._run(plugin, "DEL", attachment, known)
            except NetpyError as error:
                errors.append(error)
        return errors

    def check(self, attachment: Attachment, result: Json) -> list[NetpyError]:
        """What the plugins say is wrong with the attachment."""
        if self.conflist.disable_check or not self.conflist.at_least("0.4.0"):
            return []
        return self._told(lambda plugin: self._run(plugin, "CHECK", attachment, result))

    def status(self) -> list[NetpyError]:
        """What keeps the plugins from serving."""
        if not self.conflist.at_least("1.1.0"):
            return []
        return self._told(lambda plugin: self.executor.run(plugin["type"], "STATUS", self._config(plugin), {}))

    def collect(self, valid: Sequence[tuple[str, str]]) -> list[NetpyError]:
        """Let the plugins drop whatever is not of these (container, interface) attachments."""
        if self.conflist.disable_gc or not self.conflist.at_least("1.1.0"):
            return []
        named = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
        # The second is what the specification's first text and libcni call it: plugins look for either.
        more = {"cni.dev/valid-attachments": named, "cni.dev/attachments": named}
        return self._told(lambda plugin: self.executor.run(plugin["type"], "GC", {**self._config(plugin), **more}, {}))

    def negotiate(self) -> None:
        """Every plugin exists and speaks the list's version: NotFound, or Unsupported that says what it speaks."""
        for plugin in self.conflist.plugins:
            kind, version = plugin["type"], self.conflist.version
            asked = {"cniVersion": version}
            answer = self.executor.run(kind, "VERSION", asked, {}) or {}
            spoken = answer.get("supportedVersions")
            if not isinstance(spoken, list):
                raise DriverError(f"plugin {kind}: VERSION: printed no supportedVersions")
            if version not in spoken:
                known = ", ".join(map(str, spoken))  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
                name = self.conflist.name
                raise Unsupported(f"plugin {kind}: VERSION: network {name} is of {version}, the plugin speaks {known}")

    def _told(self, ask: Callable[[Mapping[str, Any]], object]) -> list[NetpyError]:
        errors: list[NetpyError] = []
        for plugin in self.conflist.plugins:
            try:
                ask(plugin)
            except NetpyError as error:
                errors.append(error)
        return errors

    def _run(self, plugin: Mapping[str, Any], verb: str, attachment: Attachment, result: Json | None) -> Json | None:
        config = self._config(plugin)
        told = granted(plugin, attachment.wanted)
        if told:
            config["runtimeConfig"] = told
        if result is not None:
            config["prevResult"] = result
        return self.executor.run(plugin["type"], verb, config, attachment.variables)

    def _config(self, plugin: Mapping[str, Any]) -> Json:
        kept = {key: value for key, value in plugin.items() if key != "capabilities"}
        return {**kept, "name": self.conflist.name, "cniVersion": self.conflist.version}
