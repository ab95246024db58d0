"""What an attachment asks for beside its network: ports, name servers, an address, a MAC. Pure, and quick to load.

From `runtimeConfig`; an address and a MAC may also come by `args.cni` and, as of old, by CNI_ARGS. What netpy-cni does
not do is refused by name, not passed over: a limit that nobody keeps would be silence.
"""

# pyright: basic
from __future__ import annotations

from netpy_cni_plugin.protocol import INVALID, UNSUPPORTED, CniError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Json = dict[str, Any]

HANDLED = ("portMappings", "dns", "aliases", "ips", "mac")
IGNORED = ("cgroupPath",)
ANY = {"": ("0.0.0.0", "::"), "0.0.0.0": ("0.0.0.0",), "::": ("::",)}


def told(conf: Json) -> Json:
    """The runtime's part of the configuration. CniError for what cannot be done."""
    asked = _typed(conf, "runtimeConfig", dict)
    beyond = [name for name in asked if name not in HANDLED and name not in IGNORED and asked[name]]  # pyright: ignore
    if beyond:
        help = "netpy-cni shapes no traffic: chain the plugin bandwidth" if "bandwidth" in beyond else ""
        raise CniError(UNSUPPORTED, f"unsupported runtimeConfig: {', '.join(beyond)}", help)  # pyright: ignore
    return asked  # pyright: ignore[reportUnknownVariableType]


def is_plain(conf: Json) -> bool:
    """Whether nothing is asked for but ports: then the quick way may do."""
    asked = told(conf)
    return not (asked.get("ips") or asked.get("mac") or conf.get("args") or conf.get("prevResult"))


def ports(conf: Json, families: Mapping[int, bool]) -> list[tuple[str, int, str, int]]:
    """(protocol, host port, host address, container port) for each address of the families that the endpoint has."""
    found: list[tuple[str, int, str, int]] = []
    for mapping in _typed(told(conf), "portMappings", list):
        if not isinstance(mapping, dict) or not isinstance(mapping.get("hostIP") or "", str):
            raise CniError(INVALID, f"invalid port mapping {mapping}")
        host, protocol = mapping.get("hostIP") or "", str(mapping.get("protocol") or "tcp").lower()
        outer, inner = mapping.get("hostPort"), mapping.get("containerPort")
        if not outer:
            continue
        numbers = all(isinstance(each, int) and 0 < each < 65536 for each in (outer, inner))
        if not numbers or protocol not in ("tcp", "udp", "sctp"):
            raise CniError(INVALID, f"invalid port mapping {mapping}")
        for address in ANY.get(host, (host,)):
            if families[6 if ":" in address else 4] and (protocol, outer, address, inner) not in found:
                found.append((protocol, outer, address, inner))
    return found


def dns(conf: Json) -> Json:
    """The result's `dns`: the runtime's, else the configuration's."""
    asked = _typed(told(conf), "dns", dict)
    if asked:
        renamed = {
            "nameservers": asked.get("servers"),
            "search": asked.get("searches"),
            "options": asked.get("options"),
        }
        return {key: value for key, value in renamed.items() if value}
    return _typed(conf, "dns", dict)


def address_and_mac(conf: Json, arguments: str) -> tuple[list[str], str]:
    """The addresses (bare) and the MAC that are asked for."""
    asked, args = told(conf), _typed(_typed(conf, "args", dict), "cni", dict)
    pairs = (each.partition("=") for each in arguments.split(";") if each)
    old = {key: value for key, _, value in pairs}
    ips = _typed(asked, "ips", list) or _typed(args, "ips", list) or [each for each in (old.get("IP"),) if each]
    mac = asked.get("mac") or args.get("mac") or old.get("MAC") or ""
    return [str(each).partition("/")[0] for each in ips], str(mac).lower()


def _typed(holder: Json, name: str, kind: type) -> Any:
    """What the field holds, or an empty one of its kind."""
    value = holder.get(name) or kind()
    if not isinstance(value, kind):
        raise CniError(INVALID, f"{name} is no {'object' if kind is dict else 'list'}: {value!r}")
    return value
