"""The situations that the golden rule documents show: a name, and the intents of it."""

from __future__ import annotations

from netpy.model import Protocol
from netpy.objects import AllowPort, Intent, Isolate, Masquerade, Publish, RedirectDns, Source


def publish(host: str, container: str, protocol: Protocol = "tcp") -> Publish:
    """`publish("0.0.0.0 80", "10.9.0.2 8080")`."""
    host_ip, host_port = host.split()
    address, port = container.split()
    return Publish(
        bridge="br-a",
        protocol=protocol,
        host_ip=host_ip,
        host_port=int(host_port),
        address=address,
        port=int(port),
    )


SCENARIOS: dict[str, list[Intent]] = {
    "nat": [
        Isolate(bridge="br-a", subnet="10.9.0.0/24"),
        Masquerade(bridge="br-a", subnet="10.9.0.0/24"),
    ],
    "dual-stack": [
        Isolate(bridge="br-a", subnet="10.9.0.0/24"),
        Masquerade(bridge="br-a", subnet="10.9.0.0/24"),
        Isolate(bridge="br-a", subnet="fd00:9::/64"),
        Masquerade(bridge="br-a", subnet="fd00:9::/64"),
    ],
    "internal": [
        Isolate(bridge="br-i", subnet="10.8.0.0/24", internal=True),
        Isolate(bridge="br-i", subnet="fd00:8::/64", internal=True),
    ],
    "routed": [
        Isolate(bridge="br-r", subnet="10.7.0.0/24", guard="routed"),
        Isolate(bridge="br-r", subnet="fd00:7::/64", guard="routed"),
        AllowPort(bridge="br-r", protocol="tcp", address="10.7.0.2", port=443),
        AllowPort(bridge="br-r", protocol="udp", address="10.7.0.2", port=443),
        AllowPort(bridge="br-r", protocol="tcp", address="fd00:7::2", port=443),
    ],
    "open": [Isolate(bridge="br-o", subnet="10.6.0.0/24", guard="open")],
    "fixed-source": [
        Isolate(bridge="br-a", subnet="10.9.0.0/24"),
        Masquerade(bridge="br-a", subnet="10.9.0.0/24", source="192.0.2.77"),
        Isolate(bridge="br-a", subnet="fd00:9::/64"),
        Masquerade(bridge="br-a", subnet="fd00:9::/64", source="2001:db8::77"),
    ],
    "ports": [
        publish("0.0.0.0 8800", "10.9.0.2 80"),
        publish("192.0.2.1 8800", "10.9.0.3 80"),
        publish("127.0.0.1 5353", "10.9.0.2 53", "udp"),
        publish("0.0.0.0 9000", "10.9.0.2 9000", "sctp"),
        publish(":: 8800", "fd00:9::2 80"),
        publish("fd00:2::1 8801", "fd00:9::2 80"),
    ],
    "port-range": [
        *(publish(f"0.0.0.0 {port}", f"10.9.0.2 {port}") for port in (*range(8000, 8011), 8020)),
        *(publish(f"0.0.0.0 {port}", f"10.9.0.2 {port - 1000}") for port in (9000, 9001)),
        *(publish(f":: {port}", f"fd00:9::2 {port}") for port in (8000, 8001)),
    ],
    "dns": [RedirectDns(port=40053, netns="/run/netpy/netns/0123456789ab")],
    "no-icc": [
        Isolate(bridge="br-a", subnet="10.9.0.0/24", icc=False),
        Isolate(bridge="br-a", subnet="fd00:9::/64", icc=False),
    ],
    "sources": [
        Isolate(bridge="br-a", subnet="10.9.0.0/24"),
        Source(link="vetha1", mac="02:42:0a:09:00:02", address="10.9.0.2"),
        Source(link="vetha1", mac="02:42:0a:09:00:02", address="fd00:9::2"),
        Source(link="vetha1", mac="02:42:0a:09:00:02", address="fe80::42:aff:fe09:2"),
        Source(link="vetha2", mac="02:42:0a:09:00:03", address="10.9.0.3"),
    ],
    "two-networks": [
        Isolate(bridge="br-a", subnet="10.9.0.0/24"),
        Masquerade(bridge="br-a", subnet="10.9.0.0/24"),
        Isolate(bridge="br-b", subnet="10.10.0.0/16"),
        Masquerade(bridge="br-b", subnet="10.10.0.0/16"),
        publish("0.0.0.0 80", "10.9.0.2 80"),
    ],
}
