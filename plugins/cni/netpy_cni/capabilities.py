"""What an endpoint asks for, in the words of CNI's conventions: `runtimeConfig` by capability. Pure.

A plugin is told only what it declares (`capabilities`). What the user asked for explicitly and no plugin of the list
takes is refused: a published port that nobody publishes would be silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netpy.errors import InvalidArgument
from netpy.model import Endpoint
from netpy_cni.conflist import Conflist, declared

Json = dict[str, Any]
BANDWIDTH = {
    "cni.ingress-rate": "ingressRate",
    "cni.ingress-burst": "ingressBurst",
    "cni.egress-rate": "egressRate",
    "cni.egress-burst": "egressBurst",
}
_ANY = ("", "0.0.0.0", "::")
_BURST = 8_000_000


def arguments(endpoint: Endpoint) -> Json:
    """Every capability that the endpoint has something to say about."""
    said: Json = {
        "portMappings": _mappings(endpoint),
        "ips": list(endpoint.spec.addresses),
        "mac": endpoint.spec.mac.lower(),
        "bandwidth": _bandwidth(endpoint.spec.options),
        "dns": {"servers": list(endpoint.sandbox.dns), "searches": [], "options": []} if endpoint.sandbox.dns else {},
        "aliases": list(endpoint.spec.aliases or endpoint.spec.names),
    }
    return {name: value for name, value in said.items() if value}


def check(conflist: Conflist, wanted: Mapping[str, Any]) -> None:
    """InvalidArgument for what was asked for explicitly and no plugin takes."""
    words = {
        "portMappings": "published ports",
        "ips": "a stated address",
        "mac": "a stated MAC address",
        "bandwidth": "bandwidth limits",
    }
    for name, what in words.items():
        if name in wanted and name not in conflist.capabilities:
            raise InvalidArgument(f"CNI network {conflist.name} takes no {what}: none of its plugins declares {name}")


def granted(plugin: Mapping[str, Any], wanted: Mapping[str, Any]) -> Json:
    """The part of it that this plugin is told."""
    return {name: wanted[name] for name in sorted(declared(plugin)) if name in wanted}


def _mappings(endpoint: Endpoint) -> list[Json]:
    """One for each binding; a port on every address of both families is one mapping without an address."""
    found: dict[tuple[int, int, str, str], Json] = {}
    for binding in endpoint.ports:
        if not binding.host_port:
            continue
        host = "" if binding.host_ip in _ANY else binding.host_ip
        mapping: Json = {
            "hostPort": binding.host_port,
            "containerPort": binding.container_port,
            "protocol": binding.protocol,
        }
        if host:
            mapping["hostIP"] = host
        found[binding.host_port, binding.container_port, binding.protocol, host] = mapping
    return list(found.values())


def _bandwidth(options: Mapping[str, str]) -> Json:
    """Rates in bits per second, bursts in bits; a rate without a burst gets one of a megabyte."""
    limits = {name: int(options[key]) for key, name in BANDWIDTH.items() if key in options}
    for way in ("ingress", "egress"):
        if limits.get(f"{way}Rate"):
            limits.setdefault(f"{way}Burst", _BURST)
    return limits
