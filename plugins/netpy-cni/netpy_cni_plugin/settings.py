"""A plugin configuration as a request for a network of netpy's driver `bridge`. Pure.

Keys of the reference plugin `bridge` mean here what they mean there where both have them, but for one thing:
`isGateway` and `ipMasq` are on unless they are switched off. Keys of it that change what the network is and are not
known here are refused by name.
"""

# pyright: basic
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from netpy.drivers.bridge import ICC, INHIBIT4, MASQUERADE, MODES, MTU, NAME
from netpy.model import NetworkSpec, SubnetSpec
from netpy_cni_plugin.protocol import INVALID, UNSUPPORTED, CniError

Json = dict[str, Any]
OWN_IPAM = ("", "netpy")
_REFUSED = ("vlan", "vlanTrunk", "promiscMode", "macspoofchk", "portIsolation", "disableContainerInterface")
_FLAGS = ("isGateway", "isDefaultGateway", "ipMasq", "icc", "ipv6", "internal")


def delegated(conf: Json) -> str:
    """The IPAM plugin that the configuration names, or an empty string for netpy's own addresses."""
    ipam: object = conf.get("ipam") or {}
    if not isinstance(ipam, dict):
        raise CniError(INVALID, "ipam is no object")
    kind = cast(Json, ipam).get("type", "")
    if not isinstance(kind, str) or "/" in kind:
        raise CniError(INVALID, f"invalid ipam type {kind!r}")
    return "" if kind in OWN_IPAM else kind


def spec(conf: Json, subnets: tuple[SubnetSpec, ...] | None = None) -> NetworkSpec:
    """The network asked for. `subnets` in place of the configuration's, where an IPAM plugin gives them."""
    _check(conf)
    stated = _subnets(conf) if subnets is None else subnets
    families = {6 if ":" in each.subnet else 4 for each in stated}
    options = {
        MASQUERADE: _text(conf.get("ipMasq", True)),
        ICC: _text(conf.get("icc", True)),
    }
    for key, option in (("bridge", NAME), ("mtu", MTU)):
        if conf.get(key):
            options[option] = str(conf[key])
    if not conf.get("isGateway", True):
        options[INHIBIT4] = "true"
    mode = conf.get("gatewayMode")
    if mode:
        options.update({MODES[4]: str(mode), MODES[6]: str(mode)})
    return NetworkSpec(
        name=str(conf["name"]),
        subnets=stated,
        ipv4=4 in families or 6 not in families,
        ipv6=bool(conf.get("ipv6", 6 in families)),
        internal=bool(conf.get("internal", False)),
        options=options,
    )


def _check(conf: Json) -> None:
    for key in _REFUSED:
        if conf.get(key):
            raise CniError(
                UNSUPPORTED, f"unsupported field {key}", "netpy-cni does not know this key of the plugin bridge"
            )
    for key in _FLAGS:
        if not isinstance(conf.get(key, True), bool):
            raise CniError(INVALID, f"{key} must be true or false, not {conf[key]!r}")
    if not isinstance(conf.get("mtu", 0), int):
        raise CniError(INVALID, f"mtu must be a number, not {conf['mtu']!r}")


def _subnets(conf: Json) -> tuple[SubnetSpec, ...]:
    """`subnet`, `gateway`, `ipRange`, each one text or a list; also inside of `ipam` of the type netpy."""
    place: Mapping[str, Any] = {**(conf.get("ipam") or {}), **conf}
    by_family: dict[int, dict[str, str]] = {}
    for key, field in (("subnet", "subnet"), ("gateway", "gateway"), ("ipRange", "ip_range")):
        stated = place.get(key) or []
        for text in stated if isinstance(stated, list) else [stated]:
            if not isinstance(text, str):
                raise CniError(INVALID, f"{key} must be text or a list of it, not {stated!r}")
            found = by_family.setdefault(6 if ":" in text else 4, {})
            if field in found:
                raise CniError(UNSUPPORTED, f"two of {key} in one family: {found[field]} and {text}")
            found[field] = text
    return tuple(SubnetSpec(**by_family[family]) for family in sorted(by_family))  # pyright: ignore[reportArgumentType]


def _text(value: object) -> str:
    return "true" if value else "false"
