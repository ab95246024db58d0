"""What a CNI plugin is told and says: the environment, the configuration, results of every version, errors.

No dataclasses and few imports here, in `ledger` and in `quick`: they are all that an ADD on a network that is up needs,
and half of such a call is the loading of code. Pure, but for reading the request.

Facts: the CNI specification 1.1, sections 2 and 5; codes up to 99 are the specification's, ours begin at 100.
"""

from __future__ import annotations

import os
import sys

from netpy_cni_plugin import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Json = dict[str, Any]

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
INCOMPATIBLE, UNSUPPORTED, UNKNOWN, ENVIRONMENT, IO, DECODING, INVALID, NETNS = 1, 2, 3, 4, 5, 6, 7, 8
AGAIN, UNAVAILABLE, LIMITED = 11, 50, 51
EXHAUSTED, CONFLICT, KERNEL, DRIFT, LEFT = 101, 102, 103, 104, 105
NEEDED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "GC": (),
    "STATUS": (),
    "VERSION": (),
}
RUNTIME = ("cniVersion", "runtimeConfig", "prevResult", "args", "cni.dev/valid-attachments", "cni.dev/attachments")


class CniError(Exception):
    """An error of the protocol: its code, a short message and a longer one."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class Request:
    """One call: the verb, the attachment, and the configuration."""

    __slots__ = ("conf", "container", "ifname", "netns", "verb", "version")

    def __init__(self, environment: Mapping[str, str], text: str) -> None:
        self.verb = environment.get("CNI_COMMAND", "")
        if self.verb not in NEEDED:
            raise CniError(ENVIRONMENT, f"unknown CNI_COMMAND: {self.verb}" if self.verb else "CNI_COMMAND is not set")
        missing = [name for name in NEEDED[self.verb] if not environment.get(name)]
        if missing:
            raise CniError(ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
        self.container = environment.get("CNI_CONTAINERID", "")
        self.netns = environment.get("CNI_NETNS", "")
        self.ifname = environment.get("CNI_IFNAME", "")
        self.conf = _conf(text)
        self.version = self.conf.get("cniVersion") or "0.1.0"
        if self.verb in ("ADD", "DEL", "CHECK"):
            _check_names(self.container, self.ifname)

    @property
    def network(self) -> str:
        return self.conf["name"]

    def check(self) -> None:
        """What every verb but VERSION needs of a configuration."""
        if self.version not in VERSIONS:
            spoken = ", ".join(VERSIONS)
            raise CniError(INCOMPATIBLE, f"incompatible CNI versions: {self.version}", f"netpy-cni speaks {spoken}")
        name = self.conf.get("name")
        if not isinstance(name, str) or not _is_name(name):
            raise CniError(INVALID, f"invalid network name {name!r}")

    def fixed(self) -> str:
        """What of the configuration is the same for every attachment, to compare."""
        return document.dumps({key: value for key, value in self.conf.items() if key not in RUNTIME}, sort_keys=True)


def _conf(text: str) -> Json:
    try:
        body = document.loads(text)
    except ValueError as error:
        raise CniError(DECODING, f"the network configuration is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise CniError(DECODING, "the network configuration is no JSON object")
    return body  # pyright: ignore[reportUnknownVariableType]


def _is_name(text: str) -> bool:
    return text.isascii() and text[:1].isalnum() and all(each.isalnum() or each in "_.-" for each in text)


def _check_names(container: str, ifname: str) -> None:
    if not _is_name(container):
        raise CniError(ENVIRONMENT, f"invalid CNI_CONTAINERID {container!r}")
    bad = any(each in "/:%" or each.isspace() for each in ifname)
    if len(ifname) > 15 or ifname in (".", "..") or bad:
        raise CniError(ENVIRONMENT, f"invalid CNI_IFNAME {ifname!r}")


def result(version: str, made: Json) -> Json:
    """The result in the version that was asked for. `made`: bridge, host, ifname, mac, mtu, netns, ips, routes, dns.

    `ips` are (address with prefix, gateway) pairs, `routes` (destination, next hop).
    """
    if version in ("0.1.0", "0.2.0"):
        return _old(version, made)
    mtu = {"mtu": made["mtu"]} if version >= "1.1.0" else {}
    interfaces = [
        {"name": made["bridge"], **mtu},
        {"name": made["host"], **mtu},
        {"name": made["ifname"], "mac": made["mac"], **mtu, "sandbox": made["netns"]},
    ]
    ips: list[Json] = []
    for address, gateway in made["ips"]:
        ip: Json = {"interface": 2, "address": address}
        if version < "1.0.0":
            ip["version"] = "6" if ":" in address else "4"
        if gateway:
            ip["gateway"] = gateway
        ips.append(ip)
    routes = [{"dst": dst, "gw": via} if via else {"dst": dst} for dst, via in made["routes"]]
    return {"cniVersion": version, "interfaces": interfaces, "ips": ips, "routes": routes, "dns": made["dns"]}


def _old(version: str, made: Json) -> Json:
    said: Json = {"cniVersion": version, "dns": made["dns"]}
    for address, gateway in made["ips"]:
        six = ":" in address
        routes = [{"dst": dst, "gw": via} for dst, via in made["routes"] if (":" in dst) == six]
        said["ip6" if six else "ip4"] = {"ip": address, "gateway": gateway, "routes": routes}
    return said


def error(version: str, failure: CniError) -> Json:
    """The error document."""
    said: Json = {"cniVersion": version, "code": failure.code, "msg": failure.message}
    return {**said, "details": failure.details} if failure.details else said


def say(said: Json) -> None:
    """On standard output, at once."""
    sys.stdout.write(document.dumps(said) + "\n")
    sys.stdout.flush()


def listen() -> Request:
    """The call that this process was started for."""
    return Request(os.environ, sys.stdin.read())
